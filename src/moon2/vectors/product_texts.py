"""Which text of a product keyword search reads."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Literal

from moon2.catalog.schema import pairs_to_dict
from moon2.catalog.store import Catalog
from moon2.records import Product
from moon2.vectors.lexical import ProductText

TextFields = Literal["title", "all"]
"""The title alone, or all text fields: title, category, values of attributes (a brand is one), description."""
COLUMNS = ("id", "title", "description", "category", "attributes")


def product_texts(catalog: Catalog, fields: TextFields, ids: Collection[str] | None = None) -> Iterator[ProductText]:
    """The texts of these products, all when not given, in the order in which the catalog stores them."""
    wanted = None if ids is None else set(ids)
    for row in catalog.rows(None, COLUMNS):
        if wanted is None or row["id"] in wanted:
            title = row["title"] or ""
            parts = (*(row["category"] or ()), *pairs_to_dict(row["attributes"]).values(), row["description"])
            yield ProductText(row["id"], title, title if fields == "title" else _joined(title, *parts))


def product_text(product: Product, fields: TextFields) -> str:
    """The text of one product."""
    if fields == "title":
        return product.title
    return _joined(product.title, *product.category, *product.attributes.values(), product.description)


def _joined(*parts: str | None) -> str:
    return "\n".join(filter(None, parts))
