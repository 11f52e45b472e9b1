"""Items laid out as tensors: rows packed one after another, with the images that stand in them.

An item becomes at most two rows: a *joint* row (its images, and its text after them) and a *text* row (its text alone).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from moon2.model.families import Grid, VisionInputs
from moon2.model.packed_attention import Packing
from moon2.views import View


@dataclass
class ImageBatch:
    """The distinct images of a batch, and where they go.

    Attributes:
        inputs: what the vision tower gets; V visual tokens come out, image after image.
        slots: [U] int64, the places among the batch's tokens that visual tokens take.
        sources: [U] int64, which visual token each of them takes; an image that comes twice is read once.
        image_of_token: [V] int64, the distinct image of each visual token.
        uses: [2, P] int64, the item and the distinct image of each of the P images that the items have.
        grids: the size of each distinct image in patches.
    """

    inputs: VisionInputs
    slots: Tensor
    sources: Tensor
    image_of_token: Tensor
    uses: Tensor
    grids: list[Grid]

    def to(self, device: torch.device | str) -> ImageBatch:
        """The same on another device."""
        slots, sources, image_of_token, uses = _moved(device, self.slots, self.sources, self.image_of_token, self.uses)
        return ImageBatch(self.inputs.to(device), slots, sources, image_of_token, uses, self.grids)


@dataclass
class ItemBatch:
    """N items as R packed rows of T tokens in all, short rows first.

    Attributes:
        has_text, has_images: [N] bool.
        view_rows: per view, the rows that it is pooled from, int64. A text row is an item's t; a joint row is its i and
            its mm; an item without images has its text row for mm too.
        item_of_row: [R] int64.
        row_kind: [2, R] float32, 1 for joint rows in the first, for text rows in the second; a filler has none.
        row_of_token: [T] int64.
        input_ids: [T] int64; arbitrary in the places of images.
        positions: [P, T] int64, of P dimensions.
        is_pooled: [T] bool, text and image tokens, not the markers around an image.
        is_image: [T] bool.
        packing: how attention lays the rows out; None without rows.
        images: None where no item has an image.
        grids: per row, the sizes of its images in patches.
    """

    has_text: Tensor
    has_images: Tensor
    view_rows: dict[View, Tensor]
    item_of_row: Tensor
    row_kind: Tensor
    row_of_token: Tensor
    input_ids: Tensor
    positions: Tensor
    is_pooled: Tensor
    is_image: Tensor
    packing: Packing | None
    images: ImageBatch | None
    grids: list[list[Grid]]

    @property
    def tokens(self) -> int:
        """T."""
        return len(self.input_ids)

    @property
    def read_tokens(self) -> int:
        """T and, where images stand in no row because they do not pass the decoder, the visual tokens."""
        if self.images is None or len(self.images.slots):
            return self.tokens
        return self.tokens + len(self.images.image_of_token)

    def to(self, device: torch.device | str) -> ItemBatch:
        """The same on another device."""
        moved: dict[str, Any] = {}
        for part in fields(self):
            value = getattr(self, part.name)
            if isinstance(value, (Tensor, Packing, ImageBatch)):
                moved[part.name] = _moved(device, value)[0] if isinstance(value, Tensor) else value.to(device)
        moved["view_rows"] = dict(zip(self.view_rows, _moved(device, *self.view_rows.values()), strict=True))
        return replace(self, **moved)


def _moved(device: torch.device | str, *tensors: Tensor) -> list[Tensor]:
    return [tensor.to(device, non_blocking=True) for tensor in tensors]
