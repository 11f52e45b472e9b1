"""The vectors that the benchmark compares: every product's views, every query's forms, each only where it exists.

Catalogs are read and encoded chunk by chunk, so that the pictures of a large one are never all in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol, TypeVar

import numpy as np
from tqdm import tqdm

from moon2.catalog.store import Catalog
from moon2.evaluate.result import VIEWS
from moon2.records import Product, Query
from moon2.vectors.table import VectorTable

Item = TypeVar("Item")
Views = dict[str, tuple[np.ndarray, np.ndarray]]
"""View → (numbers of the items that have it, ascending, (items,) int64; their vectors, (items, dimension) float32)."""

CHUNK = 16
"""Batches that are read ahead: an encoder that sorts by length has something to sort, and memory stays small."""


class VectorEncoder(Protocol):
    """What the benchmark asks of an encoder; `moon2.Encoder` is one."""

    def encode(
        self, items: Sequence[Any], *, view: str | None = None, batch_size: int = 64, skip_bad: bool = False
    ) -> np.ndarray:
        """(items, dimension) float32 vectors of unit length, in order; with `skip_bad`, NaN for a broken item."""

    def encode_views(
        self, products: Sequence[Product], *, batch_size: int = 64, skip_bad: bool = False
    ) -> dict[str, np.ndarray]:
        """The same for the views "t", "i" and "mm" of products that have both text and pictures."""


def encode_gallery(
    encoder: VectorEncoder,
    catalog: Catalog,
    ids: Sequence[str],
    batch_size: int,
    bar: tqdm[Any],
    attributes: Sequence[str] = (),
) -> tuple[Views, dict[str, list[str | None]]]:
    """The gallery's views; and by "class" and each of these attributes, every product's label, None where it has none.

    The class is the leaf of the category.
    """
    parts = _Parts(len(ids))
    labels: dict[str, list[str | None]] = {"class": [], **{name: [] for name in attributes}}
    same: dict[str, str] = {}  # few labels, many products: one object for each label
    products = (catalog.product(id) for id in ids)
    for start, chunk in _chunks(products, CHUNK * batch_size):
        for product in chunk:
            values = {"class": product.category[-1] if product.category else None}
            values |= {name: product.attributes.get(name) or None for name in attributes}
            for name, label in values.items():
                labels[name].append(None if label is None else same.setdefault(label, label))
        both: list[tuple[int, Product]] = []
        text_only: list[tuple[int, Product]] = []
        images_only: list[tuple[int, Product]] = []
        for number, product in enumerate(chunk, start):
            where = images_only if not product.title.strip() else both if product.images else text_only
            where.append((number, product))
        if both:
            vectors = encoder.encode_views([product for _, product in both], batch_size=batch_size, skip_bad=True)
            for view in VIEWS:
                parts.put(view, [number for number, _ in both], vectors[view])
            # One whose picture cannot be read still has its words.
            text_only += [both[row] for row in np.flatnonzero(np.isnan(vectors["mm"]).all(axis=1))]
        # A product that has one form only stands in the mm gallery with all it has.
        for view, some in (("t", text_only), ("i", images_only)):
            if some:
                records = [product for _, product in some]
                only = encoder.encode(records, view=view, batch_size=batch_size, skip_bad=True)
                parts.put(view, [number for number, _ in some], only)
                parts.put("mm", [number for number, _ in some], only)
        bar.update(len(chunk))
    return parts.finish(), labels


def encode_queries(
    encoder: VectorEncoder, catalog: Catalog, queries: Sequence[Query], batch_size: int, bar: tqdm[Any]
) -> Views:
    """The queries in the forms that each of them has; form mm takes both words and a picture."""
    parts = _Parts(len(queries))
    complete = (catalog.with_image(query) for query in queries)
    for start, chunk in _chunks(complete, CHUNK * batch_size):
        numbered = list(enumerate(chunk, start))
        having = {
            "t": [(number, query) for number, query in numbered if query.text.strip()],
            "i": [(number, query) for number, query in numbered if query.image is not None],
        }
        having["mm"] = [(number, query) for number, query in having["t"] if query.image is not None]
        for view, some in having.items():
            if some:
                records = [query for _, query in some]
                vectors = encoder.encode(records, view=view, batch_size=batch_size, skip_bad=True)
                parts.put(view, [number for number, _ in some], vectors)
        bar.update(len(chunk))
    return parts.finish()


class _Parts:
    """Vectors of several views as they come in, chunk by chunk; rows of NaN, from unreadable items, are dropped."""

    def __init__(self, items: int) -> None:
        self._items = items
        self._tables: dict[str, VectorTable] = {}

    def put(self, view: str, numbers: Sequence[int], vectors: np.ndarray) -> None:
        if view not in self._tables:
            self._tables[view] = VectorTable(self._items, vectors.shape[1])
        self._tables[view].put(numbers, vectors)

    def finish(self) -> Views:
        return {view: table.finish() for view, table in self._tables.items()}


def _chunks(items: Iterable[Item], size: int) -> Iterator[tuple[int, list[Item]]]:
    """(number of its first item, items) of consecutive chunks."""
    iterator, start = iter(items), 0
    while chunk := list(islice(iterator, size)):
        yield start, chunk
        start += len(chunk)
