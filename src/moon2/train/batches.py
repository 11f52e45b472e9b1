"""From triplets to batches, each a pure function of the seed and its number.

The stream of examples is indexed: example i is always the same triplet with the same drawn negative and the same image
transforms, whichever process asks and however often the run was killed. Resuming is then only starting at a later i.

The collator also builds the masks that say which items are no negatives of each other, so that a training step works on
tensors alone.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from moon2.catalog.store import Catalog, CatalogError, UnknownProductError
from moon2.catalog.triplets import Triplet
from moon2.images import ImageError, ImageOpener, open_image
from moon2.model.processor import Item, ItemBatch, Processor
from moon2.recipe import AugmentationSettings, ImageTransformSettings
from moon2.records import Product, Query
from moon2.train.augmentations import draw_augmentations

logger = logging.getLogger(__name__)


@dataclass
class TripletExample:
    """One triplet as the model sees it; `negative` is None where the log showed nothing else.

    The titles are the products' own, whatever text stands in their items; "" means the item's text.
    """

    query: Item
    positive: Item
    negative: Item | None
    positive_id: str
    negative_id: str | None
    known_positive_ids: frozenset[str]
    positive_title: str = ""
    negative_title: str = ""


@dataclass
class TripletBatch:
    """B triplets as one batch of items: B queries, then B positives, then the negatives there are.

    The C products, positives and negatives, serve as candidates for every query.

    Attributes:
        items: the tensors of the B + C items.
        size: B.
        known_positive: [B, C] bool, products that are known to answer the query and so are no negatives of it.
        same_product: [C, C] bool, products that cannot be told apart: one product, one title, or one drawn text.
        negative: [B] int64, the place of the triplet's own negative among the products, −1 where it has none.
    """

    items: ItemBatch
    size: int
    known_positive: Tensor
    same_product: Tensor
    negative: Tensor

    def to(self, device: torch.device | str) -> TripletBatch:
        """The same on another device."""
        moved = {name: getattr(self, name).to(device) for name in ("known_positive", "same_product", "negative")}
        return replace(self, items=self.items.to(device), **moved)


class TripletStream(Dataset[TripletExample | None]):
    """`length` examples: every triplet once an epoch, each epoch in an order of its own."""

    def __init__(
        self,
        triplets: Sequence[Triplet],
        catalog: Catalog,
        processor: Processor,
        image_transforms: ImageTransformSettings,
        augmentations: AugmentationSettings,
        *,
        length: int,
        seed: int,
        opener: ImageOpener = open_image,
    ) -> None:
        self.triplets = triplets
        self.catalog = catalog
        self.processor = processor
        self.image_transforms = image_transforms
        self.augmentations = augmentations
        self.length = length
        self.seed = seed
        self.opener = opener
        self._warned: set[str] = set()
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> TripletExample | None:
        """Example `index`; None, with a warning, where nothing of one of its items can be read."""
        epoch, position = divmod(index, len(self.triplets))
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng((self.seed, 1, epoch)).permutation(len(self.triplets))
        triplet = self.triplets[int(self._order[1][position])]
        random = np.random.default_rng((self.seed, 2, index))
        negative_id = str(random.choice(triplet.negative_ids)) if triplet.negative_ids else None
        # A generator of their own: with or without augmentations, everything else is drawn alike.
        augmenting = np.random.default_rng((self.seed, 3, index))
        negative, negative_title = None, ""
        try:
            query = self._item(self.catalog.with_image(triplet.query), random)
            positive, positive_title = self._product(triplet.positive_id, random, augmenting)
            if negative_id is not None:
                negative, negative_title = self._product(negative_id, random, augmenting)
        except (ImageError, UnknownProductError) as error:
            logger.warning("set aside the triplet of query %r: %s", triplet.query.id, error)
            return None
        known = triplet.known_positive_ids
        titles = positive_title, negative_title
        return TripletExample(query, positive, negative, triplet.positive_id, negative_id, known, *titles)

    def _product(self, id: str, random: np.random.Generator, augmenting: np.random.Generator) -> tuple[Item, str]:
        """A product's item, perhaps augmented, and its own title."""
        product = self.catalog.product(id)
        open_at = partial(self.opener, read_at=self.processor.reading_size)
        augmented = draw_augmentations(product, self.augmentations, augmenting, self._warn, open_at)
        item = self._item(augmented.product, random)
        item.added_text = augmented.added_text
        if item.images:
            item.images += [transform_image(image, self.image_transforms, random) for image in augmented.added_images]
        return item, product.title.strip()

    def _item(self, record: Product | Query, random: np.random.Generator) -> Item:
        try:
            transform = partial(transform_image, settings=self.image_transforms, random=random)
            return self.processor.item(record, transform, opener=self.opener)
        except ImageError as error:
            item = self.processor.item(record, views={"t"})
            if not item.text:
                raise
            self._warn(record.id, f"{error}; trained on its text alone")
            return item

    def _warn(self, subject: str, message: str) -> None:
        """Warns once about each subject."""
        if subject not in self._warned:
            self._warned.add(subject)
            logger.warning("%s", message)


def transform_image(image: Image.Image, settings: ImageTransformSettings, random: np.random.Generator) -> Image.Image:
    """Mirrors and crops an image at random; a crop is scaled back to the image's size."""
    if settings.flip and random.random() < 0.5:
        image = ImageOps.mirror(image)
    if settings.crop:
        width, height = image.size
        kept = 1 - settings.crop * random.random(2)
        left, top = (1 - kept) * random.random(2)
        box = (left * width, top * height, (left + kept[0]) * width, (top + kept[1]) * height)
        image = image.resize((width, height), Image.Resampling.BILINEAR, box=box)
    return image


class TripletCollator:
    """Lays triplets out as one batch, with its masks; those that could not be read are left out.

    Args:
        processor: of the encoder.
        text: make the pass over text alone also for items that have images.
    """

    def __init__(self, processor: Processor, *, text: bool = True) -> None:
        self.processor = processor
        self.text = text

    def __call__(self, examples: Sequence[TripletExample | None]) -> TripletBatch:
        """One batch.

        Raises:
            CatalogError: not one triplet of the batch could be read.
        """
        read = [example for example in examples if example is not None]
        if not read:
            raise CatalogError("not one triplet of a whole batch could be read; the lines above say why")
        products = [(example.positive_id, example.positive, example.positive_title) for example in read]
        negative = []
        for example in read:
            if example.negative is None or example.negative_id is None:
                negative.append(-1)
            else:
                negative.append(len(products))
                products.append((example.negative_id, example.negative, example.negative_title))
        product_ids = [product_id for product_id, _, _ in products]
        titles = [(title or item.text).casefold() for _, item, title in products]
        # Products drawn with one and the same enriched title cannot be told apart by it.
        texts = [f"{item.text}\n{item.added_text}".strip().casefold() for _, item, _ in products]
        items = [example.query for example in read] + [item for _, item, _ in products]
        return TripletBatch(
            items=self.processor.batch(items, text=self.text),
            size=len(read),
            known_positive=known_positive_mask([example.known_positive_ids for example in read], product_ids),
            same_product=equal_mask(product_ids) | equal_mask(titles) | equal_mask(texts),
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
