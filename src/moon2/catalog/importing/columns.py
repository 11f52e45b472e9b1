"""Which column of a table means what: from the tables of any shop to the fields of the records.

A mapping names columns. The columns that it does not name are found by their usual names (`sku`, `Bezeichnung`,
`image_path` …, see `usual_names.yaml`). A named column that does not exist is an error, which lists the columns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import yaml

from moon2.catalog.importing.usual_names import UsualNames, usual_names
from moon2.catalog.schema import CatalogError
from moon2.meant import did_you_mean

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Mapping = TypeVar("_Mapping", bound="DataclassInstance")
FIELDS = ("id", "title", "description", "category", "images", "price", "split")
_OF_SEVERAL = ("title", "category", "images", "attributes")
USUAL_CATEGORY_COLUMNS = (
    ("mastercategory", "subcategory", "articletype"),
    ("category1", "category2", "category3"),
    ("maincategory", "subcategory"),
    ("category", "subcategory"),
    ("kategorie", "unterkategorie"),
    ("categorie", "souscategorie"),
    ("categoria", "subcategoria"),
    ("departamento", "subcategoria"),
)
# "attribute:colour" is an attribute, whatever colour is called.
ATTRIBUTE_PREFIX = re.compile(r"(?:attributes?|attr|specs?)\s*[:.]\s*(?=\S)", re.IGNORECASE)


@dataclass(frozen=True)
class ColumnMapping:
    """Which column of a product table means what; not given: found by its usual name, "": there is none."""

    id: str | None = None
    """Unique product id; "" numbers the rows."""
    title: str | Sequence[str] | None = None
    """The shop's title; several columns, such as `[brand, name]`, are joined without what is empty or said twice."""
    description: str | None = None
    """Longer text."""
    category: str | Sequence[str] | None = None
    """One column with a path or a list, or several columns from root to leaf; of several paths, the first is kept."""
    category_separator: str | None = None
    """Separator of the path, if the category is one column; "" splits nothing. When not given, `>` `»` `→` `|` are, and
    `/` where the column's other paths show it."""
    attributes: str | Sequence[str] | None = None
    """Columns: JSON objects and key-value pairs give all their keys, other columns their name and value; "rest" takes
    every column with no other meaning."""
    images: str | Sequence[str] | None = None
    """Columns of paths, URLs, bytes, structures with one of them, or lists of those (as text: JSON, Python's, or
    separated by `|` `;`)."""
    image_root: str | Path | None = None
    """Folder of relative image paths; the folder of the row's file when not given."""
    outside_images: bool = False
    """Read relative image paths that lead out of that folder too, by `..` or by a link."""
    price: str | None = None
    """A number, with or without a currency; of a range, its lower end is taken."""
    decimal: Literal[".", ","] | None = None
    """Decimal sign of prices, which decides what 1.299 is. When not given, the column's other prices decide."""
    split: str | None = None
    """train or test (dev, val and validation count as test); all is train when there is no such column."""

    @classmethod
    def only(cls, **columns: Any) -> ColumnMapping:
        """The mapping of a table whose columns are known: a field that is not named has no column."""
        return cls(**{**dict.fromkeys((*FIELDS, "attributes"), ""), **columns})

    def resolve(self, columns: Sequence[str], where: str) -> ColumnMapping:
        """The mapping with every field set: open ones by the usual names, or "" or () if no column fits.

        Raises:
            CatalogError: a named column is missing, or no column is the id, or none is the title or the image.
        """
        usual, names = UsualNames(columns), usual_names("products")
        written: dict[str, Any] = {name: as_written(getattr(self, name), columns) for name in _OF_SEVERAL}
        given = replace(self, **written)
        fields = usual.fill(given, {field: names[field] for field in FIELDS})
        if self.category is None:
            several = (usual.find_all(plain) for plain in USUAL_CATEGORY_COLUMNS)
            fields["category"] = next(filter(None, several), fields["category"])
        if self.images is None:
            more = [*usual.find_numbered(names["images"]), *usual.find_every(names["more images"])]
            fields["images"] = tuple(dict.fromkeys(filter(None, (fields["images"], *more))))
        if not isinstance(fields["title"], str):
            fields["title"] = as_names(fields["title"])
        fields["category"], fields["images"] = as_names(fields["category"]), as_names(fields["images"])
        fields["attributes"] = as_names(given.attributes)
        taken = {name for field in FIELDS if field != "title" for name in as_names(fields[field])}
        # The brand may be a part of the title and an attribute too.
        taken.update(as_names(fields["title"]) if isinstance(fields["title"], str) else ())
        if self.attributes is None:
            found = [usual.find(plain) for plain in usual_names("attributes").values()]
            found += [column for column in columns if ATTRIBUTE_PREFIX.match(column)]
            fields["attributes"] = tuple(dict.fromkeys(name for name in found if name and name not in taken))
        elif fields["attributes"] == ("rest",) and "rest" not in columns:
            fields["attributes"] = ("rest", *(name for name in columns if name not in taken))
        check_columns(fields, columns, where)
        if not fields["id"] and self.id != "":
            raise CatalogError(
                f"{where}: which column is the id? Name it with --columns.id, or number the rows with --columns.id ''; "
                f"{name_columns(columns)}"
            )
        if not fields["title"] and not fields["images"]:
            raise CatalogError(
                f"{where}: which column is the title or the image? Name it with --columns.title or --columns.images; "
                f"{name_columns(columns)}"
            )
        return replace(self, **fields)


USUAL_COLUMNS = ColumnMapping()
"""Every column by its usual name."""


def fill_mapping(given: _Mapping, defaults: _Mapping) -> _Mapping:
    """The user's mapping, of products or of a log, with the columns that it leaves open from `defaults`."""
    open_fields = [field.name for field in fields(given) if getattr(given, field.name) is None]
    return replace(given, **{name: getattr(defaults, name) for name in open_fields})


def as_written(names: str | Sequence[str] | None, columns: Sequence[str]) -> str | Sequence[str] | None:
    """The names in a list such as `[2024, no]`: it comes as one text, because to YAML these are no texts."""
    if not isinstance(names, str) or names in columns or not names.startswith("["):
        return names
    try:
        return tuple(map(str, yaml.load(names, yaml.BaseLoader)))
    except yaml.YAMLError:
        return names


def as_names(names: str | Sequence[str] | None) -> tuple[str, ...]:
    """The names of one or several columns; () where there is none."""
    return (names,) if isinstance(names, str) and names else tuple(names or ())


def name_columns(columns: Sequence[str]) -> str:
    return f"its columns are {', '.join(columns)}"


def check_columns(fields: Mapping[str, Any], columns: Sequence[str], where: str) -> None:
    """Raises a `CatalogError` where a field names a column that the table lacks."""
    for field, names in fields.items():
        for name in as_names(names):
            if name not in columns and not (field == "attributes" and name == "rest"):
                near = did_you_mean(name, columns) or ";"
                raise CatalogError(f"{where}: has no column {name!r}, named as {field}{near} {name_columns(columns)}")
