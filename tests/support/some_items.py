"""A mixed batch of items and what the network makes of it, for several test files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image

from moon2 import Encoder, Product, Query
from moon2.model.moon_model import Views


def records(image: Callable[..., Image.Image]) -> list[Any]:
    """Text alone, an image alone, and both, with one to three images of different sizes."""
    return [
        "red women shoes",
        image("teal", (48, 32)),
        Product("1", "navy men casual shirt", images=[image("navy", (32, 80)), image("white", (48, 48))]),
        Query("q", "a leather bag", image("brown", (64, 32))),
        Product("2", "blue", images=[image(colour, (32, 32)) for colour in ("blue", "black", "red")]),
    ]


def views_of(encoder: Encoder, some_records: Sequence[Any], **passes: bool) -> Views:
    """One batch through the network; `passes` are those of `Processor.batch`."""
    items = [encoder.processor.item(record) for record in some_records]
    with torch.no_grad():
        return encoder.model(encoder.processor.batch(items, **passes))
