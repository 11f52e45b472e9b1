"""From triplets to batches, each a pure function of the seed and its number.

The stream of examples is indexed: example i is always the same triplet with the same drawn negative and the same
picture changes, whichever process asks and however often the run was killed. Resuming is then only starting at a
later i.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from moon2.catalog.store import Catalog, CatalogError, UnknownProductError
from moon2.catalog.triplets import Triplet
from moon2.images import ImageError
from moon2.model.processor import Item, ItemBatch, Processor
from moon2.recipe import AugmentationSettings, ImageTransformSettings
from moon2.records import Product, Query
from moon2.train.augmentations import draw_augmentations


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

    Attributes:
        items: the tensors.
        size: B.
        product_ids: ids of positives and negatives, in the order of their items.
        product_titles: their own titles, never enriched ones; products that share one are no negatives of each other.
        product_texts: what stands in their items; products drawn with one and the same enriched title cannot be told
            apart by it, so neither are they.
        known_positive_ids: per triplet, the products that answer its query.
        negative_of: per triplet, the place of its negative among `product_ids`, or −1.
    """

    items: ItemBatch
    size: int
    product_ids: list[str]
    product_titles: list[str]
    product_texts: list[str]
    known_positive_ids: list[frozenset[str]]
    negative_of: list[int]


class TripletStream(Dataset[TripletExample | None]):
    """`length` examples: every triplet once an epoch, each epoch in an order of its own."""

    def __init__(
        self,
        triplets: Sequence[Triplet],
        catalog: Catalog,
        processor: Processor,
        augment: ImageTransformSettings,
        *,
        length: int,
        seed: int,
        augmentations: AugmentationSettings | None = None,
    ) -> None:
        self.triplets = triplets
        self.catalog = catalog
        self.processor = processor
        self.augment = augment
        self.augmentations = augmentations or AugmentationSettings()
        self.length = length
        self.seed = seed
        self._told: set[str] = set()
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> TripletExample | None:
        """Example `index`; None, with a line on the terminal, where an item of it has nothing left that can be read."""
        epoch, place = divmod(index, len(self.triplets))
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng((self.seed, 1, epoch)).permutation(len(self.triplets))
        triplet = self.triplets[int(self._order[1][place])]
        random = np.random.default_rng((self.seed, 2, index))
        negative_id = str(random.choice(triplet.negative_ids)) if triplet.negative_ids else None
        # A generator of their own: with or without augmentations, everything else is drawn alike.
        drawing = np.random.default_rng((self.seed, 3, index))
        try:
            query = self._item(self.catalog.with_image(triplet.query), random)
            positive, positive_title = self._product(triplet.positive_id, random, drawing)
            negative, negative_title = (
                (None, "") if negative_id is None else self._product(negative_id, random, drawing)
            )
        except (ImageError, UnknownProductError) as error:
            line = f"moon2: set aside the triplet of query {triplet.query.id!r}: {error}"
            tqdm.write(line, file=sys.stderr)
            return None
        known = triplet.known_positive_ids
        titles = positive_title, negative_title
        return TripletExample(query, positive, negative, triplet.positive_id, negative_id, known, *titles)

    def _product(self, id: str, random: np.random.Generator, drawing: np.random.Generator) -> tuple[Item, str]:
        """A product's item, perhaps with augmentations, and its own title."""
        product = self.catalog.product(id)
        drawn = draw_augmentations(product, self.augmentations, drawing, self._tell)
        item = self._item(drawn.product, random)
        item.added_text = drawn.added_text
        if item.images:
            item.images += [change_picture(image, self.augment, random) for image in drawn.added_images]
        return item, product.title.strip()

    def _item(self, record: Product | Query, random: np.random.Generator) -> Item:
        changes = self.augment.flip or self.augment.crop
        change = (lambda image: change_picture(image, self.augment, random)) if changes else None
        try:
            return self.processor.item(record, change)
        except ImageError as error:
            item = self.processor.item(record, views=("t",))
            if not item.text:
                raise
            self._tell(record.id, f"{error}; trained on its text alone")
            return item

    def _tell(self, about: str, what: str) -> None:
        """One line on the terminal, the first time only."""
        if about not in self._told:
            self._told.add(about)
            tqdm.write(f"moon2: {what}", file=sys.stderr)


def change_picture(image: Image.Image, settings: ImageTransformSettings, random: np.random.Generator) -> Image.Image:
    """Mirrors and crops a picture at random; a crop is scaled back to the picture's size."""
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
    """Lays triplets out as one batch; those that could not be read are left out."""

    def __init__(self, processor: Processor, *, text: bool = True) -> None:
        self.processor = processor
        self.text = text

    def __call__(self, examples: Sequence[TripletExample | None]) -> dict[str, TripletBatch]:
        """One batch under the key "batch".

        Raises:
            CatalogError: not one triplet of the batch could be read.
        """
        read = [example for example in examples if example is not None]
        if not read:
            raise CatalogError("not one triplet of a whole batch could be read; the lines above say why")
        negatives = [example for example in read if example.negative is not None]
        places = {id(example): len(read) + place for place, example in enumerate(negatives)}
        products = [example.positive for example in read] + [item for e in negatives if (item := e.negative)]
        items = self.processor.batch([example.query for example in read] + products, text=self.text)
        batch = TripletBatch(
            items=items,
            size=len(read),
            product_ids=[e.positive_id for e in read] + [e.negative_id or "" for e in negatives],
            product_titles=[e.positive_title or e.positive.text for e in read]
            + [e.negative_title or item.text for e in negatives if (item := e.negative)],
            product_texts=[f"{item.text}\n{item.added_text}".strip() for item in products],
            known_positive_ids=[example.known_positive_ids for example in read],
            negative_of=[places.get(id(example), -1) for example in read],
        )
        return {"batch": batch}
