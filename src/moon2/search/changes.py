"""Changes of an index: products written, deleted, and taken into its indexes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from moon2.catalog.schema import pairs_to_dict
from moon2.records import Product
from moon2.search.index import SHOWN, Changes, Index
from moon2.search.product_table import EXACT_BELOW, MERGE_ROWS, WHOLE
from moon2.search.recall import QUERIES, choose_probes
from moon2.search.rows import Embedded, RowMaker
from moon2.vectors.item_embedder import Embedded as EmbeddedRows
from moon2.vectors.known_rows import row_key
from moon2.vectors.lexical import searched_words
from moon2.vectors.product_texts import product_text


def upsert(index: Index, products: Iterable[Product], progress: Callable[[int], object]) -> Changes:
    """See `Index.upsert`."""
    changes = Changes()
    maker = RowMaker(index.info.dimension, index.info.attributes, index.info.thumbnails)
    iterator, position = iter(products), index.table.last_position() + 1
    known_words = index.known_words()
    while chunk := list(islice(iterator, MERGE_ROWS // index.info.rows_of_a_product)):
        latest = {product.id: product for product in chunk}
        there = index.table.fetch(list(latest), ["position", "key", *SHOWN])
        keys = {id: _key(index, product) for id, product in latest.items()}
        known = {id for id, row in there.items() if row["key"] == keys[id]}
        unchanged = {id for id in known if _says_the_same(latest[id], there[id])}
        changes.unchanged += len(unchanged)
        vectors = index.table.all_vectors(sorted(known - unchanged))
        new = [product for id, product in latest.items() if id not in known]
        vectors.update(_embed(index, new, changes))
        changes.refused += sum(product.id not in vectors for product in new)
        fresh = []
        for id in vectors:
            at = there[id]["position"] if id in there else position
            position += id not in there
            fresh.append(Embedded(latest[id], keys[id], at, vectors[id]))
        if fresh:
            texts = (product_text(embedded.product, index.info.text) for embedded in fresh)
            index.table.upsert(maker.rows(fresh, [searched_words(text, known_words) for text in texts]))
            changes.written += len(fresh)
        progress(len(chunk))
    changes.unindexed = index.table.unindexed_rows()
    return changes


def delete(index: Index, ids: Collection[str]) -> Changes:
    """See `Index.delete`."""
    there = index.table.fetch(list(ids), ["id"])
    missing = {id: "there is no such product" for id in ids if id not in there}
    if there:
        index.table.delete(list(there))
    return Changes(deleted=len(there), problems=missing, unindexed=index.table.unindexed_rows())


def optimize(index: Index) -> Changes:
    """See `Index.optimize`."""
    table, info = index.table, index.info
    if not table.is_approximate() and table.rows() >= EXACT_BELOW:
        table.build_approximate()
    table.optimize()
    if table.is_approximate():
        probes, recall = choose_probes(table, table.sample_vectors(QUERIES))
        info = replace(info, probes=probes, recall=recall)
    index.info = info
    info.write(index.place)
    return Changes(unindexed=table.unindexed_rows())


def _embed(index: Index, products: Sequence[Product], changes: Changes) -> dict[str, dict[int, np.ndarray]]:
    """Id → number of the image, or -1 for the whole → vector, of the products that can be embedded."""
    items = index.items
    parts = [products[start :: items.threads] for start in range(items.threads)]
    vectors: dict[str, dict[int, np.ndarray]] = {}
    with ThreadPoolExecutor(items.threads) as pool:
        for part, (whole, places, alone) in zip(parts, pool.map(partial(_embed_part, index), parts), strict=True):
            for row, product in enumerate(part):
                if row in whole.problems:
                    changes.problems[product.id] = whole.problems[row].message
                vector = _cut(whole.vectors["mm"][row], index.info.dimension)
                if np.isfinite(vector).all():
                    vectors[product.id] = {WHOLE: vector}
            for (row, image), vector in zip(places, alone, strict=True):
                if part[row].id in vectors and np.isfinite(vector).all():
                    vectors[part[row].id][image] = _cut(vector, index.info.dimension)
    return vectors


def _embed_part(
    index: Index, products: Sequence[Product]
) -> tuple[EmbeddedRows, Sequence[tuple[int, int]], np.ndarray | Sequence[np.ndarray]]:
    whole = index.items.embed(products, ("mm",))
    if not index.info.per_image:
        return whole, [], []
    places, alone = index.items.embed_images(products)
    return whole, places, alone.vectors["i"]


def _says_the_same(product: Product, row: Mapping[str, Any]) -> bool:
    """Whether a row holds all that a hit says of a product."""
    says = (product.title, product.description, list(product.category), product.price, dict(product.attributes))
    attributes = pairs_to_dict(row["attributes"])
    return says == (row["title"], row["description"], row["category_path"], row["price"], attributes)


def _key(index: Index, product: Product) -> str:
    """As `moon2 embed` makes it."""
    images = product.images if index.info.per_image else index.items.images_read(product, ("mm",))
    return row_key(index.info.made_by, index.items.text_read(product), images)


def _cut(vector: np.ndarray, dimension: int) -> np.ndarray:
    short = vector[:dimension]
    return short / max(float(np.linalg.norm(short)), 1e-12)
