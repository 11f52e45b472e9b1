"""Product feeds for Google Merchant Center: tables separated by tabs, RSS 2.0 and Atom.

The names of its columns may be written with `_`, spaces or `g:`. The sale price wins over the price if it is lower. The
category is the shop's own `product_type`; Google's is taken where there is none, unless it is a number. XML is read
product by product, so memory does not grow with the feed.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from moon2.catalog.importing.cells import to_text
from moon2.catalog.importing.columns import ColumnMapping
from moon2.catalog.importing.feeds.feed import (
    ATTRIBUTES,
    CATEGORY,
    GROUP,
    IMAGES,
    PRICE,
    FeedSettings,
    category_fields,
    find_columns,
    open_table,
    sale_price,
    shop_tables,
    split_addresses,
)
from moon2.catalog.importing.sources import BadRow, Row, ShopTables, Source, with_columns
from moon2.catalog.importing.text_files import READ_ERRORS, cannot_be_read, open_bytes
from moon2.catalog.schema import CatalogError

_NAMES = {
    "id": "id",
    "title": "title structuredtitle",
    "description": "description summary content",
    "image": "imagelink",
    "type": "producttype",
    "google": "googleproductcategory",
    "price": "price",
    "sale": "saleprice",
    GROUP: "itemgroupid",
    "age_group": "agegroup",
    **{name: name for name in ("brand", "color", "size", "gender", "material", "pattern")},
}
_ATTRIBUTES = ("brand", "color", "size", "gender", "age_group", "material", "pattern", GROUP)
_GOOGLE = "{http://base.google.com/ns/1.0}"


def open_google_merchant(
    source: str, settings: FeedSettings, columns: ColumnMapping, encoding: str | None
) -> ShopTables:
    """Opens a feed.

    Raises:
        CatalogError: it cannot be read, or is no such feed.
    """
    path = Path(source)
    table = _open_xml(path, encoding) if path.is_file() and _is_xml(path) else open_table(source, encoding)
    table = replace(table, columns=[name.removeprefix("g:") for name in table.columns])
    names = find_columns(table, "Google Merchant Center", _NAMES, "id title")
    more = [name for name in table.columns if re.match(r"additional[_ ]image[_ ]link", name)]

    def product(row: Row) -> Row:
        row = {name.removeprefix("g:"): cell for name, cell in row.items()}
        types = _types(row.get(names["type"])) or _types(row.get(names["google"]))
        category, others = category_fields([text for text in types if not text.isdigit()], settings)
        addresses = [address for name in (names["image"], *more) for address in _addresses(row.get(name))]
        attributes = {name: to_text(_one(row.get(names[name]))) for name in _ATTRIBUTES}
        return {
            **{name: _one(cell) for name, cell in row.items()},
            CATEGORY: category,
            ATTRIBUTES: {**attributes, **others},
            IMAGES: list(dict.fromkeys(addresses)),
            PRICE: sale_price(_one(row.get(names["sale"])), _one(row.get(names["price"]))),
        }

    rows = ((split, row if isinstance(row, BadRow) else product(row)) for split, row in table.rows)
    made_of = {
        CATEGORY: [names["type"], names["google"]],
        ATTRIBUTES: [names[name] for name in _ATTRIBUTES],
        IMAGES: [names["image"], *more],
        PRICE: [names["sale"], names["price"]],
    }
    id, title, description = (names[name] for name in ("id", "title", "description"))
    return shop_tables(table, rows, columns, made_of, id=id, title=title, description=description)


def _one(cell: Any) -> Any:
    """The first value of a cell; in XML, an element may come several times."""
    return next(iter(cell), None) if isinstance(cell, list) else cell


def _addresses(cell: Any) -> list[str]:
    texts = cell if isinstance(cell, list) else [to_text(cell)]
    return [address for text in texts for address in split_addresses(text)]


def _types(cell: Any) -> list[str]:
    """Product types: several elements, or paths separated by commas, if both sides of the comma are paths."""
    types: list[str] = []
    for text in cell if isinstance(cell, list) else [to_text(cell)]:
        parts = re.split(r",(?=[^,>]*>)", text)
        types += parts if all(">" in part for part in parts) else [text]
    return [text.strip() for text in types if text.strip()]


def _is_xml(path: Path) -> bool:
    try:
        with open_bytes(path) as file:
            start = file.read(64)
    except READ_ERRORS as error:
        raise cannot_be_read(path, error) from None
    return re.match(rb"(\xef\xbb\xbf|\xff\xfe|\xfe\xff)?[\s\0]*<", start) is not None


def _open_xml(path: Path, encoding: str | None) -> Source:
    columns, rows = with_columns(path.name, ((None, row) for row in _xml_rows(path, encoding)))
    if not columns:
        raise CatalogError(f"{path}: has no <item> (RSS) and no <entry> (Atom) to read")
    return Source(path.name, columns, rows, path.parent)


def _xml_rows(path: Path, encoding: str | None) -> Iterator[Row | BadRow]:
    number = 0
    try:
        with open_bytes(path) as file:
            for element in _products(file, encoding):
                number += 1
                yield _row(element)
    except ElementTree.ParseError as error:
        raise CatalogError(f"{path}: is not XML after {number:,} products ({error})") from None
    except READ_ERRORS as error:
        raise cannot_be_read(path, error) from None


def _products(file: IO[bytes], encoding: str | None) -> Iterator[ElementTree.Element]:
    """The elements of products, each removed once it was read."""
    parser = ElementTree.XMLParser(encoding=encoding)
    parents: list[ElementTree.Element] = []
    for event, element in ElementTree.iterparse(file, ("start", "end"), parser):
        if event == "start":
            parents.append(element)
            continue
        parents.pop()
        if parents and element.tag.rpartition("}")[2] in ("item", "entry"):
            yield element
            parents[-1].remove(element)


def _row(element: ElementTree.Element) -> Row:
    """Name → text, or texts where it comes several times; what Google defines wins over RSS and Atom."""
    texts: dict[str, list[str]] = {}
    google: dict[str, list[str]] = {}
    for child in element:
        if text := (child.text or "").strip():
            found = google if child.tag.startswith(_GOOGLE) else texts
            found.setdefault(child.tag.rpartition("}")[2], []).append(text)
    return {name: found[0] if len(found) == 1 else found for name, found in {**texts, **google}.items()}
