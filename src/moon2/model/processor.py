"""Records to tensors: what of a product or query reaches the model, and how it is laid out.

An item's images stand before its text, each between its family's marker tokens. A batch is at most two padded passes:
the *joint* pass (rows with images, and their text after them) and the *text* pass (text alone). Rows are padded on the
right, where a causal decoder's padding can change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from os import PathLike
from typing import Any, TypeAlias, TypeGuard, cast

import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from moon2.errors import UserError
from moon2.images import ImageOpener, ImageSource, is_image_array, open_image
from moon2.model.families import BackboneConfig, Family, Grid, ImageProcessor
from moon2.recipe import InputSettings
from moon2.records import Product, Query
from moon2.views import VIEWS, View


class ItemError(UserError):
    """Something given to be embedded cannot be; the message says what it is and what can be given."""


@dataclass
class Item:
    """What the model sees of one record: its text, its opened images (RGB; large ones at their reading size), or both.

    `added_text` follows the text and is cut at a length of its own: the enriched title, in training only.
    """

    text: str = ""
    images: list[Image.Image] = field(default_factory=list)
    added_text: str = ""


ItemSource: TypeAlias = "str | ImageSource | Mapping[str, Any] | Product | Query | Item"
"""What can be embedded. A string is text, or an image if it is a data URI; a `Path`, bytes, a file-like object, a PIL
image, an array or a tensor is an image; a dictionary has "text", "image" (one or a list), or both."""


@dataclass
class PassInputs:
    """One padded pass of B rows and S tokens.

    Attributes:
        rows: [B] int64, which item of the batch each row belongs to.
        input_ids: [B, S] int64.
        attention_mask: [B, S] bool, tokens that are not padding.
        pooling_mask: [B, S] bool, tokens that are pooled: text and image tokens, not the markers around an image.
        image_mask: [B, S] bool, image tokens.
        grids: per row, the sizes of its images in patches.
        image_inputs: the images, as keyword arguments of the backbone.
    """

    rows: Tensor
    input_ids: Tensor
    attention_mask: Tensor
    pooling_mask: Tensor
    image_mask: Tensor
    grids: list[list[Grid]]
    image_inputs: dict[str, Tensor]

    def to(self, device: torch.device | str) -> PassInputs:
        """The same on another device."""
        values = {part.name: getattr(self, part.name) for part in fields(self)}
        moved: dict[str, Any] = {name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)}
        moved["image_inputs"] = {name: value.to(device) for name, value in self.image_inputs.items()}
        return replace(self, **moved)


@dataclass
class ItemBatch:
    """N items as at most two passes; `has_text` and `has_images` are [N] bool."""

    joint: PassInputs | None
    text: PassInputs | None
    has_text: Tensor
    has_images: Tensor

    @property
    def passes(self) -> list[PassInputs]:
        """The passes there are."""
        return [inputs for inputs in (self.joint, self.text) if inputs is not None]

    def to(self, device: torch.device | str) -> ItemBatch:
        """The same on another device."""
        return ItemBatch(
            self.joint and self.joint.to(device),
            self.text and self.text.to(device),
            self.has_text.to(device),
            self.has_images.to(device),
        )


class Processor:
    """Turns records into the tensors of one backbone. Threads may share it: no call changes it."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        image_processor: ImageProcessor,
        family: Family,
        config: BackboneConfig,
        settings: InputSettings,
    ) -> None:
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.family = family
        self.config = config
        self.settings = settings
        self.reading_size = family.reading_size(image_processor)
        self._before, self._after = family.image_markers(tokenizer)
        self._padding = tokenizer.pad_token_id or 0
        # A copy of our own, because transformers' tokenizer changes its settings with every call. A shop's text is
        # data: "<|image_pad|>" in a title is words, and must not stand for an image.
        self._text_tokenizer: Tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._text_tokenizer.encode_special_tokens = True
        self._text_tokenizer.no_truncation()
        self._text_tokenizer.no_padding()

    def item(
        self,
        source: ItemSource,
        transform_image: Callable[[Image.Image], Image.Image] | None = None,
        views: Collection[View] = VIEWS,
        *,
        opener: ImageOpener = open_image,
        full_size: bool = False,
    ) -> Item:
        """Opens what is to be embedded.

        Args:
            source: see `ItemSource`.
            transform_image: applied to each opened image (training's flips and crops).
            views: what will be asked of it; for "t" alone no image is opened, for "i" alone the text is dropped.
            opener: opens the images; training gives one that caches.
            full_size: keep large images at their own size, to show them.

        Returns:
            The item; empty where the source lacks the views asked for.

        Raises:
            ItemError: it is of another type, or there is nothing in it to embed.
            ImageError: an image cannot be read.
        """
        if isinstance(source, Item):
            return source
        text, images, where = _text_and_images(source)
        if not text.strip() and not images:
            raise ItemError(f"{where}: has neither text nor an image to embed")
        limit = 0 if set(views) == {"t"} else self.settings.max_images
        read_at = None if full_size else self.reading_size
        opened = [opener(image, f"{where}: image {index}", read_at) for index, image in enumerate(images[:limit])]
        if transform_image is not None:
            opened = [transform_image(image) for image in opened]
        return Item("" if set(views) == {"i"} else text.strip(), opened)

    def batch(self, items: Sequence[Item], *, joint: bool = True, text: bool = True) -> ItemBatch:
        """Lays N items out as tensors.

        Args:
            items: what `item` made.
            joint: make the pass over images with the text after them, for views i and mm.
            text: make the pass over text alone, for view t; items without images are always in it.
        """
        tokens = self._tokens(items)
        with_images = [index for index, item in enumerate(items) if item.images] if joint else []
        text_only = [index for index, item in enumerate(items) if item.text and (text or not item.images)]
        return ItemBatch(
            self._joint_pass(items, tokens, with_images) if with_images else None,
            self._text_pass(tokens, text_only) if text_only else None,
            torch.tensor([bool(item.text) for item in items]),
            torch.tensor([bool(item.images) for item in items]),
        )

    def text_offsets(self, text: str) -> list[tuple[int, int]]:
        """Where each token of an item's text begins and ends in it, in characters."""
        return list(
            self._text_tokenizer.encode(text, add_special_tokens=False).offsets[: self.settings.max_text_tokens]
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
        encodings = self._text_tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [list(encoding.ids[: self.settings.max_text_tokens]) for encoding in encodings]

    def _text_pass(self, tokens: list[list[int]], rows: list[int]) -> PassInputs:
        ids, mask, pooled = self._pad([tokens[row] for row in rows], [[True] * len(tokens[row]) for row in rows])
        return PassInputs(torch.tensor(rows), ids, mask, pooled, torch.zeros_like(mask), [[] for _ in rows], {})

    def _joint_pass(self, items: Sequence[Item], tokens: list[list[int]], rows: list[int]) -> PassInputs:
        images = self.family.image_inputs(
            self.image_processor, self.config, [image for row in rows for image in items[row].images]
        )
        image_token = self.config.image_token_id
        ids, pooled, grids, start = [], [], [], 0
        for row in rows:
            end = start + len(items[row].images)
            row_ids: list[int] = []
            row_pooled: list[bool] = []
            for count in images.token_counts[start:end]:
                row_ids += [*self._before, *[image_token] * count, *self._after]
                row_pooled += [False] * len(self._before) + [True] * count + [False] * len(self._after)
            grids.append(images.grids[start:end])
            ids.append(row_ids + tokens[row])
            pooled.append(row_pooled + [True] * len(tokens[row]))
            start = end
        input_ids, attention_mask, pooling_mask = self._pad(ids, pooled)
        image_mask = pooling_mask & (input_ids == image_token)
        return PassInputs(
            torch.tensor(rows), input_ids, attention_mask, pooling_mask, image_mask, grids, images.tensors
        )

    def _pad(self, ids: list[list[int]], pooled: list[list[bool]]) -> tuple[Tensor, Tensor, Tensor]:
        length = max(len(row) for row in ids)
        input_ids = torch.full((len(ids), length), self._padding)
        attention_mask, pooling_mask = (torch.zeros(len(ids), length, dtype=torch.bool) for _ in range(2))
        for index, (row_ids, row_pooled) in enumerate(zip(ids, pooled, strict=True)):
            input_ids[index, : len(row_ids)] = torch.tensor(row_ids)
            attention_mask[index, : len(row_ids)] = True
            pooling_mask[index, : len(row_ids)] = torch.tensor(row_pooled)
        return input_ids, attention_mask, pooling_mask


def is_one_item(source: object) -> TypeGuard[ItemSource]:
    """Whether it is one `ItemSource`, not an iterable of them."""
    one = (str, bytes, bytearray, PathLike, Image.Image, Mapping, Product, Query, Item)
    return isinstance(source, one) or is_image_array(source) or hasattr(source, "read")


def _text_and_images(source: ItemSource) -> tuple[str, tuple[ImageSource, ...], str]:
    """Text, images, and how messages call it."""
    if isinstance(source, Product):
        return source.title, source.images, f"product {source.id!r}"
    if isinstance(source, Query):
        return source.text, () if source.image is None else (source.image,), f"query {source.id!r}"
    if isinstance(source, Mapping):
        if unknown := set(source) - {"text", "image"}:
            raise ItemError(f"cannot embed a dictionary with {sorted(map(str, unknown))[0]!r}; give text and image")
        image = source.get("image")
        several = image if isinstance(image, (list, tuple)) else () if image is None else (image,)
        return str(source.get("text") or ""), tuple(several), "item"
    if isinstance(source, str) and not source.startswith("data:image/"):
        return source, (), "text"
    if is_one_item(source):
        return "", (cast(ImageSource, source),), "image"
    raise ItemError(
        f"cannot embed a {type(source).__name__}; give text, an image (path, bytes, PIL image, array), a Product, a "
        f'Query or {{"text": …, "image": …}}'
    )
