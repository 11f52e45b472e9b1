"""Which text of a product keyword search reads."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

from moon2.catalog.schema import pairs_to_dict
from moon2.catalog.store import Catalog
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
            yield ProductText(row["id"], title, title if fields == "title" else _all_text(row))


def _all_text(row: Mapping[str, Any]) -> str:
    attributes = pairs_to_dict(row["attributes"]).values()
    parts = (row["title"], *(row["category"] or ()), *attributes, row["description"])
    return "\n".join(filter(None, parts))
