"""A mixed batch of items, the rows it is packed as, and what the network makes of it, for several test files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from moon2 import Encoder, Product, Query
from moon2.model.item_batch import ItemBatch
from moon2.model.items import Item
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


def items_of(encoder: Encoder, some_records: Sequence[Any]) -> list[Item]:
    """Records, opened."""
    return [encoder.processor.item(record) for record in some_records]


def views_of(encoder: Encoder, some_records: Sequence[Any], **rows: bool) -> Views:
    """One batch through the network; `rows` are those of `Processor.batch`."""
    with torch.no_grad():
        return encoder.model(encoder.processor.batch(items_of(encoder, some_records), **rows))


def joint_rows(batch: ItemBatch) -> dict[int, Tensor]:
    """By item, the places [S] of its joint row among the batch's tokens."""
    return _rows(batch, batch.view_rows["i"])


def text_rows(batch: ItemBatch) -> dict[int, Tensor]:
    """By item, the places [S] of its text row among the batch's tokens."""
    return _rows(batch, batch.view_rows["t"])


def _rows(batch: ItemBatch, rows: Tensor) -> dict[int, Tensor]:
    return {int(batch.item_of_row[row]): (batch.row_of_token == row).nonzero().flatten() for row in rows}
