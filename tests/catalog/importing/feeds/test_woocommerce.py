"""WooCommerce's export: decoded text, and variations beside their parents."""

from __future__ import annotations

import csv
from pathlib import Path

from moon2.catalog.importing.columns import USUAL_COLUMNS, ColumnMapping
from moon2.catalog.importing.feeds.feed import FEED_SETTINGS, FeedSettings
from moon2.catalog.importing.import_catalog import import_catalog
from moon2.catalog.store import Catalog

SITE = "https://shop.example/wp-content/uploads/"
ROWS = [
    {"ID": "102", "Type": "variation", "SKU": "tee-blue", "Name": "Tee &amp; Badge - Blue", "Parent": "tee"},
    {
        "ID": "101",
        "Type": "variable",
        "SKU": "tee",
        "Name": "Tee &amp; Badge",
        "Published": "1",
        "Description": "Soft\\nwarm",
        "Categories": "Clothing &gt; Tops\\, Tees, Sale",
        "Images": f"{SITE}1.jpg, {SITE}2.jpg",
        "Attribute 1 name": "Colour",
        "Attribute 1 value(s)": "Blue, Red",
        "Attribute 2 name": "pa_size",
        "Attribute 2 value(s)": "S, M",
        "Meta: _brand": "Nordwind",
    },
    {"ID": "103", "Type": "variation", "Name": "Tee - Red", "Parent": "id:101", "Regular price": "17,50"},
    {
        "ID": "104",
        "Type": "simple, virtual",
        "Name": 'Cap "Fjord"',
        "Published": "-1",
        "Short description": "Warm",
        "Regular price": "1.299,00 €",
        "Categories": "Clothing > Caps, Accessories > Hats",
        "Images": f"{SITE}cap,blue,s-700.jpg",
    },
    {"ID": "105", "Type": "variation", "SKU": "orphan", "Name": "Sock - Red", "Parent": "sock"},
]
ROWS[0].update({"Sale price": "19,90", "Regular price": "24,90", "Images": f"{SITE}blue.jpg"})
ROWS[0].update({"Attribute 1 name": "Colour", "Attribute 1 value(s)": "Blue", "Attribute 2 name": "pa_size"})
ROWS[2].update({"Attribute 1 name": "Colour", "Attribute 1 value(s)": "Dark red"})


def shop(path: Path, settings: FeedSettings = FEED_SETTINGS, columns: ColumnMapping = USUAL_COLUMNS) -> Catalog:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, dict.fromkeys(name for row in ROWS for name in row))
        writer.writeheader()
        writer.writerows(ROWS)
    options = {"out": path.with_suffix(""), "feed": settings, "columns": columns}
    return import_catalog(str(path), layout="woocommerce", **options).catalog  # type: ignore[arg-type]


def test_variations_join_their_parent_wherever_it_stands(tmp_path: Path) -> None:
    catalog = shop(tmp_path / "shop.csv", FeedSettings(all_categories=True))
    assert catalog.ids() == ["orphan", "tee", "104"]
    tee, cap = catalog.product("tee"), catalog.product("104")
    assert (tee.title, tee.category, tee.price) == ("Tee & Badge", ("Clothing", "Tops, Tees"), 17.5)
    assert tee.images == (f"{SITE}1.jpg", f"{SITE}2.jpg", f"{SITE}blue.jpg")
    assert tee.attributes == {
        "brand": "Nordwind",
        "Colour": "Blue, Red, Dark red",
        "size": "S, M",
        "categories": "Sale",
    }
    assert (cap.title, cap.description, cap.price) == ('Cap "Fjord"', "Warm", 1299.0)
    assert cap.images == (f"{SITE}cap,blue,s-700.jpg",)
    assert cap.attributes == {"status": "draft", "categories": "Accessories > Hats"}


def test_each_variation_may_be_a_product(tmp_path: Path) -> None:
    catalog = shop(tmp_path / "shop.csv", FeedSettings(variants=True))
    assert catalog.ids() == ["orphan", "tee-blue", "103", "104"]
    blue = catalog.product("tee-blue")
    assert (blue.title, blue.price, blue.description) == ("Tee & Badge - Blue", 19.9, "Soft\nwarm")
    assert blue.category == ("Clothing", "Tops, Tees")
    assert blue.images == (f"{SITE}blue.jpg", f"{SITE}1.jpg", f"{SITE}2.jpg")
    assert blue.attributes == {"brand": "Nordwind", "Colour": "Blue", "size": "S, M", "item_group_id": "tee"}


def test_columns_of_the_export_may_be_named(tmp_path: Path) -> None:
    assert shop(tmp_path / "shop.csv", columns=ColumnMapping(id="ID")).ids() == ["105", "101", "104"]


def test_what_is_left_out_is_listed_by_its_row_in_the_export(tmp_path: Path) -> None:
    text = "ID,Type,SKU,Name,Parent,Sale price,Regular price\n1,simple,cap,Cap,,0,free\n2,variation,tee,Tee,shirt,0,9\n"
    (tmp_path / "shop.csv").write_text(text + "3,simple\n4,simple,a,b,c,1,2,3\n")
    catalog = import_catalog(str(tmp_path / "shop.csv"), layout="woocommerce", out=tmp_path / "out").catalog
    assert [(reject.row, reject.id) for reject in catalog.rejects()] == [(4, ""), (1, "cap"), (3, "3")]
    assert catalog.product("tee").price == 9  # a sale price of 0 is none


def test_blank_and_repeated_ids_lose_no_product(tmp_path: Path) -> None:
    rows = [",simple,a,A,", ",simple,b,B,", "7,variable,c,C,", "7,simple,d,D,", "8,simple,c,C again,"]
    rows += ["9,variation,e,E,id:7", "10,variation,f,F,c"]
    (tmp_path / "shop.csv").write_text("\n".join(["ID,Type,SKU,Name,Parent", *rows]))
    catalog = import_catalog(
        str(tmp_path / "shop.csv"), layout="woocommerce", out=tmp_path / "out", feed=FeedSettings(variants=True)
    ).catalog
    assert catalog.ids() == ["a", "b", "e", "f", "d", "c"]
    assert {catalog.product(id).attributes.get("item_group_id") for id in "ef"} == {"c"}
    catalog = import_catalog(str(tmp_path / "shop.csv"), layout="woocommerce", out=tmp_path / "joined").catalog
    assert catalog.ids() == ["a", "b", "c", "d"]
    assert [(reject.row, reject.reason) for reject in catalog.rejects()] == [(5, "duplicate_id")]
