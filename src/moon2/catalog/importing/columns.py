"""Which column of a table means what: from any shop's products and search log to the fields of our records.

A mapping names columns; what it leaves open is found by the usual names (`sku`, `productDisplayName`, `image_path` …).
A column that is asked for and not there is refused with the columns that are.
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

# Spelled without case, spaces and punctuation; the first that is there is taken.
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
USUAL_LOG_NAMES = {
    "id": "queryid searchid id",
    "text": "querytext query text searchterm searchterms keywords",
    "image": "queryimage queryimageurl queryimagepath",
    "product_id": "queryimageproductid queryproductid",
    # "purchased" and "bought" may be a flag beside the product, which is therefore looked for first.
    "positives": "positiveids positives purchasedid purchasedids relevantids positiveid boughtid boughtids purchases "
    "purchaseid purchaseids clickedid productid purchased bought",
    "negatives": "negativeids negatives ignoredids negativeid ignoredid",
    "exposures": "exposures exposureids exposedids exposedid exposed shownids shown impressionids",
    "split": "split",
}
SPLIT_NAMES = {
    **dict.fromkeys(("", "train", "training"), "train"),
    **dict.fromkeys(("test", "dev", "val", "valid", "validation", "eval", "testing"), "test"),
}
# `attributes="rest"` takes whatever columns there are; a longer value there is prose, not an attribute.
MAX_REST_CHARACTERS = 200


@dataclass(frozen=True)
class ColumnMapping:
    """Which columns of a product table mean what; None: found by its usual name, "": not there."""

    id: str | None = None
    """Unique product id."""
    title: str | None = None
    """What the shop calls it."""
    description: str | None = None
    """Longer text."""
    category: str | Sequence[str] | None = None
    """One column with a path or a list, or several columns from root to leaf."""
    category_separator: str = ">"
    """What parts the path where the category is one column of text."""
    attributes: str | Sequence[str] | None = None
    """Columns: one of JSON objects or of key-value pairs gives all its keys, any other one its name and value; "rest"
    takes every column that means nothing else."""
    images: str | Sequence[str] | None = None
    """Columns of paths, URLs, bytes, {bytes, path}, or lists of those (as text: a JSON list, or parted by `|` `;`)."""
    image_root: str | Path | None = None
    """Folder in which relative picture paths start; the table's own folder when not given."""
    price: str | None = None
    """A number, with or without a currency sign."""
    split: str | None = None
    """train or test (dev, val and validation count as test); everything is train when there is no such column."""

    def resolve(self, columns: Sequence[str], where: str) -> ColumnMapping:
        """The mapping with every open field filled from the columns there are ("" or () where none fits).

        Raises:
            CatalogError: a column asked for is missing, or no id, or neither a title nor an image can be found.
        """
        usual = _UsualNames(columns)
        found: dict[str, Any] = {}
        for name in ("id", "title", "description", "price", "split"):
            asked = getattr(self, name)
            found[name] = usual.find(USUAL_NAMES[name]) if asked is None else asked
        for name in ("category", "images", "attributes"):
            asked = getattr(self, name)
            found[name] = (asked,) if isinstance(asked, str) and asked else tuple(asked or ())
        if self.category is None:
            several = (usual.find_all(names) for names in USUAL_CATEGORY_COLUMNS)
            one = usual.find(USUAL_NAMES["category"])
            found["category"] = next(filter(None, several), (one,) if one else ())
        if self.images is None:
            one = usual.find(USUAL_NAMES["images"])
            found["images"] = (one,) if one else ()
        taken = {found[name] for name in ("id", "title", "description", "price", "split")}
        taken.update(found["category"], found["images"])
        if self.attributes is None:
            attributes = [usual.find(name) for name in USUAL_ATTRIBUTES.split()]
            found["attributes"] = tuple(dict.fromkeys(name for name in attributes if name and name not in taken))
        elif found["attributes"] == ("rest",) and "rest" not in columns:
            found["attributes"] = ("rest", *(name for name in columns if name not in taken))
        _check_columns(found, columns, where)
        if not found["id"]:
            raise CatalogError(f"{where}: which column is the id? Name it with --columns.id; {_columns(columns)}")
        if not found["title"] and not found["images"]:
            raise CatalogError(f"{where}: which column is the title or the image? Name one; {_columns(columns)}")
        return replace(self, **found)


@dataclass(frozen=True)
class LogMapping:
    """Which columns of a search log mean what; None: found by its usual name, "": not there."""

    id: str | None = None
    """Id of the query; rows are numbered when there is none."""
    text: str | None = None
    """The words searched for."""
    image: str | None = None
    """The shopper's own picture: a path, URL or bytes."""
    product_id: str | None = None
    """The product whose photo the shopper showed."""
    positives: str | None = None
    """Bought or relevant products: one id, a list, a JSON list, or ids parted by `,` `;` `|` or spaces."""
    negatives: str | None = None
    """Products shown and left, written like `positives`; a row that names one of them as bought too is put aside."""
    exposures: str | None = None
    """All products shown, written like `positives`; those bought are taken out, the rest are negatives. Looked for
    where no negatives are named or found; a column called `exposures` is read so even if named as `negatives`."""
    split: str | None = None
    """train or test."""

    def resolve(self, columns: Sequence[str], where: str) -> LogMapping:
        """The mapping with every open field filled from the columns there are ("" where none fits).

        Raises:
            CatalogError: a column asked for is missing, or the query or the positives cannot be found.
        """
        usual = _UsualNames(columns)
        asked = {name: getattr(self, name) for name in USUAL_LOG_NAMES}
        found = {name: usual.find(USUAL_LOG_NAMES[name]) if asked[name] is None else asked[name] for name in asked}
        taken = {column for name, column in found.items() if name != "exposures"}
        if self.exposures is None:
            # Called negatives, exposures still hold what was bought, so that every row would contradict itself.
            if _plain(found["negatives"]) in USUAL_LOG_NAMES["exposures"].split():
                found["exposures"] = found["negatives"]
            elif found["negatives"] or self.negatives == "" or found["exposures"] in taken:
                found["exposures"] = ""
        if found["negatives"] == found["exposures"]:
            found["negatives"] = ""
        _check_columns(found, columns, where)
        if not found["positives"]:
            raise CatalogError(f"{where}: which column is the product bought (positives=…)? {_columns(columns)}")
        if not found["text"] and not found["image"] and not found["product_id"]:
            raise CatalogError(f"{where}: which column is the query's words (text=…)? {_columns(columns)}")
        return replace(self, **found)


class _UsualNames:
    def __init__(self, columns: Iterable[str]) -> None:
        self.by_name = {_plain(column): column for column in reversed(list(columns))}

    def find(self, names: str) -> str:
        return next((self.by_name[name] for name in names.split() if name in self.by_name), "")

    def find_all(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(self.by_name[name] for name in names) if all(name in self.by_name for name in names) else ()


def _plain(column: str) -> str:
    return re.sub(r"[\W_]", "", column.casefold())


def _columns(columns: Sequence[str]) -> str:
    return f"its columns are {', '.join(columns)}"


def _check_columns(found: Mapping[str, Any], columns: Sequence[str], where: str) -> None:
    for field, names in found.items():
        for name in (names,) if isinstance(names, str) else names:
            if name and name not in columns and not (field == "attributes" and name == "rest"):
                raise CatalogError(f"{where}: has no column {name!r}, asked for as {field}; {_columns(columns)}")


def read_fields(row: Mapping[str, Any], mapping: ColumnMapping) -> dict[str, Any]:
    """The fields of a `Product` from one row by a resolved mapping; pictures are left to `read_pictures`.

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
    """A cell as text; nothing (None, NaN) is "", and a whole number has no decimals (pandas turns ids into 1163.0)."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def to_price(value: Any) -> float | None:
    """A price as a number; reads 1,299.50 and 1.299,50 and drops currency signs; None when the cell is empty.

    Raises:
        ValueError: it is something else.
    """
    text = to_text(value).strip()
    if not text:
        return None
    if isinstance(value, (int, float)):
        return float(value)
    # One number, and beside it at most a currency such as "Rs." or "EUR" (its full stop is not a decimal point).
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
    """Product ids of one cell, each once: a list, a JSON list, one id, or ids parted by `,` `;` `|` or spaces."""
    values = _as_list(value)
    if len(values) == 1 and isinstance(values[0], str) and not known(values[0].strip()):
        values = re.split(r"[,;|\s]+", values[0].strip())
    return tuple(dict.fromkeys(id for id in (to_text(item).strip() for item in values) if id))


def read_pictures(row: Mapping[str, Any], mapping: ColumnMapping, folder: Path) -> list[bytes | str | Path]:
    """The pictures of one row by a resolved mapping, unopened: bytes, URLs as text, and paths under `folder`."""
    root = folder if mapping.image_root is None else Path(mapping.image_root)
    pictures: list[bytes | str | Path] = []
    for column in mapping.images or ():
        for cell in _as_list(row.get(column)):
            if isinstance(cell, Mapping):
                cell = cell.get("bytes") if cell.get("bytes") is not None else cell.get("path")
            if isinstance(cell, (bytes, bytearray)):
                pictures.append(bytes(cell))
            elif isinstance(cell, str) and _is_file(root / cell):
                pictures.append(root / cell)
            elif isinstance(cell, str):
                parts = re.split(r"[|;,]\s*(?=https?://)" if is_url(cell) else r"\s*[|;]\s*", cell.strip())
                pictures += [part if is_url(part) else root / part for part in parts if part]
    return pictures


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # no name can be that long: a text, or a URL
        return False


def _as_list(value: Any) -> list[Any]:
    """A cell that may hold one thing or several."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):  # not JSON, or of absurd depth or digits
            return [value]
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
    found: dict[str, str] = {}
    for column in columns[1:] if rest else columns:
        value = row.get(column)
        if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):  # not JSON, or of absurd depth or digits
                value = to_text(value)
        if isinstance(value, (list, tuple)) and all(isinstance(pair, Mapping) and "key" in pair for pair in value):
            value = {pair["key"]: pair.get("value") for pair in value}
        if isinstance(value, Mapping):
            pairs = {str(name): _attribute_text(item) for name, item in value.items()}
        elif rest and (isinstance(value, (bytes, list)) or len(to_text(value)) > MAX_REST_CHARACTERS):
            continue
        else:
            pairs = {column: _attribute_text(value)}
        found.update({name: text for name, text in pairs.items() if text})
    return found


def _attribute_text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(to_text, value))
    return to_text(value).strip()
