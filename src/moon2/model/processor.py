"""Records to tensors: what of a product or query reaches the model, and how it is laid out.

An item's pictures stand before its text, each between its family's marker tokens. A batch is at most two padded
passes: the *joint* pass (rows with pictures, and their text after them) and the *text* pass (text alone). Rows are
padded on the right, where a causal decoder's padding can change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from moon2.images import open_image
from moon2.model.families import Family, Grid
from moon2.recipe import InputSettings
from moon2.records import Product, Query


@dataclass
class Item:
    """What the model sees of one record: its text, its opened pictures (RGB), or both.

    `added_text` follows the text and is cut at a length of its own: the enriched title, in training only.
    """

    text: str = ""
    images: list[Image.Image] = field(default_factory=list)
    added_text: str = ""


@dataclass
class PassInputs:
    """One padded pass of B rows and S tokens.

    Attributes:
        items: [B] int64, which item of the batch each row belongs to.
        ids: [B, S] int64 token ids.
        real: [B, S] bool, tokens that are not padding.
        content: [B, S] bool, tokens that are pooled: words and parts of pictures, not the markers around a picture.
        picture: [B, S] bool, tokens that are part of a picture.
        grids: per row, the sizes of its pictures in patches.
        tensors: the pictures, as keyword arguments of the backbone.
    """

    items: Tensor
    ids: Tensor
    real: Tensor
    content: Tensor
    picture: Tensor
    grids: list[list[Grid]]
    tensors: dict[str, Tensor]

    def to(self, device: torch.device | str) -> PassInputs:
        """The same on another device."""
        moved = {part.name: getattr(self, part.name) for part in fields(self)}
        moved = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in moved.items()}
        return replace(self, **{**moved, "tensors": {name: value.to(device) for name, value in self.tensors.items()}})


@dataclass
class ItemBatch:
    """N items as at most two passes; `has_text` and `has_images` are [N] bool."""

    joint: PassInputs | None
    text: PassInputs | None
    has_text: Tensor
    has_images: Tensor

    def to(self, device: torch.device | str) -> ItemBatch:
        """The same on another device."""
        return ItemBatch(
            self.joint and self.joint.to(device),
            self.text and self.text.to(device),
            self.has_text.to(device),
            self.has_images.to(device),
        )


class Processor:
    """Turns records into the tensors of one backbone."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        image_processor: Any,
        family: Family,
        config: Any,
        settings: InputSettings,
    ) -> None:
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.family = family
        self.config = config
        self.settings = settings
        self._before, self._after = family.around_picture(tokenizer, config)
        self._padding = tokenizer.pad_token_id or 0

    def item(
        self,
        record: Any,
        change_image: Callable[[Image.Image], Image.Image] | None = None,
        views: Collection[str] = ("t", "i", "mm"),
    ) -> Item:
        """What the model sees of a string, a picture, a `Product` or a `Query`.

        Args:
            record: a string is text; a PIL image or `Path` is a picture.
            change_image: applied to each opened picture (training's flips and crops).
            views: what will be asked of it; for "t" alone no picture is opened, for "i" alone the text is dropped.

        Raises:
            ImageError: a picture cannot be read.
            TypeError: anything else than the above.
            ValueError: nothing in it to embed. (What only lacks the views asked for comes back empty.)
        """
        if isinstance(record, Item):
            return record
        pictures: tuple[Any, ...]
        if isinstance(record, str):
            text, pictures, where = record, (), "text"
        elif isinstance(record, Product):
            text, pictures, where = record.title, record.images, f"product {record.id!r}"
        elif isinstance(record, Query):
            pictures = () if record.image is None else (record.image,)
            text, where = record.text, f"query {record.id!r}"
        elif isinstance(record, Image.Image) or hasattr(record, "__fspath__"):
            text, pictures, where = "", (record,), "picture"
        else:
            kind = type(record).__name__
            raise TypeError(f"cannot embed a {kind}; give a string, a PIL image, a Path, a Product or a Query")
        if not text.strip() and not pictures:
            raise ValueError(f"{where}: has neither text nor a picture to embed")
        limit = 0 if set(views) == {"t"} else self.settings.max_images
        opened = [open_image(picture, f"{where}: image {index}") for index, picture in enumerate(pictures[:limit])]
        if set(views) == {"i"}:
            text = ""
        if change_image is not None:
            opened = [change_image(image) for image in opened]
        return Item(text.strip(), opened)

    def batch(self, items: Sequence[Item], *, joint: bool = True, text: bool = True) -> ItemBatch:
        """Lays N items out as tensors.

        Args:
            items: what `item` made.
            joint: make the pass over pictures with the text after them, for views i and mm.
            text: make the pass over text alone, for view t; items without pictures are always in it.
        """
        has_text = torch.tensor([bool(item.text) for item in items])
        has_images = torch.tensor([bool(item.images) for item in items])
        tokens = self._tokens(items)
        with_pictures = [index for index, item in enumerate(items) if item.images] if joint else []
        alone = [index for index, item in enumerate(items) if item.text and (text or not item.images)]
        return ItemBatch(
            self._joint(items, tokens, with_pictures) if with_pictures else None,
            self._text(tokens, alone) if alone else None,
            has_text,
            has_images,
        )

    def _tokens(self, items: Sequence[Item]) -> list[list[int]]:
        tokens = self._tokenize([item.text for item in items])
        longer = [index for index, item in enumerate(items) if item.added_text]
        if longer:
            # Apart, since tokens of one text at the end of another are not those that it begins with alone.
            line_break, *added = self._tokenize(["\n", *(items[index].added_text for index in longer)])
            for index, ids in zip(longer, added, strict=True):
                tokens[index] = tokens[index] + [*line_break, *ids][: self.settings.max_text_tokens]
        return tokens

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        limit = self.settings.max_text_tokens
        # A shop's text is data: "<|image_pad|>" in a title is words, and must not stand for a picture.
        options = {"add_special_tokens": False, "split_special_tokens": True, "truncation": True, "max_length": limit}
        return self.tokenizer(list(texts), **options)["input_ids"]

    def _text(self, tokens: list[list[int]], rows: list[int]) -> PassInputs:
        ids, real, content = self._pad([tokens[row] for row in rows], [[True] * len(tokens[row]) for row in rows])
        return PassInputs(torch.tensor(rows), ids, real, content, torch.zeros_like(real), [[] for _ in rows], {})

    def _joint(self, items: Sequence[Item], tokens: list[list[int]], rows: list[int]) -> PassInputs:
        pictures = self.family.pictures(
            self.image_processor, self.config, [image for row in rows for image in items[row].images]
        )
        image_token = self.config.image_token_id
        ids, content, grids, taken = [], [], [], 0
        for row in rows:
            number = len(items[row].images)
            line: list[int] = []
            marks: list[bool] = []
            for visual in pictures.tokens[taken : taken + number]:
                line += [*self._before, *[image_token] * visual, *self._after]
                marks += [False] * len(self._before) + [True] * visual + [False] * len(self._after)
            grids.append(pictures.grids[taken : taken + number])
            taken += number
            ids.append(line + tokens[row])
            content.append(marks + [True] * len(tokens[row]))
        padded, real, pooled = self._pad(ids, content)
        picture = pooled & (padded == image_token)
        return PassInputs(torch.tensor(rows), padded, real, pooled, picture, grids, pictures.tensors)

    def _pad(self, ids: list[list[int]], content: list[list[bool]]) -> tuple[Tensor, Tensor, Tensor]:
        length = max(len(line) for line in ids)
        padded = torch.full((len(ids), length), self._padding)
        real, pooled = (torch.zeros(len(ids), length, dtype=torch.bool) for _ in range(2))
        for row, (line, marks) in enumerate(zip(ids, content, strict=True)):
            padded[row, : len(line)] = torch.tensor(line)
            real[row, : len(line)] = True
            pooled[row, : len(line)] = torch.tensor(marks)
        return padded, real, pooled
