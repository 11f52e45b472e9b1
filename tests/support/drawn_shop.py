"""A shop of twelve drawn products with a search log, all of it for training."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageDraw

from moon2 import Interaction, Product, Query
from moon2.catalog.store import Catalog, write_catalog

COLOURS = ("navy", "red", "green", "black")
KINDS = ("shirt", "shoes", "bag")
TITLES = [f"{colour} {kind}" for colour in COLOURS for kind in KINDS]


def draw(colour: str, kind: str) -> Image.Image:
    """A shape for the kind, filled with the colour; one of three sizes."""
    number = KINDS.index(kind)
    image = Image.new("RGB", ((32, 24, 16)[number], 32), "white")
    pen = ImageDraw.Draw(image)
    shape = (pen.rectangle, pen.ellipse, pen.chord)[number]
    arguments = {"start": 0, "end": 200} if kind == "bag" else {}
    shape((4, 4, image.width - 4, 28), fill=colour, **arguments)
    return image


def png(image: Image.Image) -> bytes:
    """The image as a PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def write_drawn_shop(folder: Path) -> Catalog:
    """Every colour of every kind; queries of words, of a shown product, of an image, and one without a negative."""
    products = [
        Product(f"{colour}-{kind}", f"{colour} {kind}", images=[png(draw(colour, kind))])
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
        Interaction(Query("photo", image=png(draw("red", "shoes"))), ("red-shoes",), ("red-bag",)),
        Interaction(Query("no-negative", "black bag"), ("black-bag",)),
    ]
    return write_catalog(folder, {"train": products}, {"train": log}, title="Shop")
