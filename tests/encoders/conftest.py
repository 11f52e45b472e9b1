"""A small encoder of moon2's own, also as a saved folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.drawn_shop import TITLES

from moon2 import Encoder
from moon2.recipe import Recipe


@pytest.fixture(scope="session")
def encoder(small_recipe: Callable[..., Recipe]) -> Encoder:
    """Of the tiny backbone, with experts that differ."""
    return Encoder.from_recipe(small_recipe("experts.noise=0.5"), TITLES)


@pytest.fixture(scope="session")
def encoder_folder(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where it is saved."""
    folder = tmp_path_factory.mktemp("encoder")
    encoder.save_pretrained(folder)
    return folder
