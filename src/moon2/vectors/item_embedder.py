"""Records to vectors for a catalog of any size, with whatever is wrong with one kept apart from the others.

An encoder of moon2 on CPUs computes with one thread a call, and as many calls run at once as there are cores: a call
that opens images lets no other wait, and small matrices gain nothing from a second core. On a GPU, and with another
library's encoder, one call at a time computes while the others open images.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import numpy as np
import torch

from moon2.encoders.protocol import EncoderAdapter, VectorEncoder
from moon2.errors import UserError
from moon2.images import ImageError, ImageSource, open_image
from moon2.model.encoder import Encoder
from moon2.model.items import ItemError, item_length
from moon2.model.processor import ReadItem
from moon2.records import Product, Query
from moon2.vectors.embed import product_vectors, query_vectors, text_read
from moon2.views import View

Record = Product | Query
Opened = TypeVar("Opened")
BATCH_TOKENS = {"cpu": 2_048, "cuda": 16_384}
"""Tokens in a pass: enough that its calls weigh little, few enough for a core's caches; a GPU has more of both."""
OPENED_AT_ONCE = 16
"""Items that are open before it is known whether they still fit into the batch."""
ADAPTER_BATCH = 64
MOST_THREADS = 16


@dataclass(frozen=True)
class Problem:
    """What is wrong with a record: what was left out of it, and a line that begins "product 'id'" or "query 'id'"."""

    dropped: Literal["row", "image"]
    message: str


@dataclass
class Embedded:
    """The vectors of n records.

    Attributes:
        vectors: view → [n, D] float32 of unit length; a row of NaN lacks the view.
        problems: by the number of a record.
    """

    vectors: dict[View, np.ndarray]
    problems: dict[int, Problem] = field(default_factory=dict)


def deciding_images(
    encoder: VectorEncoder, record: Record, views: Sequence[View], per_image: bool = False
) -> Sequence[ImageSource]:
    """The images that decide a record's vectors. Of an encoder that takes none it is the first: an index shows it."""
    if isinstance(record, Product) and per_image:
        return record.images
    if tuple(views) == ("t",):
        return ()
    if isinstance(record, Query):
        return () if record.image is None else (record.image,)
    return record.images[: encoder.processor.settings.max_images if isinstance(encoder, Encoder) else 1]


class ItemEmbedder:
    """An encoder at work on many records; threads may share it.

    Args:
        encoder: any.
        workers: processes that share the cores of this machine; None where this is the only one.

    Attributes:
        dimension: D.
        threads: how many should call it at once.
    """

    def __init__(self, encoder: VectorEncoder, workers: int | None = None) -> None:
        self.encoder = encoder
        own_on_cpu = isinstance(encoder, Encoder) and encoder.device.type == "cpu"
        cores = len(os.sched_getaffinity(0))
        self.threads = min(MOST_THREADS, cores) if workers is None else 1
        if workers is not None:
            torch.set_num_threads(max(1, cores // workers))
        elif own_on_cpu:
            torch.set_num_threads(1)
        self.dimension = encoder.dimension if isinstance(encoder, Encoder) else encoder.encode(["a"]).shape[1]
        self._turn: AbstractContextManager[Any] = nullcontext() if own_on_cpu else threading.Lock()

    def embed(self, records: Sequence[Record], views: Sequence[View]) -> Embedded:
        """Products or queries.

        A product that has one modality only is in view mm with all it has; a query needs both. One whose image cannot
        be read still has its text.
        """
        found = Embedded({view: np.full((len(records), self.dimension), np.nan, np.float32) for view in views})
        if isinstance(self.encoder, Encoder):
            self._by_tokens(self.encoder, records, tuple(views), found)
        else:
            self._by_batches(records, found)
        for row, record in enumerate(records):
            incomplete = row in found.problems or not _has_image(record)
            if "mm" in views and isinstance(record, Query) and (incomplete or not record.text.strip()):
                found.vectors["mm"][row] = np.nan
        return found

    def embed_images(self, products: Sequence[Product]) -> tuple[list[tuple[int, int]], Embedded]:
        """Each image of each product alone: (product, image) by number, and view i of those; problems by product.

        There are none where the encoder takes no images.
        """
        taken = products if _takes_images(self.encoder) else ()
        places = [(row, image) for row, product in enumerate(taken) for image in range(len(product.images))]
        alone = [Product(products[row].id, images=(products[row].images[image],)) for row, image in places]
        found = self.embed(alone, ("i",))
        problems: dict[int, Problem] = {}
        for place, problem in found.problems.items():
            row, image = places[place]
            # Opened alone, every image is called the first.
            named = problem.message.replace(": image 1", f": image {image + 1}", 1)
            problems.setdefault(row, Problem("image", named))
        return places, Embedded(found.vectors, problems)

    def _by_tokens(self, encoder: Encoder, records: Sequence[Record], views: tuple[View, ...], found: Embedded) -> None:
        """Batches of so many tokens, like lengths together; images are open only for the batch that comes next."""
        processor, limit = encoder.processor, BATCH_TOKENS.get(encoder.device.type, BATCH_TOKENS["cuda"])
        rows_of = {"joint": encoder.model.joint_rows(views), "text": encoder.model.text_rows(views)}
        waiting: list[tuple[int, ReadItem]] = []
        tokens = 0

        def compute() -> None:
            nonlocal tokens
            batch = processor.pack([item for _, item in waiting], **rows_of)
            with self._turn:
                vectors = encoder.embed_batch(batch.to(encoder.device), views)
            for view, matrix in vectors.items():
                found.vectors[view][[row for row, _ in waiting]] = matrix
            waiting.clear()
            tokens = 0

        order = sorted(range(len(records)), key=lambda row: item_length(records[row], processor.settings))
        for start in range(0, len(order), OPENED_AT_ONCE):
            opened = []
            for row in order[start : start + OPENED_AT_ONCE]:
                item = _without_fault(lambda record: processor.item(record, views=views), records[row], row, found)
                if item is not None and (item.text or item.images):
                    opened.append((row, item))
            read = processor.read([item for _, item in opened], images=views != ("t",))
            for (row, _), read_item in zip(opened, read, strict=True):
                length = processor.tokens(read_item, **rows_of)
                if waiting and tokens + length > limit:
                    compute()
                waiting.append((row, read_item))
                tokens += length
        if waiting:
            compute()

    def _by_batches(self, records: Sequence[Record], found: Embedded) -> None:
        views = tuple(found.vectors)
        opened = [
            (row, _without_fault(lambda record: self._opened(record, views), record, row, found))
            for row, record in enumerate(records)
        ]
        rows = [row for row, record in opened if record is not None]
        products = [record for _, record in opened if isinstance(record, Product)]
        queries = [record for _, record in opened if isinstance(record, Query)]
        with self._turn:
            vectors = product_vectors(self.encoder, products, ADAPTER_BATCH) if products else {}
            vectors |= query_vectors(self.encoder, queries, ADAPTER_BATCH) if queries else {}
        for view in views:
            if view in vectors:
                found.vectors[view][rows] = vectors[view]

    def _opened(self, record: Record, views: tuple[View, ...]) -> Record | None:
        """With the images open that are read; None where the record lacks the views.

        Raises:
            ItemError: it has only an image for them, and the encoder takes none.
            ImageError: an image cannot be read.
        """
        where = f"{'product' if isinstance(record, Product) else 'query'} {record.id!r}"
        size = self.encoder.reading_size if isinstance(self.encoder, EncoderAdapter) else None
        takes_images = _takes_images(self.encoder)
        read = deciding_images(self.encoder, record, views) if takes_images else ()
        images = [open_image(image, f"{where}: image 1", size) for image in read]
        if not images and (views == ("i",) or not text_read(self.encoder, record).strip()):
            if _has_image(record) and not takes_images:
                raise ItemError(
                    f"{where}: only its image could be embedded, and the model takes text alone; use one of images too"
                )
            return None
        if not takes_images:
            return record  # a query is in view mm if it has an image, read or not
        if isinstance(record, Product):
            return replace(record, images=tuple(images))
        return replace(record, image=images[0] if images else None)


def _takes_images(encoder: VectorEncoder) -> bool:
    return not isinstance(encoder, EncoderAdapter) or encoder.takes_images


def _has_image(record: Record) -> bool:
    return bool(record.images) if isinstance(record, Product) else record.image is not None


def _without_fault(
    open_record: Callable[[Record], Opened | None], record: Record, row: int, found: Embedded
) -> Opened | None:
    """The record as `open_record` opens it; without its images where one cannot be read; None where nothing is left."""
    try:
        return open_record(record)
    except ImageError as error:
        found.problems[row] = Problem("image", str(error))
    except UserError as error:
        found.problems[row] = Problem("row", str(error))
        return None
    try:
        return open_record(replace(record, images=()) if isinstance(record, Product) else replace(record, image=None))
    except UserError:  # there is no text either
        found.problems[row] = replace(found.problems[row], dropped="row")
        return None
