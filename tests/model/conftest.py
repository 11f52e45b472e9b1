"""Encoders of each family, made the way a recipe makes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.tiny_checkpoints import CHECKPOINTS, WORDS

from moon2 import Encoder
from moon2.recipe import BackboneSettings, ExpertSettings, InputSettings, Recipe, TinySettings, TrainingSettings

BACKBONES = (*CHECKPOINTS, "tiny")


@pytest.fixture(scope="session")
def new_encoder(checkpoints: dict[str, Path]) -> Callable[..., Encoder]:
    """Makes an encoder of one backbone ("tiny" or a family); settings of `experts` and `input` by keyword."""

    def make(backbone: str, dtype: Any = "float32", experts: dict[str, Any] | None = None, **inputs: Any) -> Encoder:
        sizes = TinySettings(
            vocabulary=300, width=32, layers=2, heads=2, feed_forward=48, vision_width=32, vision_layers=2, patch=8
        )
        recipe = Recipe(
            backbone=BackboneSettings(str(checkpoints.get(backbone, backbone)), dtype, sizes),
            # Noise, because equal experts would hide a token that went to the wrong one.
            experts=ExpertSettings(**(experts or {"noise": 0.5})),
            input=InputSettings(**inputs),
            training=TrainingSettings(optimizer="adamw_bf16"),  # serves either dtype
        )
        encoder = Encoder.from_recipe(recipe, WORDS)
        encoder.model.eval()
        return encoder

    return make


@pytest.fixture(scope="session", params=BACKBONES)
def encoder(request: pytest.FixtureRequest, new_encoder: Callable[..., Encoder]) -> Encoder:
    """An encoder of each family in turn; shared, so not to be changed."""
    return new_encoder(request.param)
