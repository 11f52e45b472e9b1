"""An encoder of each family, and a product with two pictures of unlike size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw
from support.tiny_checkpoints import CHECKPOINTS, WORDS, write_checkpoint

from moon2 import Encoder, Product
from moon2.recipe import BackboneSettings, ExpertSettings, Recipe, TinySettings


@pytest.fixture(scope="session", params=(*CHECKPOINTS, "tiny"))
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """Of each family in turn; shared, so not to be changed."""
    sizes = TinySettings(
        vocabulary=300, width=32, layers=2, heads=2, feed_forward=48, vision_width=32, vision_layers=2, patch=8
    )
    name = request.param
    if name != "tiny":
        name = str(write_checkpoint(name, Path(tmp_path_factory.mktemp(name))))
    recipe = Recipe(backbone=BackboneSettings(name, tiny=sizes), experts=ExpertSettings(noise=0.5))
    return Encoder.from_recipe(recipe, WORDS)


@pytest.fixture(scope="session")
def product() -> Product:
    """Two pictures, one wide and one high, and words of one and of several tokens."""

    def picture(colour: Any, size: tuple[int, int]) -> Image.Image:
        image = Image.new("RGB", size, colour)
        ImageDraw.Draw(image).line((0, 0, *size), fill="yellow", width=5)
        return image

    pictures = (picture("navy", (96, 64)), picture("teal", (50, 81)))
    return Product("1", "navy <b>Unheard-of</b> men shirt", images=pictures)
