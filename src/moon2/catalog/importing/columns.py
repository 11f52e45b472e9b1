"""Which column of a table means what: from the tables of any shop to the fields of the records.

A mapping names columns. The columns that it does not name are found by their usual names (`sku`, `productDisplayName`,
`image_path` …). A named column that does not exist is an error, which lists the columns of the table.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moon2.catalog.schema import CatalogError, is_url
from moon2.records import RecordError

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
SPLIT_NAMES = {
    **dict.fromkeys(("", "train", "training"), "train"),
    **dict.fromkeys(("test", "dev", "val", "valid", "validation", "eval", "testing"), "test"),
}
# Of the columns of `attributes="rest"`, longer values are prose and no attributes.
MAX_REST_CHARACTERS = 200


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


def read_fields(row: Mapping[str, Any], mapping: ColumnMapping) -> dict[str, Any]:
    """The fields of a `Product` from one row by a resolved mapping, except its images (see `read_images`).

    Raises:
        RecordError: reason `bad_price`.
    """

    def get(name: Any) -> Any:
        return row.get(name) if name else None

    id = to_text(get(mapping.id)).strip()
    fields = {"id": id, "title": to_text(get(mapping.title)), "description": to_text(get(mapping.description))}
    try:
        price = to_price(get(mapping.price))
    except ValueError:
        reason = f"product {id!r}: price {get(mapping.price)!r:.60} is not a number; write it like 1299.50"
        raise RecordError("bad_price", reason) from None
    return {**fields, "price": price, "category": _category(row, mapping), "attributes": _attributes(row, mapping)}


def to_text(value: Any) -> str:
    """A cell as text: None and NaN are "", a whole number has no decimals (pandas turns ids into 1163.0)."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def to_price(value: Any) -> float | None:
    """A price as a number, from 1,299.50 or 1.299,50, with or without a currency; None when the cell is empty.

    Raises:
        ValueError: it is no price.
    """
    text = to_text(value).strip()
    if not text:
        return None
    if isinstance(value, (int, float)):
        return float(value)
    # One number, with at most a currency such as "Rs." or "EUR" beside it.
    number = re.fullmatch(r"[^\d\-]{0,5}(-?\d[\d.,\s']*)[^\d]{0,5}", text)
    if number is None:
        raise ValueError(f"{text!r} is not a price")
    text = re.sub(r"[\s']", "", number[1]).rstrip(".,")
    if "," in text and "." in text:
        text = text.replace("." if text.rfind(",") > text.rfind(".") else ",", "")
    text = re.sub(r",(?=\d{3}(?:,|\.|$))", "", text).replace(",", ".")
    return float(text)


def to_split(value: Any) -> str:
    """train or test.

    Raises:
        RecordError: reason `bad_split`.
    """
    name = to_text(value).strip().casefold()
    if name not in SPLIT_NAMES:
        raise RecordError("bad_split", f"split {name!r:.60} is neither train nor test")
    return SPLIT_NAMES[name]


def to_ids(value: Any, known: Callable[[str], bool]) -> tuple[str, ...]:
    """Product ids of one cell, each once: a list, a JSON list, one id, or ids separated by `,` `;` `|` or spaces.

    Args:
        known: whether a text is the id of a product, which may contain spaces.
    """
    values = _as_list(value)
    if len(values) == 1 and isinstance(values[0], str) and not known(values[0].strip()):
        values = re.split(r"[,;|\s]+", values[0].strip())
    return tuple(dict.fromkeys(id for id in (to_text(item).strip() for item in values) if id))


def read_images(row: Mapping[str, Any], mapping: ColumnMapping, folder: Path) -> list[bytes | str | Path]:
    """The images of one row by a resolved mapping, unopened: bytes, URLs as text, and paths under `folder`."""
    root = folder if mapping.image_root is None else Path(mapping.image_root)
    images: list[bytes | str | Path] = []
    for column in mapping.images or ():
        for cell in _as_list(row.get(column)):
            if isinstance(cell, Mapping):
                cell = cell.get("bytes") if cell.get("bytes") is not None else cell.get("path")
            if isinstance(cell, (bytes, bytearray)):
                images.append(bytes(cell))
            elif isinstance(cell, str) and _is_file(root / cell):
                images.append(root / cell)
            elif isinstance(cell, str):
                parts = re.split(r"[|;,]\s*(?=https?://)" if is_url(cell) else r"\s*[|;]\s*", cell.strip())
                images += [part if is_url(part) else root / part for part in parts if part]
    return images


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # too long for a name: a text, or a URL
        return False


def _as_list(value: Any) -> list[Any]:
    """The values of a cell that may hold one or several."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _from_json(value)
    if isinstance(value, (list, tuple)):
        return [item for item in value if item is not None]
    return [] if to_text(value) == "" else [value]


def _category(row: Mapping[str, Any], mapping: ColumnMapping) -> tuple[str, ...]:
    columns = mapping.category or ()
    if len(columns) == 1 and isinstance(value := row.get(columns[0]), str) and not value.startswith("["):
        parts: Iterable[Any] = value.split(mapping.category_separator) if mapping.category_separator else [value]
    else:
        parts = [part for column in columns for part in _as_list(row.get(column))]
    return tuple(text for text in (to_text(part).strip() for part in parts) if text)


def _attributes(row: Mapping[str, Any], mapping: ColumnMapping) -> dict[str, str]:
    columns = list(mapping.attributes or ())
    rest = columns[:1] == ["rest"] and "rest" not in row
    attributes: dict[str, str] = {}
    for column in columns[1:] if rest else columns:
        value = row.get(column)
        if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
            value = _from_json(value)
        if isinstance(value, (list, tuple)) and all(isinstance(pair, Mapping) and "key" in pair for pair in value):
            value = {pair["key"]: pair.get("value") for pair in value}
        if isinstance(value, Mapping):
            pairs = {str(name): _attribute_text(item) for name, item in value.items()}
        elif rest and (isinstance(value, (bytes, list)) or len(to_text(value)) > MAX_REST_CHARACTERS):
            continue
        else:
            pairs = {column: _attribute_text(value)}
        attributes.update({name: text for name, text in pairs.items() if text})
    return attributes


def _from_json(text: str) -> Any:
    """The value of JSON text; the text itself if it is no JSON, too deep, or holds numbers with too many digits."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _attribute_text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(to_text, value))
    return to_text(value).strip()
