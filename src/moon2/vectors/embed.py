"""A catalog and its queries as tables of vectors: every product's views and every query's, each where it exists.

Records are read and embedded chunk by chunk, so that the images of a large catalog are never all in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from moon2.catalog.store import Catalog
from moon2.encoders.protocol import VectorEncoder
from moon2.records import Product, Query
from moon2.vectors.label_tasks import CLASS, attribute_task
from moon2.vectors.table import VectorTable
from moon2.views import VIEWS, View

Item = TypeVar("Item")
CHUNK = 16
"""Batches that are read ahead: an encoder that sorts by length has something to sort, and memory stays small."""


@dataclass(frozen=True)
class Vectors:
    """The vectors of one view.

    Attributes:
        rows: [n] int64, ascending: which of the products or queries have the view.
        matrix: [n, D] float32 of unit length.
    """

    rows: np.ndarray
    matrix: np.ndarray


NO_VECTORS = Vectors(np.zeros(0, np.int64), np.zeros((0, 1), np.float32))


def embed_products(
    encoder: VectorEncoder,
    catalog: Catalog,
    ids: Sequence[str],
    batch_size: int,
    bar: tqdm[object],
    attributes: Sequence[str] = (),
) -> tuple[dict[View, Vectors], dict[str, list[str | None]]]:
    """The vectors of these products by view, and their labels.

    A product that has one modality only is in view mm with all it has. One whose image cannot be read still has its
    text.

    Args:
        encoder: makes the vectors.
        catalog: holds the products.
        ids: of the products, in the order of the rows.
        batch_size: items the encoder works on at a time.
        bar: is moved on by one a product.
        attributes: whose values are read too.

    Returns:
        The vectors, and by task (`CLASS` and each `attribute_task`) every product's label, None where it has none.
    """
    tables = _Tables(len(ids))
    attribute_of = {attribute_task(name): name for name in attributes}
    labels: dict[str, list[str | None]] = {CLASS: [], **{task: [] for task in attribute_of}}
    same: dict[str, str] = {}  # few labels, many products: one string object for each label
    for start, chunk in _chunks((catalog.product(id) for id in ids), CHUNK * batch_size):
        for product in chunk:
            values = {task: product.attributes.get(name) for task, name in attribute_of.items()}
            values[CLASS] = product.category[-1] if product.category else None
            for task, label in values.items():
                labels[task].append(same.setdefault(label, label) if label else None)
        rows = range(start, start + len(chunk))
        for view, matrix in product_vectors(encoder, chunk, batch_size).items():
            tables.put(view, rows, matrix)
        bar.update(len(chunk))
    return tables.finish(), labels


def embed_queries(
    encoder: VectorEncoder, catalog: Catalog, queries: Sequence[Query], batch_size: int, bar: tqdm[object]
) -> dict[View, Vectors]:
    """The vectors of these queries by view; mm takes queries with both text and an image. See `embed_products`."""
    tables = _Tables(len(queries))
    complete = (catalog.with_image(query) for query in queries)
    for start, chunk in _chunks(complete, CHUNK * batch_size):
        rows = range(start, start + len(chunk))
        for view, matrix in query_vectors(encoder, chunk, batch_size).items():
            tables.put(view, rows, matrix)
        bar.update(len(chunk))
    return tables.finish()


def product_vectors(encoder: VectorEncoder, products: Sequence[Product], batch_size: int) -> dict[View, np.ndarray]:
    """The views that at least one of these products has, each [n, D] float32; a row of NaN lacks it.

    A product that has one modality only is in view mm with all it has. One whose image cannot be read still has its
    text.
    """
    vectors: dict[View, np.ndarray] = {}
    both: list[int] = []
    text_only: list[int] = []
    images_only: list[int] = []
    for row, product in enumerate(products):
        group = images_only if not encoder.product_text(product) else both if product.images else text_only
        group.append(row)
    if both:
        of_both = encoder.encode_views([products[row] for row in both], batch_size=batch_size, skip_bad=True)
        for view in VIEWS:
            _put(vectors, view, both, of_both[view], len(products))
        text_only += [both[index] for index in np.flatnonzero(np.isnan(of_both["mm"]).all(axis=1))]
    groups: dict[View, list[int]] = {"t": text_only, "i": images_only}
    for view, group in groups.items():
        if group:
            matrix = encoder.encode([products[row] for row in group], view=view, batch_size=batch_size, skip_bad=True)
            _put(vectors, view, group, matrix, len(products))
            _put(vectors, "mm", group, matrix, len(products))
    return vectors


def query_vectors(encoder: VectorEncoder, queries: Sequence[Query], batch_size: int) -> dict[View, np.ndarray]:
    """The same of queries; mm takes those with both text and an image."""
    vectors: dict[View, np.ndarray] = {}
    groups: dict[View, list[int]] = {
        "t": [row for row, query in enumerate(queries) if query.text.strip()],
        "i": [row for row, query in enumerate(queries) if query.image is not None],
    }
    groups["mm"] = [row for row in groups["t"] if queries[row].image is not None]
    for view, group in groups.items():
        if group:
            matrix = encoder.encode([queries[row] for row in group], view=view, batch_size=batch_size, skip_bad=True)
            _put(vectors, view, group, matrix, len(queries))
    return vectors


def _put(vectors: dict[View, np.ndarray], view: View, rows: list[int], matrix: np.ndarray, count: int) -> None:
    if view not in vectors:
        vectors[view] = np.full((count, matrix.shape[1]), np.nan, np.float32)
    vectors[view][rows] = matrix


def text_read(encoder: VectorEncoder, record: Product | Query) -> str:
    """The text of a record as an encoder reads it, not yet cut."""
    return encoder.product_text(record) if isinstance(record, Product) else record.text


def embed_whole(
    encoder: VectorEncoder, items: Iterable[Product | Query], count: int, batch_size: int, bar: tqdm[object]
) -> Vectors:
    """The vectors of `count` products or queries by all that each has; rows of those that cannot be embedded lack.

    One whose image cannot be read still has its text.
    """
    tables = _Tables(count)
    for start, chunk in _chunks(items, CHUNK * batch_size):
        rows = range(start, start + len(chunk))
        matrix = encoder.encode(chunk, batch_size=batch_size, skip_bad=True)
        lacking = np.flatnonzero(np.isnan(matrix).all(axis=1))
        with_text = [row for row in lacking if text_read(encoder, chunk[row]).strip()]
        if with_text:
            texts = [chunk[row] for row in with_text]
            matrix[with_text] = encoder.encode(texts, view="t", batch_size=batch_size, skip_bad=True)
        tables.put("mm", rows, matrix)
        bar.update(len(chunk))
    return tables.finish().get("mm", NO_VECTORS)


class _Tables:
    """A table for each view, filled chunk by chunk; rows of NaN, from unreadable items, are left out."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._tables: dict[View, VectorTable] = {}

    def put(self, view: View, rows: Sequence[int], matrix: np.ndarray) -> None:
        if view not in self._tables:
            self._tables[view] = VectorTable(self._rows, matrix.shape[1])
        self._tables[view].put(rows, matrix)

    def finish(self) -> dict[View, Vectors]:
        return {view: Vectors(*table.finish()) for view, table in self._tables.items()}


def _chunks(items: Iterable[Item], size: int) -> Iterator[tuple[int, list[Item]]]:
    """(number of its first item, items) of consecutive chunks."""
    iterator, start = iter(items), 0
    while chunk := list(islice(iterator, size)):
        yield start, chunk
        start += len(chunk)
