"""What the exports of shop systems share: they become plain rows, and a mapping that says what the columns mean.

A feed gathers and joins; how a price, an image or a category is read is decided where every table's cells are read.
The columns of the export stay beside the new ones, so that a user's mapping may name any of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moon2.catalog.importing.columns import FIELDS, ColumnMapping, as_names, fill_mapping
from moon2.catalog.importing.layouts import layout_of, open_source
from moon2.catalog.importing.prices import to_price
from moon2.catalog.importing.sources import ShopTables, Source, SplitRows
from moon2.catalog.importing.usual_names import UsualNames
from moon2.catalog.schema import CatalogError

GROUP = "item_group_id"
"""The attribute that variants of one product share; mining takes it for a style."""
CATEGORY, ATTRIBUTES, IMAGES, PRICE = "category path", "attributes", "image list", "lowest price"
"""The columns that every feed makes."""
_SIGNS = {  # columns that tables of other origin hardly have together
    "shopify": (("handle", "variantprice"), ("urlhandle", "option1name")),
    "woocommerce": (("regularprice", "parent", "categories"),),
    "google-merchant": (("imagelink", "itemgroupid"), ("imagelink", "googleproductcategory")),
}


@dataclass(frozen=True)
class FeedSettings:
    """How the exports of shop systems are read."""

    variants: bool = False
    """Make each variant of shopify or woocommerce a product; otherwise variants are one, with the lowest price."""
    all_categories: bool = False
    """Keep the categories after the first, as the attribute "categories"."""


FEED_SETTINGS = FeedSettings()


def feed_of(columns: Sequence[str]) -> str | None:
    """The layout of the shop system whose export has such columns; None for any other table."""
    known = UsualNames(columns)
    for layout, signs in _SIGNS.items():
        if any(known.find_all(names) for names in signs):
            return layout
    return None


def open_table(source: str, encoding: str | None) -> Source:
    """The table of an export: what its ending says, or else CSV."""
    try:
        layout = layout_of(source)
    except CatalogError:
        layout = "csv"
    return open_source(source, layout, encoding=encoding)


def find_columns(table: Source, system: str, names: Mapping[str, str], needed: str) -> dict[str, str]:
    """Meaning → column, "" where the export has none.

    Args:
        names: the usual names of each meaning, separated by spaces.
        needed: meanings without which it is no such export.

    Raises:
        CatalogError: a needed column is missing.
    """
    known = UsualNames(table.columns)
    found = {meaning: known.find(usual) for meaning, usual in names.items()}
    for meaning in needed.split():
        if not found[meaning]:
            raise CatalogError(
                f"{table.name}: is no export of {system} in English, as it has no column for the {meaning}; export "
                f"it with the shop's administration set to English, or read it with --as csv and name its columns, "
                f"which are {', '.join(table.columns)}"
            )
    return found


def shop_tables(
    table: Source,
    rows: SplitRows,
    columns: ColumnMapping,
    made_of: Mapping[str, Iterable[str]],
    *,
    id: str,
    title: str,
    description: str,
) -> ShopTables:
    """The rows of a feed with their mapping, in which what the user names wins.

    Args:
        table: the export.
        rows: with the columns that every feed makes.
        columns: as the user gave them.
        made_of: new column → the columns of the export that it is made of; "" is none.
        id, title, description: their columns.
    """
    mapping = ColumnMapping(
        id=id,
        title=title,
        description=description,
        category=CATEGORY,
        attributes=ATTRIBUTES,
        images=IMAGES,
        price=PRICE,
    )
    new = [name for field in (*FIELDS, "attributes") for name in as_names(getattr(mapping, field))]
    names = list(dict.fromkeys([*table.columns, *new]))
    origins = {name: list(filter(None, columns)) for name, columns in made_of.items()}
    products = Source(table.name, names, rows, table.folder, made_of=origins)
    return ShopTables(products, fill_mapping(columns, mapping))


def lowest_price(prices: Iterable[Any]) -> Any:
    """The cell with the lowest price; if none can be read, the first that is not empty."""
    cells = [price for price in prices if price not in (None, "")]
    readable = []
    for cell in cells:
        try:
            readable.append((to_price(cell), cell))
        except ValueError:
            continue
    priced = [(price, cell) for price, cell in readable if price is not None]
    return min(priced, key=lambda pair: pair[0])[1] if priced else next(iter(cells), None)


def sale_price(sale: Any, price: Any) -> Any:
    """The lower of both cells; many exports write a sale price of 0 where there is none."""
    try:
        is_none = bool(price) and to_price(sale) == 0
    except ValueError:
        is_none = False
    return lowest_price([price] if is_none else [sale, price])


def path_of(category: str) -> list[str]:
    """The parts of a category, from root to leaf."""
    return [part.strip() for part in category.split(">") if part.strip()]


def category_fields(paths: Sequence[str], settings: FeedSettings) -> tuple[list[str], dict[str, str]]:
    """The category of a product, and the attribute that holds the others if they are wanted."""
    category = path_of(paths[0]) if paths else []
    others = [" > ".join(path_of(path)) for path in paths[1:]]
    return category, {"categories": "; ".join(others)} if others and settings.all_categories else {}


def split_addresses(text: str) -> list[str]:
    """Images separated by commas; a comma within a file's name does not separate."""
    separator = r"\s*,\s*(?=https?://)" if re.match(r"\s*https?://", text) else r"\s*,\s+"
    return [part.strip() for part in re.split(separator, text) if part.strip()]
