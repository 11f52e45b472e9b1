"""WooCommerce's product export: products, and variations that name their parent, before it or after it.

Names, categories and attributes are decoded (`&amp;` is &). The category is the first of the list. The price is the
lower of regular and sale price. The id is the SKU, or the number where there is no SKU. Products that are not published
are kept, with the attribute `status`. A variation whose parent is missing is a product of its own.
"""

from __future__ import annotations

import html
import re

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
    lowest_price,
    open_table,
    sale_price,
    shop_tables,
    split_addresses,
)
from moon2.catalog.importing.sources import BadRow, Row, ShopTables, Source, SplitRows
from moon2.catalog.importing.usual_names import UsualNames

_NAMES = {
    "id": "id",
    "type": "type",
    "sku": "sku",
    "name": "name",
    "published": "published",
    "summary": "shortdescription",
    "description": "description",
    "sale": "saleprice",
    "price": "regularprice price",
    "categories": "categories",
    "tags": "tags",
    "images": "images",
    "parent": "parent",
    "brand": "brands brand metabrand metabrands metaproductbrand",
}
_STATUS = {"0": "private", "-1": "draft"}


def open_woocommerce(source: str, settings: FeedSettings, columns: ColumnMapping, encoding: str | None) -> ShopTables:
    """Opens an export of WooCommerce.

    Raises:
        CatalogError: it cannot be read, or is no such export.
    """
    table = open_table(source, encoding)
    export = _Export(table, settings)
    rows, made_of = export.rows(table.rows), export.made_of()
    return shop_tables(table, rows, columns, made_of, id="sku or id", title=export.names["name"], description="text")


class _Export:
    def __init__(self, table: Source, settings: FeedSettings) -> None:
        self.settings = settings
        self.names = find_columns(table, "WooCommerce", _NAMES, "id type name")
        known = UsualNames(table.columns)
        pairs = (known.find_all((f"attribute{n}name", f"attribute{n}values")) for n in range(1, len(table.columns)))
        self.attribute_columns = [pair for pair in pairs if pair]

    def made_of(self) -> dict[str, list[str]]:
        """New column → the columns of the export that it is made of."""
        names, pairs = self.names, self.attribute_columns
        return {
            "sku or id": [names["sku"], names["id"], names["parent"], names["type"]],
            "text": [names["description"], names["summary"]],
            CATEGORY: [names["categories"]],
            ATTRIBUTES: [names["brand"], names["tags"], names["published"], *(c for pair in pairs for c in pair)],
            IMAGES: [names["images"]],
            PRICE: [names["sale"], names["price"]],
        }

    def rows(self, rows: SplitRows) -> SplitRows:
        """One row a product, or one a variation and a product without variations."""
        products: dict[str, Row] = {}
        parent_of: dict[str, str] = {}
        variations: list[Row] = []
        for number, (split, row) in enumerate(rows, start=1):
            if isinstance(row, BadRow):
                yield split, row
                continue
            row = self._read(row)
            if "variation" in self._text(row, "type").casefold().split(", "):
                variations.append(row)
            else:
                # By its row: a blank or repeated id would lose a product, which the importer can only list if it comes.
                key = f"row:{number}"
                products[key] = row
                for name in (f"id:{self._text(row, 'id')}", self._text(row, "sku")):
                    parent_of.setdefault(name, key)
        of_parent: dict[str, list[Row]] = {}
        for row in variations:
            # A number alone is a parent's id in older exports.
            parent = self._text(row, "parent")
            product = parent_of.get(parent) or parent_of.get(f"id:{parent}") if parent else None
            if product is None:
                yield None, row
            else:
                of_parent.setdefault(product, []).append(row)
        for key, row in products.items():
            children = of_parent.get(key, [])
            if self.settings.variants and children:
                yield from ((None, self._variation(row, child)) for child in children)
            else:
                yield None, self._joined(row, children)

    def _text(self, row: Row, meaning: str) -> str:
        return to_text(row.get(self.names[meaning])).strip()

    def _read(self, row: Row) -> Row:
        """The row with the columns that the mapping names."""

        def decoded(meaning: str) -> str:
            return html.unescape(self._text(row, meaning))

        # A comma within a name is written \,
        categories = re.split(r"(?<!\\),\s*", decoded("categories").strip())
        paths = [path.replace("\\,", ",") for path in categories if path]
        category, others = category_fields(paths, self.settings)
        attributes = {"brand": decoded("brand"), "tags": decoded("tags")}
        attributes["status"] = _STATUS.get(self._text(row, "published"), "")
        for name, values in self.attribute_columns:
            key = html.unescape(to_text(row.get(name)).strip()).removeprefix("pa_")
            if key:
                attributes[key] = html.unescape(to_text(row.get(values)).strip()).replace("\\,", ",")
        return {
            **{name: cell for name, cell in row.items() if cell},
            self.names["name"]: decoded("name"),
            "sku or id": self._text(row, "sku") or self._text(row, "id"),
            # Line ends are written as \\n.
            "text": (self._text(row, "description") or self._text(row, "summary")).replace("\\n", "\n"),
            CATEGORY: category,
            ATTRIBUTES: {name: text for name, text in {**attributes, **others}.items() if text},
            IMAGES: split_addresses(self._text(row, "images")),
            PRICE: sale_price(row.get(self.names["sale"]), row.get(self.names["price"])),
        }

    def _joined(self, product: Row, variations: list[Row]) -> Row:
        attributes = dict(product[ATTRIBUTES])
        for variation in variations:
            for name, text in variation[ATTRIBUTES].items():
                values = attributes.get(name, "").split(", ")
                if name != "status" and text not in values:
                    attributes[name] = ", ".join(filter(None, [*values, text]))
        every = [product, *variations]
        return {
            **product,
            ATTRIBUTES: attributes,
            IMAGES: list(dict.fromkeys(image for row in every for image in row[IMAGES])),
            PRICE: lowest_price(row[PRICE] for row in every),
        }

    def _variation(self, product: Row, variation: Row) -> Row:
        filled = {name: cell for name, cell in variation.items() if cell}
        group = {GROUP: product["sku or id"]}
        return {
            **product,
            **filled,
            ATTRIBUTES: {**product[ATTRIBUTES], **variation[ATTRIBUTES], **group},
            IMAGES: list(dict.fromkeys([*variation[IMAGES], *product[IMAGES]])),
        }
