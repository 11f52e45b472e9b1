"""The stream of triplets: which products and queries a step reads, each a pure function of the seed and its number.

Example i is always the same triplet with the same drawn negative and the same image transforms, whichever process asks
and however often the run was killed. Resuming is then only starting at a later i.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from PIL import Image, ImageOps
from torch.utils.data import Dataset

from moon2.catalog.store import Catalog, CatalogError, UnknownProductError
from moon2.catalog.triplets import Triplet
from moon2.images import ImageError, ImageOpener, open_image
from moon2.model.items import Item, ItemError
from moon2.model.processor import Processor
from moon2.recipe import AugmentationSettings, ImageTransformSettings
from moon2.records import Product, Query
from moon2.train.augmentations import draw_augmentations
from moon2.train.batches import ChunkLayout, TripletBatch, TripletExample, TripletOutline, collate
from moon2.train.teacher import Teacher

logger = logging.getLogger(__name__)


class TripletStream(Dataset[TripletExample]):
    """`length` examples: every triplet of the log once an epoch, each epoch in an order of its own.

    Attributes:
        triplets: those of the log, and after them mined ones, of which each epoch draws some, of each category as many.
        teacher: of the run; None without one.
        hard_negatives: of each triplet, ids of mined negatives beside its own; None where none were mined. It is set
            before a loader starts, whose processes have copies of the stream.
    """

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
        teacher: Teacher | None = None,
        mined: Sequence[Triplet] = (),
        mined_share: float = 0.0,
    ) -> None:
        self.triplets = [*triplets, *mined]
        self.catalog = catalog
        self.processor = processor
        self.image_transforms = image_transforms
        self.augmentations = augmentations
        self.length = length
        self.seed = seed
        self.opener = opener
        self.teacher = teacher
        self.hard_negatives: Sequence[Sequence[str]] | None = None
        self._logged = len(triplets)
        self._mined_an_epoch = round(len(triplets) * mined_share / (1 - mined_share)) if mined else 0
        self._mined_chances = _category_chances(catalog, mined) if mined else np.empty(0)
        self._warned: set[str] = set()
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> TripletExample:
        """Example `index`; empty items, with a warning, where nothing of one of its items can be read."""
        triplet, random, negative_id = self._draw(index)
        outline = self.outline(index)
        negative = None
        try:
            query = self._item(self.catalog.with_image(triplet.query), random)
            positive = self._product(triplet.positive_id, random, self._augmenting(index, 0))
            if negative_id is not None:
                negative = self._product(negative_id, random, self._augmenting(index, 1))
        except (ImageError, ItemError, UnknownProductError) as error:
            logger.warning("set aside the triplet of query %r: %s", triplet.query.id, error)
            return TripletExample(Item(), Item(), None if negative_id is None else Item(), outline)
        return TripletExample(query, positive, negative, outline)

    def outline(self, index: int) -> TripletOutline:
        """Example `index` without its items."""
        triplet, _, negative_id = self._draw(index)
        own_texts, texts = zip(
            self._texts(triplet.positive_id, self._augmenting(index, 0)),
            self._texts(negative_id, self._augmenting(index, 1)),
            strict=True,
        )
        return TripletOutline(
            triplet.positive_id,
            negative_id,
            triplet.known_positive_ids,
            own_texts,
            texts,
            triplet.query.id,
            triplet.query.text,
        )

    def _draw(self, index: int) -> tuple[Triplet, np.random.Generator, str | None]:
        """The triplet, the generator of its image transforms, and its negative."""
        number = self.triplet_number(index)
        triplet = self.triplets[number]
        random = np.random.default_rng((self.seed, 2, index))
        negatives = (*triplet.negative_ids, *(self.hard_negatives[number] if self.hard_negatives else ()))
        return triplet, random, str(random.choice(negatives)) if negatives else None

    def triplet_number(self, index: int) -> int:
        """Which triplet example `index` is of."""
        epoch, position = divmod(index, self._logged + self._mined_an_epoch)
        if self._order[0] != epoch:
            self._order = epoch, self._epoch(np.random.default_rng((self.seed, 1, epoch)))
        return int(self._order[1][position])

    def _epoch(self, random: np.random.Generator) -> np.ndarray:
        """The numbers of an epoch's triplets: all of the log, and as many mined ones as the share asks for."""
        numbers, mined = np.arange(self._logged), self._mined_an_epoch
        if mined:
            drawn = random.choice(len(self._mined_chances), mined, p=self._mined_chances)
            numbers = np.concatenate([numbers, self._logged + drawn])
        return random.permutation(numbers)

    def _augmenting(self, index: int, product: int) -> np.random.Generator:
        """A generator of its own: with or without augmentations, everything else is drawn alike."""
        return np.random.default_rng((self.seed, 3, index, product))

    def _texts(self, id: str | None, augmenting: np.random.Generator) -> tuple[str, str]:
        """A product's own text, and the one that is drawn for it, as far as they are read."""
        try:
            product = self.catalog.product(id) if id is not None else None
        except UnknownProductError:
            product = None
        if product is None:
            return "", ""
        pictureless = replace(product, expanded_images=())
        drawn = draw_augmentations(pictureless, self.augmentations, augmenting, self._warn)
        own, other = (self.processor.read_text(self.processor.product_text(one)) for one in (product, drawn.product))
        return own, f"{other}\n{drawn.added_text}".strip()

    def _product(self, id: str, random: np.random.Generator, augmenting: np.random.Generator) -> Item:
        """A product's item, perhaps augmented."""
        open_at = partial(self.opener, read_at=self.processor.reading_size)
        product = self.catalog.product(id)
        augmented = draw_augmentations(product, self.augmentations, augmenting, self._warn, open_at)
        item = self._item(augmented.product, random)
        item.added_text = augmented.added_text
        if item.images:
            item.images += [transform_image(image, self.image_transforms, random) for image in augmented.added_images]
        return item

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


class TripletBatches(Dataset[TripletBatch]):
    """The batches of a run, by the number of the step; of each, one process's share.

    Args:
        stream: `batch_size` examples a step.
        batch_size: B, of all processes together.
        layout: how items become rows.
        rank, processes: whose share; the triplets of a batch are dealt out in runs of equal length, as far as they go.
    """

    def __init__(
        self, stream: TripletStream, batch_size: int, layout: ChunkLayout, rank: int = 0, processes: int = 1
    ) -> None:
        self.stream = stream
        self.batch_size = batch_size
        self.layout = layout
        self.rank = rank
        self.processes = processes

    def __len__(self) -> int:
        return len(self.stream) // self.batch_size

    def __getitem__(self, step: int) -> TripletBatch:
        """The batch of a step.

        Raises:
            CatalogError: not one triplet could be read, where one process has the whole batch.
        """
        numbers = range(step * self.batch_size, (step + 1) * self.batch_size)
        shares = [[*share] for share in np.array_split(numbers, self.processes)]
        examples = [self.stream[int(number)] for number in shares[self.rank]]
        if self.processes == 1 and all(example.is_empty for example in examples):
            raise CatalogError("not one triplet of a whole batch could be read; the lines above say why")
        outlines = [
            [example.outline for example in examples]
            if rank == self.rank
            else [self.stream.outline(int(number)) for number in share]
            for rank, share in enumerate(shares)
        ]
        teacher = self.stream.teacher
        return collate(examples, outlines, self.layout, teacher.taught if teacher else None)


def _category_chances(catalog: Catalog, triplets: Sequence[Triplet]) -> np.ndarray:
    """The chance of each triplet where every category, the leaf of the positive's path, has the same; they sum to 1.

    A log hardly ever asks for what the shop has little of. Then nothing keeps the words for it from being near to all
    other products.
    """
    leaf = {row["id"]: (row["category"] or ("",))[-1] for row in catalog.rows("train", ["id", "category"])}
    _, category, count = np.unique(
        [leaf[triplet.positive_id] for triplet in triplets], return_inverse=True, return_counts=True
    )
    return 1 / (len(count) * count[category])


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
