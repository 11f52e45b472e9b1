"""Writing products into an index: what is there already is left alone, and the encoder embeds only what it must."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from moon2.catalog.schema import pairs_to_dict
from moon2.encoders.protocol import VectorEncoder
from moon2.records import Product
from moon2.search.info import IndexInfo
from moon2.search.product_table import MERGE_PRODUCTS, ProductTable
from moon2.search.rows import EmbeddedProduct, RowMaker
from moon2.search.table_schema import SHOWN, WHOLE
from moon2.vectors.item_embedder import Embedded, ItemEmbedder, deciding_images
from moon2.vectors.known_rows import row_key
from moon2.vectors.lexical import searched_words
from moon2.vectors.product_texts import product_text
from moon2.vectors.quantize import dequantize, quantize
from moon2.vectors.table import shortened_rows


@dataclass
class Changes:
    """What a change of an index did.

    Attributes:
        written: products written.
        unchanged: products that were there already with the same content.
        deleted: products deleted.
        refused: products that could not be embedded.
        problems: id → what is wrong with a product, or with an image that was left out.
        unindexed: rows that wait for `optimize`; a search finds them by a scan.
    """

    written: int = 0
    unchanged: int = 0
    deleted: int = 0
    refused: int = 0
    problems: dict[str, str] = field(default_factory=dict)
    unindexed: int = 0


class ProductWriter:
    """Writes products into the table of an index.

    Args:
        table: of the index.
        info: of the index.
        items: the encoder that the index was made with, at work.
        known_words: all words of all products, by which compounds are taken apart.

    Attributes:
        written_words: those of the products that it wrote.
    """

    def __init__(self, table: ProductTable, info: IndexInfo, items: ItemEmbedder, known_words: Collection[str]) -> None:
        self._table, self._info, self._items, self._known_words = table, info, items, known_words
        self.written_words: set[str] = set()
        self._maker = RowMaker(info.dimension, info.attributes, info.thumbnails)

    def upsert(self, products: Iterable[Product], progress: Callable[[int], object]) -> Changes:
        """See `Index.upsert`."""
        changes = Changes()
        iterator, position = iter(products), self._table.last_position() + 1
        while chunk := list(islice(iterator, MERGE_PRODUCTS)):
            latest = {product.id: product for product in chunk}
            there = self._table.fetch(list(latest), ["position", "key", *SHOWN])
            keys = {id: key_of(product, self._info, self._items.encoder) for id, product in latest.items()}
            known = {id for id, row in there.items() if row["key"] == keys[id]}
            unchanged = {id for id in known if _says_the_same(latest[id], there[id])}
            changes.unchanged += len(unchanged)
            vectors = self._table.all_vectors(sorted(known - unchanged))
            new = [product for id, product in latest.items() if id not in known]
            vectors.update(self._embed(new, changes))
            changes.refused += sum(product.id not in vectors for product in new)
            fresh = []
            for id in vectors:
                at = there[id]["position"] if id in there else position
                position += id not in there
                fresh.append(EmbeddedProduct(latest[id], keys[id], at, vectors[id]))
            if fresh:
                texts = (product_text(embedded.product, self._info.text) for embedded in fresh)
                words = [searched_words(text, self._known_words) for text in texts]
                self._table.upsert(self._maker.rows(fresh, words))
                self.written_words.update(*words)
                changes.written += len(fresh)
            progress(len(chunk))
        changes.unindexed = self._table.unindexed_rows()
        return changes

    def _embed(self, products: Sequence[Product], changes: Changes) -> dict[str, dict[int, np.ndarray]]:
        """Id → number of the image, or -1 for the whole → vector, of the products that can be embedded."""
        parts = [products[start :: self._items.threads] for start in range(self._items.threads)]
        vectors: dict[str, dict[int, np.ndarray]] = {}
        with ThreadPoolExecutor(self._items.threads) as pool:
            for part, (whole, images) in zip(parts, pool.map(self._embed_part, parts), strict=True):
                changes.problems |= {part[row].id: problem.message for row, problem in whole.problems.items()}
                for row, product in enumerate(part):
                    vector = whole.vectors["mm"][row]
                    if np.isfinite(vector).all():
                        vectors[product.id] = {WHOLE: self._as_stored(vector)}
                for (row, image), vector in images.items():
                    if part[row].id in vectors and np.isfinite(vector).all():
                        vectors[part[row].id][image] = self._as_stored(vector)
        return vectors

    def _as_stored(self, vector: np.ndarray) -> np.ndarray:
        """Cut and rounded as the vectors are that the index was made of, so that they compare alike."""
        dimension, storage = self._info.dimension, self._info.storage
        short = shortened_rows(vector[None], dimension)
        return dequantize(quantize(short, storage), storage, dimension)[0]

    def _embed_part(self, products: Sequence[Product]) -> tuple[Embedded, dict[tuple[int, int], np.ndarray]]:
        """The products as a whole and, if the index has such, each image: (product, image) by number → vector."""
        whole = self._items.embed(products, ("mm",))
        if not self._info.per_image:
            return whole, {}
        places, alone = self._items.embed_images(products)
        return whole, dict(zip(places, alone.vectors["i"], strict=True))


def key_of(product: Product, info: IndexInfo, encoder: VectorEncoder) -> str:
    """As `moon2 embed` makes it: of the text and the images that decide the vectors."""
    images = deciding_images(encoder, product, ("mm",), info.per_image)
    return row_key(info.made_by, encoder.product_text(product), images)


def _says_the_same(product: Product, row: Mapping[str, Any]) -> bool:
    """Whether a row holds all that a hit says of a product, and as many images."""
    says = (product.title, product.description, list(product.category), product.price, len(product.images))
    columns = (row[name] for name in ("title", "description", "category_path", "price", "images"))
    return says == tuple(columns) and dict(product.attributes) == pairs_to_dict(row["attributes"])
