"""The columns of an index's table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import pyarrow as pa

WHOLE = -1
"""In the column `image`: the row stands for the whole product, not for one of its images."""
HIDDEN = ("image", "position", "key", "same_title", "same_id", "words", "thumbnail", "vector")
"""Columns that mean nothing to a shopper."""
SHOWN = ("title", "description", "category_path", "price", "attributes", "images")
"""Columns that say what a hit says of its product."""


def table_schema(dimension: int, attributes: Mapping[str, str]) -> pa.Schema:
    """The Arrow columns of the table.

    Args:
        dimension: D, numbers of a vector.
        attributes: attribute of a product → name of the column that holds its value.
    """
    return pa.schema(
        [
            ("id", pa.string()),
            ("image", pa.int32()),
            ("position", pa.int64()),
            ("key", pa.string()),
            ("title", pa.string()),
            ("description", pa.string()),
            ("category", pa.string()),
            ("category_path", pa.list_(pa.string())),
            ("price", pa.float64()),
            ("attributes", pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())]))),
            *((column, pa.string()) for column in attributes.values()),
            ("same_title", pa.string()),
            ("same_id", pa.string()),
            ("words", pa.string()),
            ("images", pa.int32()),
            ("thumbnail", pa.binary()),
            ("vector", pa.list_(pa.float32(), dimension)),
        ]
    )


def attribute_columns(names: Iterable[str]) -> dict[str, str]:
    """Attribute → the column to filter by: lower case, `_` for what SQL gives a meaning; none that is taken already."""
    taken = set(table_schema(1, {}).names)
    columns: dict[str, str] = {}
    for name in names:
        column = re.sub(r"\W+", "_", name.lower()).strip("_")
        if column and column not in taken:
            columns[name] = column
            taken.add(column)
    return columns


def literal(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"
