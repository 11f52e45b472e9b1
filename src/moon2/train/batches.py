"""Triplets to tensors: the items of a batch in chunks, and the masks that say which items are no negatives.

Masks are made of the ids and texts of the whole batch, which every process knows without reading an image; so the
processes of a run only exchange vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from moon2.model.item_batch import ItemBatch
from moon2.model.items import Item
from moon2.model.processor import Processor, ReadItem
from moon2.views import View


@dataclass
class TripletOutline:
    """What is known of a triplet without reading an image.

    Attributes:
        positive_id, negative_id: of the products; the log may have shown nothing else, so there may be no negative.
        known_positive_ids: every product known to answer the query.
        own_texts: of the positive and the negative, whatever text stands in their place.
        texts: the text that is drawn for each of the two.
        query_id, query_text: of the query.
    """

    positive_id: str
    negative_id: str | None
    known_positive_ids: frozenset[str]
    own_texts: tuple[str, str] = ("", "")
    texts: tuple[str, str] = ("", "")
    query_id: str = ""
    query_text: str = ""


@dataclass
class TripletExample:
    """One triplet as the model sees it; items are empty where nothing of one of them could be read."""

    query: Item
    positive: Item
    negative: Item | None
    outline: TripletOutline

    @property
    def is_empty(self) -> bool:
        """Whether it could not be read."""
        return not (self.query.text or self.query.images)


@dataclass
class TripletMasks:
    """Which of a batch's items are no negatives of each other.

    The C products of a batch, its B positives and then the negatives there are, serve as candidates for every query.

    Attributes:
        size: B.
        known_positive: [B, C] bool, products that are known to answer the query and so are no negatives of it.
        same_product: [C, C] bool, products that cannot be told apart: one product, one own text, or one drawn text.
        negative: [B] int64, the place of the triplet's own negative among the products, −1 where it has none.
    """

    size: int
    known_positive: Tensor
    same_product: Tensor
    negative: Tensor

    def to(self, device: torch.device | str) -> TripletMasks:
        """The same on another device."""
        names = ("known_positive", "same_product", "negative")
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in names})


@dataclass
class TaughtView:
    """What a teacher makes of one view of a batch's N items: the B queries, the B positives, then the negatives.

    Attributes:
        own: [N, E] float32 of unit length, of the view; zeros for an item without.
        joint: [N, E], of the whole item.
        counts: [N] bool, the items that are taught, each once.
    """

    own: Tensor
    joint: Tensor
    counts: Tensor

    def to(self, device: torch.device | str) -> TaughtView:
        """The same on another device."""
        return TaughtView(*(part.to(device, non_blocking=True) for part in (self.own, self.joint, self.counts)))


@dataclass
class TripletBatch:
    """One process's share of a batch of B triplets: its queries, its positives, then the negatives that they have.

    Attributes:
        chunks: its items in their order, in the parts that go through the network together.
        counts: how many items each process has.
        order: [B + C] int64, where the queries, positives and negatives of the whole batch stand when the shares of all
            processes are put one after another.
        masks: of the whole batch.
        tokens: its share's tokens.
        taught: by view, what a teacher makes of the whole batch; nothing without one.
    """

    chunks: list[ItemBatch]
    counts: list[int]
    order: Tensor
    masks: TripletMasks
    tokens: int
    taught: dict[View, TaughtView] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """B."""
        return self.masks.size


@dataclass
class ChunkLayout:
    """How the items of a batch are laid out.

    Attributes:
        processor: of the encoder.
        joint, text: the rows to make, as in `Processor.pack`.
        tokens: how many a chunk holds at most, but for a single item that has more; None: one chunk.
        always_images: give a chunk without images a blank one that counts nowhere. Of several processes each must run
            the whole network, or those that share weights with it wait forever.
    """

    processor: Processor
    joint: bool = True
    text: bool = True
    tokens: int | None = None
    always_images: bool = False

    def chunks(self, items: Sequence[Item]) -> list[ItemBatch]:
        """The chunks of these items, in their order."""
        return self.pack(self.processor.read(items))

    def pack(self, read: Sequence[ReadItem]) -> list[ItemBatch]:
        """The chunks of items that are read already."""
        return [
            self.processor.pack(read[start:end], joint=self.joint, text=self.text, filler=self.always_images)
            for start, end in self._bounds(read)
        ]

    def _bounds(self, items: Sequence[ReadItem]) -> Iterator[tuple[int, int]]:
        start, filled = 0, 0
        for number, item in enumerate(items):
            size = self.processor.tokens(item, joint=self.joint, text=self.text)
            # What has no tokens, such as a triplet that could not be read, makes no chunk of its own.
            if self.tokens is not None and size and filled and filled + size > self.tokens:
                yield start, number
                start, filled = number, 0
            filled += size
        yield start, len(items)


def collate(
    examples: Sequence[TripletExample],
    shares: Sequence[Sequence[TripletOutline]],
    layout: ChunkLayout,
    teacher: Callable[[Sequence[TripletOutline]], dict[View, TaughtView]] | None = None,
) -> TripletBatch:
    """One process's share of a batch.

    Args:
        examples: of the share.
        shares: the outlines of each process's share, this one's among them.
        layout: how items become rows.
        teacher: `Teacher.taught` of the run's teacher, if it has one.
    """
    items = [example.query for example in examples] + [example.positive for example in examples]
    items += [example.negative for example in examples if example.negative is not None]
    chunks = layout.chunks(items)
    sizes = [len(share) for share in shares]
    negatives = [[outline.negative_id is not None for outline in share] for share in shares]
    counts = [2 * size + sum(has) for size, has in zip(sizes, negatives, strict=True)]
    starts = np.concatenate([[0], np.cumsum(counts)])
    parts = [
        [np.arange(start, start + size) for start, size in zip(starts, sizes, strict=False)],
        [np.arange(start + size, start + 2 * size) for start, size in zip(starts, sizes, strict=False)],
        [np.arange(start + 2 * size, end) for start, size, end in zip(starts, sizes, starts[1:], strict=False)],
    ]
    outlines = [outline for share in shares for outline in share]
    return TripletBatch(
        chunks=chunks,
        counts=counts,
        order=torch.from_numpy(np.concatenate([place for part in parts for place in part])),
        masks=triplet_masks(outlines),
        tokens=sum(chunk.read_tokens for chunk in chunks),
        taught=teacher(outlines) if teacher else {},
    )


def triplet_masks(outlines: Sequence[TripletOutline]) -> TripletMasks:
    """The masks of a batch of these triplets."""
    places = [(outline.positive_id, outline.own_texts[0], outline.texts[0]) for outline in outlines]
    negative = []
    for outline in outlines:
        negative.append(-1 if outline.negative_id is None else len(places))
        if outline.negative_id is not None:
            places.append((outline.negative_id, outline.own_texts[1], outline.texts[1]))
    ids, own_texts, texts = ([place[part] for place in places] for part in range(3))
    # Products without a text are told apart by their images.
    own_texts = [text.casefold() or f"\0{id}" for id, text in zip(ids, own_texts, strict=True)]
    texts = [text.casefold() or f"\0{id}" for id, text in zip(ids, texts, strict=True)]
    return TripletMasks(
        size=len(outlines),
        known_positive=known_positive_mask([outline.known_positive_ids for outline in outlines], ids),
        same_product=equal_mask(ids) | equal_mask(own_texts) | equal_mask(texts),
        negative=torch.tensor(negative),
    )


def known_positive_mask(row_known: Sequence[Collection[str]], candidate_ids: Sequence[str]) -> Tensor:
    """Which candidates are never negatives of a row: those whose product is known to be right for its query.

    Args:
        row_known: for each of B rows, the ids of its query's known positives; the row's own positive belongs among
            them, so that a second copy of it in the batch is no negative either.
        candidate_ids: the product id of each of C candidates; an id may come several times.

    Returns:
        [B, C] bool on the CPU, True: no negative. It is `excluded` of `info_nce` and `inter_product`.
    """
    columns: dict[str, list[int]] = {}
    for column, product in enumerate(candidate_ids):
        columns.setdefault(product, []).append(column)
    mask = torch.zeros(len(row_known), len(candidate_ids), dtype=torch.bool)
    for row, known in enumerate(row_known):
        mask[row, [column for product in known for column in columns.get(product, ())]] = True
    return mask


def equal_mask(values: Sequence[str]) -> Tensor:
    """Which pairs of N values are equal: [N, N] bool on the CPU, True on the diagonal."""
    number = {value: number for number, value in enumerate(dict.fromkeys(values))}
    codes = torch.tensor([number[value] for value in values], dtype=torch.int64)
    return codes[:, None] == codes[None, :]
