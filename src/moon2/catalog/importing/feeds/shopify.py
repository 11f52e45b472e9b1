"""Shopify's product export: a row a variant and a row a further image, which share a handle.

The headers of 2025 ("URL handle", "Product image URL") and those before are read. The category is the longest path of
Shopify's own category, Google's, and the type; where the type is not taken, it is the attribute `type`. Drafts and
archived products are kept, with the attribute `status`. A variant without a SKU of its own is called by handle and
options.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

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
    path_of,
    shop_tables,
)
from moon2.catalog.importing.sources import PLACE, BadRow, Row, ShopTables, Source, SplitRows

_NAMES = {
    "handle": "handle urlhandle",
    "title": "title",
    "description": "bodyhtml description",
    "vendor": "vendor",
    "type": "type customproducttype",
    "category": "productcategory standardproducttype",
    "google": "googleshoppinggoogleproductcategory",
    "gender": "googleshoppinggender",
    "age_group": "googleshoppingagegroup",
    "tags": "tags",
    "sku": "variantsku sku",
    "price": "variantprice price",
    "image": "imagesrc productimageurl",
    "position": "imageposition",
    "variant_image": "variantimage variantimageurl",
    "status": "status",
    **{f"option{n} {part}": f"option{n}{part}" for n in (1, 2, 3) for part in ("name", "value")},
}
_PATHS = ("category", "google", "type")
_ATTRIBUTES = ("vendor", "gender", "age_group", "tags", "status")
_METAFIELD = re.compile(r"(.+?) \((?:product|variant)\.metafields\..+\)")


def open_shopify(source: str, settings: FeedSettings, columns: ColumnMapping, encoding: str | None) -> ShopTables:
    """Opens an export of Shopify.

    Raises:
        CatalogError: it cannot be read, or is no such export.
    """
    table = open_table(source, encoding)
    export = _Export(table, settings)
    title, description = export.names["title"], export.names["description"]
    rows, made_of = export.rows(table.rows), export.made_of()
    return shop_tables(table, rows, columns, made_of, id="id", title=title, description=description)


class _Export:
    def __init__(self, table: Source, settings: FeedSettings) -> None:
        self.table, self.settings = table, settings
        self.names = find_columns(table, "Shopify", _NAMES, "handle title")
        self.metafields = {name: match[1] for name in table.columns if (match := _METAFIELD.fullmatch(name))}

    def made_of(self) -> dict[str, list[str]]:
        """New column → the columns of the export that it is made of."""
        attributes = [self.names[name] for name in _ATTRIBUTES]
        options = [self.names[f"option{n} {part}"] for n in (1, 2, 3) for part in ("name", "value")]
        return {
            "id": [self.names["sku"]] if self.settings.variants else [self.names["handle"]],
            CATEGORY: [self.names[name] for name in _PATHS],
            ATTRIBUTES: [*attributes, *self.metafields, *options],
            IMAGES: [self.names["image"], self.names["variant_image"], self.names["position"]],
            PRICE: [self.names["price"]],
        }

    def rows(self, rows: SplitRows) -> SplitRows:
        """One row a product, or one a variant."""
        of_handle: dict[str, list[Row]] = {}
        for split, row in rows:
            handle = "" if isinstance(row, BadRow) else self._text(row, "handle")
            if isinstance(row, BadRow):
                yield split, row
            elif handle:
                # Most cells of an export are empty.
                of_handle.setdefault(handle, []).append({name: cell for name, cell in row.items() if cell})
            else:
                column = self.names["handle"]
                message = f"has no handle; give it that of its product in the column {column!r}"
                yield split, BadRow("no_id", message, row[PLACE])
        skus = Counter(self._text(row, "sku") for group in of_handle.values() for row in group)
        for handle, group in of_handle.items():
            product = self._product(handle, group)
            variants = self._variants(group) if self.settings.variants else []
            of_variants = self._texts(group, "variant_image")
            for variant in variants:
                yield None, self._variant(handle, product, variant, of_variants, skus)
            if not variants:
                yield None, product

    def _text(self, row: Row, meaning: str) -> str:
        return to_text(row.get(self.names[meaning])).strip()

    def _texts(self, rows: Iterable[Row], meaning: str) -> list[str]:
        return list(dict.fromkeys(text for row in rows if (text := self._text(row, meaning))))

    def _variants(self, group: list[Row]) -> list[Row]:
        """The rows that are more than an image."""
        return [row for row in group if any(self._text(row, name) for name in ("sku", "price", "option1 value"))]

    def _product(self, handle: str, group: list[Row]) -> Row:
        paths = [text for name in _PATHS for text in self._texts(group, name)[:1]]
        paths = sorted((path for path in paths if not path.isdigit()), key=lambda path: -len(path_of(path)))
        category, others = category_fields(paths, self.settings)
        status = "".join(self._texts(group, "status")[:1]).casefold()
        kind = "".join(self._texts(group, "type")[:1])
        known = {
            "brand": self._texts(group, "vendor")[:1],
            "type": [kind] if path_of(kind) != category else [],
            **{name: self._texts(group, name)[:1] for name in ("gender", "age_group", "tags")},
            "status": [status] if status != "active" else [],
        }
        attributes = {name: ", ".join(texts) for name, texts in known.items()}
        for column, name in self.metafields.items():
            attributes[name] = next((to_text(row[column]) for row in group if column in row), "")
        pictures = sorted((row for row in group if self._text(row, "image")), key=self._position)
        images = dict.fromkeys([*self._texts(pictures, "image"), *self._texts(group, "variant_image")])
        return {
            **{name: cell for row in reversed(group) for name, cell in row.items()},
            "id": handle,
            CATEGORY: category,
            ATTRIBUTES: {**attributes, **self._options(group, group), **others},
            IMAGES: list(images),
            PRICE: lowest_price(row.get(self.names["price"]) for row in group),
        }

    def _options(self, group: list[Row], variants: list[Row]) -> dict[str, str]:
        """Option → its values in some variants; its name stands in the first row of the product only."""
        options = {}
        for n in (1, 2, 3):
            name, values = self._texts(group, f"option{n} name")[:1], self._texts(variants, f"option{n} value")
            if name and values != ["Default Title"]:
                options[name[0]] = ", ".join(values)
        return options

    def _position(self, row: Row) -> float:
        text = self._text(row, "position")
        return float(text) if re.fullmatch(r"\d+(\.0)?", text) else float("inf")

    def _variant(self, handle: str, product: Row, variant: Row, of_variants: list[str], skus: Counter[str]) -> Row:
        options = self._options([product], [variant])
        sku = self._text(variant, "sku")
        own = self._texts([variant], "variant_image")
        of_others = of_variants if own else []
        return {
            **product,
            **variant,
            self.names["title"]: product.get(self.names["title"]),
            "id": sku if skus[sku] == 1 and sku else "-".join([handle, *options.values()]),
            ATTRIBUTES: {**product[ATTRIBUTES], **options, GROUP: handle},
            IMAGES: [*own, *(image for image in product[IMAGES] if image not in of_others)],
            PRICE: variant.get(self.names["price"]),
        }
