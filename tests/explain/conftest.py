"""An encoder of each family, and a product with two images of different shapes."""

from __future__ import annotations

import pytest
from PIL import Image, ImageDraw
from support.tiny_checkpoints import CHECKPOINTS, WORDS, write_checkpoint

from moon2 import Encoder, Product
from moon2.recipe import BackboneSettings, ExpertSettings, Recipe, TinySettings

SIZES = TinySettings(
    vocabulary=300, width=32, layers=2, heads=2, feed_forward=48, vision_width=32, vision_layers=2, patch=8
)


def recipe(backbone: str, experts: ExpertSettings) -> Recipe:
    return Recipe(backbone=BackboneSettings(backbone, tiny=SIZES), experts=experts)


@pytest.fixture(scope="session", params=(*CHECKPOINTS, "tiny"))
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of each family in turn, its folder; or "tiny"."""
    name: str = request.param
    return name if name == "tiny" else str(write_checkpoint(name, tmp_path_factory.mktemp(name)))


@pytest.fixture(scope="session")
def encoder(backbone: str) -> Encoder:
    """Of each family in turn; shared, so tests do not change it."""
    return Encoder.from_recipe(recipe(backbone, ExpertSettings(noise=0.5)), WORDS)


@pytest.fixture(scope="session")
def dense_encoder(backbone: str) -> Encoder:
    """The same without experts, as transformers has it."""
    return Encoder.from_recipe(recipe(backbone, ExpertSettings(layers=[])), WORDS)


@pytest.fixture(scope="session")
def product() -> Product:
    """One wide and one high image, and words of one and of several tokens."""

    def striped(colour: str, size: tuple[int, int]) -> Image.Image:
        image = Image.new("RGB", size, colour)
        ImageDraw.Draw(image).line((0, 0, *size), fill="yellow", width=5)
        return image

    return Product(
        "1", "navy <b>Unheard-of</b> men shirt", images=(striped("navy", (96, 64)), striped("teal", (50, 81)))
    )
