"""Products and their vectors as rows of an index's table."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from moon2.catalog.schema import is_url
from moon2.images import ImageError
from moon2.records import Product
from moon2.search.table_schema import WHOLE, table_schema
from moon2.thumbnails import open_small
from moon2.vectors.words import same_text

THUMBNAIL_QUALITY = 80


class EmbeddedProduct(NamedTuple):
    """A product with its vectors.

    Attributes:
        product: with its images.
        key: of what its vectors were made from.
        position: of equal products, the lower one comes first.
        vectors: number of the image, or -1 for the whole product → [D] float32 of unit length.
    """

    product: Product
    key: str
    position: int
    vectors: Mapping[int, np.ndarray]


@dataclass(frozen=True)
class RowMaker:
    """Makes rows.

    Attributes:
        dimension: D, numbers of a vector.
        attributes: attribute → its column.
        thumbnails: longest side of a thumbnail in pixels; 0 for none.
    """

    dimension: int
    attributes: Mapping[str, str]
    thumbnails: int

    @property
    def schema(self) -> pa.Schema:
        """Of the rows."""
        return table_schema(self.dimension, self.attributes)

    def rows(self, products: Sequence[EmbeddedProduct], words: Sequence[Sequence[str]]) -> pa.Table:
        """One row for each vector; what a product says stands in the row of the whole alone.

        Args:
            products: in order.
            words: of each product, what keyword search finds it by.
        """
        rows: list[dict[str, object]] = []
        vectors: list[np.ndarray] = []
        for embedded, its_words in zip(products, words, strict=True):
            whole = self._whole(embedded, its_words)
            # A filter must find the rows of the images too.
            images = {**whole, "same_title": None, "same_id": None, "words": None, "thumbnail": None}
            for image, vector in embedded.vectors.items():
                rows.append({**(whole if image == WHOLE else images), "image": image})
                vectors.append(vector)
        flat = np.concatenate([np.zeros(0, np.float32), *vectors]).astype(np.float32)
        columns = {
            field.name: pa.array([row[field.name] for row in rows], field.type)
            for field in self.schema
            if field.name != "vector"
        }
        columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(flat), self.dimension)
        return pa.table(columns, schema=self.schema)

    def _whole(self, embedded: EmbeddedProduct, words: Sequence[str]) -> dict[str, object]:
        product = embedded.product
        columns = {column: product.attributes.get(name) for name, column in self.attributes.items()}
        return {
            "id": product.id,
            "position": embedded.position,
            "key": embedded.key,
            "title": product.title,
            "description": product.description,
            "category": product.category[-1] if product.category else None,
            "category_path": list(product.category),
            "price": product.price,
            "attributes": [{"key": name, "value": value} for name, value in product.attributes.items()],
            **columns,
            "same_title": same_text(product.title) or None,
            "same_id": same_text(product.id),
            "words": " ".join(words),
            "images": len(product.images),
            "thumbnail": self._thumbnail(product),
        }

    def _thumbnail(self, product: Product) -> bytes | None:
        """The first image that can be read, small."""
        for image in product.images if self.thumbnails else ():
            if is_url(image):
                continue
            try:
                small = open_small(image, self.thumbnails)
            except ImageError:  # embedding has listed it
                continue
            encoded = io.BytesIO()
            small.save(encoded, "JPEG", quality=THUMBNAIL_QUALITY)
            return encoded.getvalue()
        return None


def frequent_attributes(counts: Mapping[str, int], products: int) -> list[str]:
    """The attributes that get a column to filter by: those of a hundredth of the products, at most 64."""
    often = [name for name, count in counts.items() if count >= max(1, products / 100)]
    return sorted(often, key=lambda name: (-counts[name], name))[:64]
