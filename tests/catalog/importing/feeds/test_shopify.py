"""Shopify's export: one product a handle or a variant, with all images."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from moon2.catalog.importing.feeds.feed import FEED_SETTINGS, FeedSettings
from moon2.catalog.importing.import_catalog import import_catalog
from moon2.catalog.store import Catalog

OLD = {
    "Handle": "URL handle",
    "Title": "Title",
    "Body (HTML)": "Description",
    "Vendor": "Vendor",
    "Product Category": "Product category",
    "Type": "Type",
    "Option1 Name": "Option1 name",
    "Option1 Value": "Option1 value",
    "Variant SKU": "SKU",
    "Variant Price": "Price",
    "Image Src": "Product image URL",
    "Image Position": "Image position",
    "Variant Image": "Variant image URL",
    "Status": "Status",
    "Google Shopping / Google Product Category": "Google Shopping / Google product category",
    "Google Shopping / Gender": "Google Shopping / Gender",
    "Fabric (product.metafields.custom.fabric)": "Fabric (product.metafields.custom.fabric)",
}
"""The headers of older exports, and those of 2025."""
FIRST, LAST = "https://cdn.example/a.jpg", "https://cdn.example/c.jpg?v=1,2"
ROWS = [
    {
        "Handle": "shirt",
        "Title": "Linen Shirt",
        "Vendor": "Nordwind",
        "Type": "Shirts",
        "Product Category": "Apparel & Accessories > Clothing",
        "Option1 Name": "Colour",
        "Option1 Value": "White",
        "Variant SKU": "LS-W",
        "Variant Price": "39.00",
        "Image Src": LAST,
        "Image Position": "3",
        "Status": "draft",
        "Google Shopping / Google Product Category": "1604",
        "Google Shopping / Gender": "male",
        "Fabric (product.metafields.custom.fabric)": "linen",
    },
    {
        "Handle": "cap",
        "Title": "Wool Cap",
        "Type": "Caps",
        "Option1 Name": "Title",
        "Option1 Value": "Default Title",
        "Variant Price": "19.00",
        "Status": "active",
    },
    {"Handle": "shirt", "Option1 Value": "Blue", "Variant SKU": "LS", "Variant Price": "35.50", "Image Src": FIRST},
    {"Handle": "shirt", "Option1 Value": "Red", "Variant SKU": "LS", "Variant Price": "41.00"},
    {"Handle": "", "Title": "Nothing"},
]
ROWS[2].update({"Image Position": "1", "Variant Image": "https://cdn.example/b.jpg"})


def shop(path: Path, names: dict[str, str], settings: FeedSettings = FEED_SETTINGS) -> Catalog:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names.values())
        writer.writeheader()
        writer.writerows({names[name]: cell for name, cell in row.items()} for row in ROWS)
    return import_catalog(str(path), layout="shopify", out=path.with_suffix(""), feed=settings).catalog


@pytest.mark.parametrize("names", [dict(zip(OLD, OLD, strict=True)), OLD])
def test_the_rows_of_a_handle_are_one_product(tmp_path: Path, names: dict[str, str]) -> None:
    catalog = shop(tmp_path / "shop.csv", names)
    shirt, cap = catalog.products()
    assert (shirt.id, shirt.title, shirt.price) == ("shirt", "Linen Shirt", 35.5)
    assert shirt.images == (FIRST, LAST, "https://cdn.example/b.jpg")
    assert shirt.category == ("Apparel & Accessories", "Clothing")
    assert shirt.attributes == {
        "brand": "Nordwind",
        "type": "Shirts",
        "gender": "male",
        "status": "draft",
        "Fabric": "linen",
        "Colour": "White, Blue, Red",
    }
    assert (cap.id, cap.category, cap.price, cap.attributes) == ("cap", ("Caps",), 19.0, {})
    assert [reject.reason for reject in catalog.rejects()] == ["no_id"]


def test_each_variant_may_be_a_product(tmp_path: Path) -> None:
    catalog = shop(tmp_path / "shop.csv", OLD, FeedSettings(variants=True))
    # The SKU "LS" stands for two variants, and names neither.
    assert catalog.ids() == ["LS-W", "shirt-Blue", "shirt-Red", "cap"]
    blue = catalog.product("shirt-Blue")
    assert (blue.title, blue.price, blue.attributes["Colour"]) == ("Linen Shirt", 35.5, "Blue")
    assert blue.attributes["item_group_id"] == "shirt"
    assert blue.images == ("https://cdn.example/b.jpg", FIRST, LAST)


def test_what_is_left_out_is_listed_by_its_row_in_the_export(tmp_path: Path) -> None:
    text = "Handle,Title,Variant Price\nshirt,Shirt,5\nshirt,,7\ncap,Cap,free\n,Orphan,\n"
    (tmp_path / "shop.csv").write_text(text)
    catalog = import_catalog(str(tmp_path / "shop.csv"), layout="shopify", out=tmp_path / "out").catalog
    orphan, cap = catalog.rejects()
    assert orphan.row == 4
    assert orphan.message == "shop.csv row 4: has no handle; give it that of its product in the column 'Handle'"
    assert (cap.row, cap.id, cap.reason) == (3, "cap", "bad_price") and cap.message.startswith("shop.csv row 3: ")
