"""Which column of a table means what: from the tables of any shop to the fields of the records.

A mapping names columns. The columns that it does not name are found by their usual names (`sku`, `productDisplayName`,
`image_path` …). A named column that does not exist is an error, which lists the columns of the table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moon2.catalog.schema import CatalogError

# Without case, spaces and punctuation; the first that the table has is taken.
USUAL_NAMES = {
    "id": "id productid sku itemid asin articleid goodsid uid",
    "title": "title name productdisplayname producttitle productname itemname itemtitle doctitle",
    "description": "description productdescription longdescription desc body",
    "category": "category categories categorypath productcategory googleproductcategory producttype taxonomy",
    "images": "image images imagepath imagepaths imageurl imageurls imagelink img photo photos picture docimage",
    "price": "price saleprice finalprice amount",
    "split": "split",
}
USUAL_CATEGORY_COLUMNS = (("mastercategory", "subcategory", "articletype"), ("category1", "category2", "category3"))
USUAL_ATTRIBUTES = (
    "attributes specifications brand colour color basecolour basecolor gender material fabric pattern size season "
    "style usage agegroup"
)


@dataclass(frozen=True)
class ColumnMapping:
    """Which column of a product table means what; None: found by its usual name, "": there is none."""

    id: str | None = None
    """Unique product id."""
    title: str | None = None
    """The shop's title."""
    description: str | None = None
    """Longer text."""
    category: str | Sequence[str] | None = None
    """One column with a path or a list, or several columns from root to leaf."""
    category_separator: str = ">"
    """Separator of the path, if the category is one column of text."""
    attributes: str | Sequence[str] | None = None
    """Columns: JSON objects and key-value pairs give all their keys, other columns their name and value; "rest" takes
    every column with no other meaning."""
    images: str | Sequence[str] | None = None
    """Columns of paths, URLs, bytes, {bytes, path}, or lists of those (as text: JSON, or separated by `|` `;`)."""
    image_root: str | Path | None = None
    """Folder of relative image paths; the folder of the table when not given."""
    price: str | None = None
    """A number, with or without a currency sign."""
    split: str | None = None
    """train or test (dev, val and validation count as test); all is train when there is no such column."""

    def resolve(self, columns: Sequence[str], where: str) -> ColumnMapping:
        """The mapping with every field set: open ones by the usual names, or "" or () if no column fits.

        Raises:
            CatalogError: a named column is missing, or no column is the id, or none is the title or the image.
        """
        usual = UsualNames(columns)
        fields = usual.fill(self, USUAL_NAMES)
        if self.category is None:
            several = (usual.find_all(names) for names in USUAL_CATEGORY_COLUMNS)
            fields["category"] = next(filter(None, several), fields["category"])
        fields["category"], fields["images"] = _as_tuple(fields["category"]), _as_tuple(fields["images"])
        fields["attributes"] = _as_tuple(self.attributes)
        taken = {fields[name] for name in ("id", "title", "description", "price", "split")}
        taken.update(fields["category"], fields["images"])
        if self.attributes is None:
            attributes = map(usual.find, USUAL_ATTRIBUTES.split())
            fields["attributes"] = tuple(dict.fromkeys(name for name in attributes if name and name not in taken))
        elif fields["attributes"] == ("rest",) and "rest" not in columns:
            fields["attributes"] = ("rest", *(name for name in columns if name not in taken))
        check_columns(fields, columns, where)
        if not fields["id"]:
            raise CatalogError(f"{where}: which column is the id? Name it with --columns.id; {name_columns(columns)}")
        if not fields["title"] and not fields["images"]:
            raise CatalogError(f"{where}: which column is the title or the image? Name one; {name_columns(columns)}")
        return replace(self, **fields)


USUAL_COLUMNS = ColumnMapping()
"""Every column by its usual name."""


class UsualNames:
    """Finds columns by their usual names."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.by_name = {plain_name(column): column for column in reversed(columns)}

    def fill(self, mapping: object, names: Mapping[str, str]) -> dict[str, Any]:
        """Field → column, by its usual names where the mapping leaves it open."""
        given = {field: getattr(mapping, field) for field in names}
        return {field: self.find(names[field]) if column is None else column for field, column in given.items()}

    def find(self, names: str) -> str:
        return next((self.by_name[name] for name in names.split() if name in self.by_name), "")

    def find_all(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(self.by_name[name] for name in names) if all(name in self.by_name for name in names) else ()


def plain_name(column: str) -> str:
    return re.sub(r"[\W_]", "", column.casefold())


def _as_tuple(names: str | Sequence[str] | None) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) and names else tuple(names or ())


def name_columns(columns: Sequence[str]) -> str:
    return f"its columns are {', '.join(columns)}"


def check_columns(fields: Mapping[str, Any], columns: Sequence[str], where: str) -> None:
    for field, names in fields.items():
        for name in (names,) if isinstance(names, str) else names:
            if name and name not in columns and not (field == "attributes" and name == "rest"):
                raise CatalogError(f"{where}: has no column {name!r}, named as {field}; {name_columns(columns)}")
