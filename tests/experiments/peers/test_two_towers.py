"""Late fusion: a dual encoder of the same parts, on every family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.tiny_checkpoints import CHECKPOINTS

from moon2 import Encoder, Product
from moon2.model.backbone import Backbone, build_backbone
from moon2.model.moon_model import MoonModel
from moon2.model.processor import Processor
from moon2.recipe import BackboneSettings, ExpertSettings, InputSettings, Recipe, RecipeError

WORDS = ["a navy shirt", "red women shoes"]


def dual(source: str | Path) -> Encoder:
    """Two towers of a checkpoint."""
    settings, inputs = BackboneSettings(str(source), fusion="late"), InputSettings()
    made: Backbone = build_backbone(settings, inputs, WORDS)
    processor = Processor(made.tokenizer, made.image_processor, made.family, made.model.config, inputs)
    encoder = Encoder(MoonModel(made.model, made.family, ExpertSettings(count=1, active=1), "late"), processor)
    encoder.model.eval()
    return encoder


@pytest.fixture(scope="module", params=CHECKPOINTS)
def towers(request: pytest.FixtureRequest, checkpoints: dict[str, Path]) -> Encoder:
    return dual(checkpoints[request.param])


def test_both_together_are_the_normalised_sum(towers: Encoder, image: Callable[..., Image.Image]) -> None:
    words, photo = WORDS[0], image("navy")
    t, i = towers.encode(words)[0], towers.encode(photo)[0]
    both = towers.encode(Product("1", words, images=[photo]))[0]
    assert both == pytest.approx((t + i) / np.linalg.norm(t + i), abs=1e-5)


def test_neither_form_depends_on_the_other_or_on_its_neighbours(
    towers: Encoder, image: Callable[..., Image.Image]
) -> None:
    photos = [image("navy"), image("red", (48, 32))]
    products = [
        Product("two", WORDS[0], images=photos),
        Product("one", WORDS[1], images=photos[:1]),
        Product("words", WORDS[1]),
    ]
    views = towers.encode_views(products)
    assert views["t"][0] == pytest.approx(towers.encode(WORDS[0])[0], abs=1e-5)
    assert views["i"][1] == pytest.approx(towers.encode(photos[0])[0], abs=1e-5)
    assert np.isnan(views["i"][2]).all()
    assert views["mm"][2] == pytest.approx(views["t"][1], abs=1e-5)
    assert np.abs(views["i"][0] - views["i"][1]).max() > 1e-3, "the second photo counts too"


def test_it_is_saved_and_loaded_as_two_towers(
    towers: Encoder, image: Callable[..., Image.Image], tmp_path: Path
) -> None:
    product = Product("1", WORDS[0], images=[image()])
    towers.save_pretrained(tmp_path)
    again = Encoder.from_pretrained(tmp_path, device="cpu")
    assert again.model.fusion == "late"
    assert np.array_equal(again.encode(product), towers.encode(product))


def test_experts_and_two_towers_are_refused_together() -> None:
    with pytest.raises(RecipeError, match=r"experts\.count is 4; it must be 1 where backbone\.fusion is late"):
        Recipe(backbone=BackboneSettings(fusion="late"))
