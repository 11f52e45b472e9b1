"""A shop of twelve drawn products with a search log, and the smallest recipe that trains on it."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from PIL import Image, ImageDraw

from moon2 import Encoder, Interaction, Product, Query
from moon2.catalog.store import Catalog, write_catalog
from moon2.recipe import Recipe, load_recipe

COLOURS = ("navy", "red", "green", "black")
KINDS = ("shirt", "shoes", "bag")
SMALL = [
    "backbone.tiny.vocabulary=300",
    "backbone.tiny.width=32",
    "backbone.tiny.layers=2",
    "backbone.tiny.heads=2",
    "backbone.tiny.feed_forward=48",
    "backbone.tiny.vision_width=32",
    "backbone.tiny.vision_layers=1",
    "backbone.tiny.patch=8",
    "input.max_pixels=1024",
]


def draw(colour: str, kind: str) -> Image.Image:
    """A shape for the kind, filled with the colour; one of three sizes."""
    place = KINDS.index(kind)
    image = Image.new("RGB", ((32, 24, 16)[place], 32), "white")
    shape = (ImageDraw.Draw(image).rectangle, ImageDraw.Draw(image).ellipse, ImageDraw.Draw(image).chord)[place]
    arguments = {"start": 0, "end": 200} if kind == "bag" else {}
    shape((4, 4, image.width - 4, 28), fill=colour, **arguments)
    return image


def encoded(image: Image.Image) -> bytes:
    """The image as a PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Every colour of every kind; queries of words, of a shown product, of an image, and one without a negative."""
    products = [
        Product(f"{colour}-{kind}", f"{colour} {kind}", images=[encoded(draw(colour, kind))])
        for colour in COLOURS
        for kind in KINDS
    ]
    log = [
        Interaction(
            Query(f"q-{product.id}", product.title.split()[0] if number % 2 else product.title),
            (product.id,),
            (products[number - 3].id, products[number - 5].id),
        )
        for number, product in enumerate(products)
    ]
    log += [
        Interaction(Query("shown", "in green", product_id="navy-shirt"), ("green-shirt",), ("green-bag",)),
        Interaction(Query("photo", image=encoded(draw("red", "shoes"))), ("red-shoes",), ("red-bag",)),
        Interaction(Query("no-negative", "black bag"), ("black-bag",)),
    ]
    return write_catalog(tmp_path_factory.mktemp("shop") / "data", {"train": products}, {"train": log}, title="Shop")


@pytest.fixture(scope="session")
def small_recipe() -> Callable[..., Recipe]:
    """The smallest recipe, with overrides such as "training.steps=3"."""

    def make(*overrides: str) -> Recipe:
        training = ["training.batch_size=4", "training.warmup_steps=1", "training.learning_rate=1e-3"]
        return load_recipe(None, [*SMALL, *training, "training.log_every=1", *overrides])

    return make


@pytest.fixture
def new_encoder(small_recipe: Callable[..., Recipe]) -> Callable[..., Encoder]:
    """An untrained encoder of the smallest recipe; the same recipe gives the same weights."""

    def make(*overrides: str) -> Encoder:
        texts = [f"{colour} {kind}" for colour in COLOURS for kind in KINDS]
        return Encoder.from_recipe(small_recipe(*overrides), texts)

    return make
