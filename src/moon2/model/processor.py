"""Records to tensors: what of a product or query reaches the model, and how it is laid out.

An item's images stand before its text, each between its family's marker tokens. An item becomes at most two rows: a
*joint* row (its images, and its text after them) and a *text* row (its text alone). The rows of a batch are packed one
after another into a single sequence, so no work is spent on padding, and attention stays within each row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from moon2.images import ImageOpener, ReadingSize, open_image
from moon2.model.backbone_types import BackboneConfig
from moon2.model.families import Family, Grid, ImageProcessor, ImageTensor
from moon2.model.item_batch import ImageBatch, ItemBatch
from moon2.model.items import Item, ItemError, ItemSource, require_whole_characters, text_and_images
from moon2.model.packed_attention import Packing
from moon2.model.product_text import fitted_text
from moon2.recipe import InputSettings
from moon2.records import Product
from moon2.views import VIEWS, View

# The number that the row of a blank image has in the place of an item's.
FILLER = -1


@dataclass
class ReadItem:
    """An item as numbers, not yet laid out.

    Attributes:
        tokens: of its text.
        images: each with a key that equal images share.
    """

    tokens: list[int]
    images: list[tuple[bytes, ImageTensor]]


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
        read_at: ReadingSize | None = None,
    ) -> Item:
        """Opens what is to be embedded.

        Args:
            source: see `ItemSource`.
            transform_image: applied to each opened image (training's flips and crops).
            views: what will be asked of it; for "t" alone no image is opened, for "i" alone the text is dropped.
            opener: opens the images; training gives one that caches.
            read_at: to which size large images are scaled; that at which the network reads them when not given.

        Returns:
            The item; empty where the source lacks the views asked for.

        Raises:
            ItemError: it is of another type, or there is nothing in it to embed.
            ImageError: an image cannot be read.
        """
        has_text, limit = set(views) != {"i"}, 0 if set(views) == {"t"} else self.settings.max_images
        if isinstance(source, Item):
            require_whole_characters(source.text, "item")
            return Item(source.text if has_text else "", source.images[:limit], source.added_text if has_text else "")
        text, images, where = text_and_images(source)
        if isinstance(source, Product):
            text = self.product_text(source)
        if not text.strip() and not images:
            fields = f" ({', '.join(self.settings.fields)})" if isinstance(source, Product) else ""
            raise ItemError(f"{where}: has neither text{fields} nor an image to embed")
        read_at = read_at or self.reading_size
        opened = [
            opener(image, f"{where}: image {number}", read_at) for number, image in enumerate(images[:limit], start=1)
        ]
        if transform_image is not None:
            opened = [transform_image(image) for image in opened]
        return Item(text.strip() if has_text else "", opened)

    def read(self, items: Sequence[Item], *, images: bool = True) -> list[ReadItem]:
        """Text to tokens and images to tensors; an image that comes twice is computed once.

        Args:
            items: what `item` made.
            images: read the images.
        """
        distinct: dict[bytes, Image.Image] = {}
        keys: list[list[bytes]] = []
        for item in items:
            keys.append([])
            for image in item.images if images else ():
                key = _key(image)
                distinct.setdefault(key, image)
                keys[-1].append(key)
        tensors: dict[bytes, ImageTensor] = {}
        if distinct:
            found = self.family.image_tensors(self.image_processor, self.config, list(distinct.values()))
            tensors = dict(zip(distinct, found, strict=True))
        return [
            ReadItem(tokens, [(key, tensors[key]) for key in own])
            for tokens, own in zip(self._tokens(items), keys, strict=True)
        ]

    def batch(self, items: Sequence[Item], *, images: bool = True, joint: bool = True, text: bool = True) -> ItemBatch:
        """Lays N items out as tensors; see `pack`.

        Args:
            items: what `item` made.
            images, joint, text: as for `read` and `pack`.
        """
        return self.pack(self.read(items, images=images), joint=joint, text=text)

    def tokens(self, item: ReadItem, *, joint: bool = True, text: bool = True) -> int:
        """How many tokens an item has in `pack`: those of its rows, and of images that stand in none."""
        loose = 0 if joint else sum(image.tokens for _, image in item.images)
        return loose + sum(length for length, _, _ in self._rows([item], joint, text))

    def pack(
        self, items: Sequence[ReadItem], *, joint: bool = True, text: bool = True, filler: bool = False
    ) -> ItemBatch:
        """Lays N items out as packed rows.

        Args:
            items: what `read` made.
            joint: make the rows of images with the text after them, for views i and mm.
            text: make the row of text alone also for items that have images, for view t.
            filler: where no item has an image, add a row with a blank one, which belongs to no item.
        """
        blank = None
        rows = self._rows(items, joint, text)
        if filler and not any(item.images for item in items):
            blank = self.read([Item(images=[Image.new("RGB", (32, 32))])])[0]
            rows.append((self.tokens(blank), FILLER, True))
        rows.sort()
        # The distinct images, short ones first: those of equal size then stand together.
        used = {key: image for item in [*items, *([blank] if blank else [])] for key, image in item.images}
        order = sorted(used, key=lambda key: len(used[key].pixels))
        place = {key: number for number, key in enumerate(order)}
        first_token, start = {}, 0
        for key in order:
            first_token[key] = start
            start += used[key].tokens
        layout = _Layout()
        for length, number, is_joint in rows:
            item = blank if blank and number == FILLER else items[number]
            self._add_row(layout, item, is_joint, length, first_token)
        numbers = torch.tensor([number for _, number, _ in rows], dtype=torch.int64)
        joint_row = torch.tensor([is_joint for _, _, is_joint in rows], dtype=torch.bool)
        real = numbers != FILLER
        has_images = torch.tensor([bool(item.images) for item in items], dtype=torch.bool)
        joint_rows = (joint_row & real).nonzero().flatten()
        text_rows = (~joint_row).nonzero().flatten()
        alone = text_rows[~has_images[numbers[text_rows]]]
        images = None
        if used:
            images = ImageBatch(
                self.family.vision_inputs(self.config, [used[key] for key in order]),
                torch.tensor(layout.slots, dtype=torch.int64),
                torch.tensor(layout.sources, dtype=torch.int64),
                torch.arange(len(order)).repeat_interleave(torch.tensor([used[key].tokens for key in order])),
                torch.tensor(
                    [[n, place[key]] for n, item in enumerate(items) for key, _ in item.images], dtype=torch.int64
                )
                .view(-1, 2)
                .T,
                [used[key].grid for key in order],
            )
        lengths = [length for length, _, _ in rows]
        return ItemBatch(
            has_text=torch.tensor([bool(item.tokens) for item in items], dtype=torch.bool),
            has_images=has_images,
            view_rows={"t": text_rows, "i": joint_rows, "mm": torch.cat([joint_rows, alone])},
            item_of_row=numbers.clamp(min=0),
            row_kind=torch.stack([joint_row & real, ~joint_row]).float(),
            row_of_token=torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(lengths, dtype=torch.int64)),
            input_ids=torch.tensor(layout.ids, dtype=torch.int64),
            positions=torch.cat(layout.positions, dim=1) if rows else torch.zeros(1, 0, dtype=torch.int64),
            is_pooled=torch.tensor(layout.pooled, dtype=torch.bool),
            is_image=torch.tensor(layout.image, dtype=torch.bool),
            packing=Packing.of(lengths, causal=True) if rows else None,
            images=images,
            grids=layout.grids,
        )

    def _rows(self, items: Sequence[ReadItem], joint: bool, text: bool) -> list[tuple[int, int, bool]]:
        """The length of each row, the number of its item, and whether it is a joint row."""
        markers = len(self._before) + len(self._after)
        rows = []
        for number, item in enumerate(items):
            if joint and item.images:
                length = len(item.tokens) + sum(image.tokens + markers for _, image in item.images)
                rows.append((length, number, True))
            if item.tokens and (text or not item.images):
                rows.append((len(item.tokens), number, False))
        return rows

    def _add_row(
        self, layout: _Layout, item: ReadItem, is_joint: bool, length: int, first_token: dict[bytes, int]
    ) -> None:
        images = item.images if is_joint else []
        for key, image in images:
            layout.ids += self._before
            layout.slots += range(len(layout.ids), len(layout.ids) + image.tokens)
            layout.sources += range(first_token[key], first_token[key] + image.tokens)
            layout.ids += [self._padding] * image.tokens + self._after
            layout.pooled += [False] * len(self._before) + [True] * image.tokens + [False] * len(self._after)
            layout.image += [False] * len(self._before) + [True] * image.tokens + [False] * len(self._after)
        layout.ids += item.tokens
        layout.pooled += [True] * len(item.tokens)
        layout.image += [False] * len(item.tokens)
        grids = [image.grid for _, image in images]
        layout.grids.append(grids)
        layout.positions.append(self.family.positions(self.config, grids, length))

    def product_text(self, product: Product) -> str:
        """What is read of a product as its text; see `moon2.model.product_text`."""
        return fitted_text(product, self.settings, lambda text: [start for start, _ in self._offsets(text)])

    def read_text(self, text: str) -> str:
        """What of an item's text is read: texts that are equal after the cut are one to the network."""
        offsets = self.text_offsets(text)
        return text[: offsets[-1][1]] if offsets else ""

    def text_offsets(self, text: str) -> list[tuple[int, int]]:
        """Where each token of an item's text begins and ends in it, in characters."""
        return self._offsets(text)[: self.settings.max_text_tokens]

    def token_count(self, text: str) -> int:
        """How many tokens a text has before it is cut."""
        return len(self._offsets(text))

    def _offsets(self, text: str) -> list[tuple[int, int]]:
        return list(self._text_tokenizer.encode(text, add_special_tokens=False).offsets)

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


@dataclass
class _Layout:
    """The rows of a batch so far."""

    ids: list[int] = field(default_factory=list)
    pooled: list[bool] = field(default_factory=list)
    image: list[bool] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)
    positions: list[Tensor] = field(default_factory=list)
    grids: list[list[Grid]] = field(default_factory=list)


def _key(image: Image.Image) -> bytes:
    """Equal for equal images."""
    return hashlib.blake2b(image.tobytes(), key=repr(image.size).encode()).digest()
