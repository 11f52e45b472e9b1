"""Importing: what was understood of a table is said, and a dry run shows it without writing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.imported_tables import run, write_csv

from moon2.catalog.importing.columns import ColumnMapping
from moon2.cli import main

Encode = Callable[..., bytes]


def test_an_import_says_what_it_understood(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        ("Artikelnummer", "Marke", "Bezeichnung", "Titel", "Preis (EUR)", "Bild", "Lager"),
        ("1", "Kante", "Wanderschuh", "x", "1.299", "gone.jpg", "5"),
        ("2", "Kante", "Stiefel", "x", "89,90", "", "7"),
    ]
    with caplog.at_level("INFO", logger="moon2"):
        result = run(write_csv(tmp_path / "shop.csv", rows), tmp_path / "out", columns=ColumnMapping(category=""))
    understood, warning = caplog.messages
    assert understood.splitlines() == [
        "shop.csv:",
        "  id ← Artikelnummer",
        "  title ← Bezeichnung",
        "    Titel could be it too; if so, name it with --columns.title",
        f"  images ← Bild (paths are relative to {tmp_path})",
        "  price ← Preis (EUR) (decimal sign ',')",
        "  no column for description, category; if there is one, name it, as in --columns.description NAME",
        "  attributes ← brand (Marke)",
        "  not used: Titel, Lager",
    ]
    assert "shop.csv: not one product has an image, though Bild should name them" in warning
    assert "the folder of relative paths is --columns.image_root" in warning
    assert result.having == {"title": 2, "image": 0, "price": 2, "category": 0}
    assert result.catalog.product("1").price == 1299


def test_doubts_about_columns_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [("id", "name", "our special price"), ("1", "4711", "5"), ("1", "4712", "5")]
    with caplog.at_level("INFO", logger="moon2"):
        run(write_csv(tmp_path / "shop.csv", rows), tmp_path / "out")
    assert "of the first 2 ids 1 came before" in caplog.text
    assert "no title of the first 2 has a letter; name the right column with --columns.title" in caplog.text
    assert "price: our special price could be it; name it with --columns.price" in caplog.text
    assert "not one product has an image, because no column was taken for images" in caplog.text


def test_an_empty_column_is_a_doubt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "moon2")
    run(write_csv(tmp_path / "shop.csv", [("sku", "name", "UVP"), (1, "Mat", "k. A.")]), tmp_path / "out")
    assert "UVP is empty in all of the first rows; name another column with --columns.price" in caplog.text


def test_an_empty_column_of_images_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(write_csv(tmp_path / "shop.csv", [("id", "title", "image"), ("1", "Mat", "")]), tmp_path / "out")
    assert "not one product has an image, because image is empty" in caplog.text


def test_a_dry_run_shows_three_products_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], image_bytes: Encode
) -> None:
    (tmp_path / "red.png").write_bytes(image_bytes("red"))
    products = [(i, f"Mat {i}", "Home > Mats", "red", "cheap" if i == 1 else "5", "red.png") for i in range(5)]
    shop = write_csv(tmp_path / "shop.csv", [("sku", "name", "category", "colour", "price", "image"), *products])
    log = write_csv(tmp_path / "log.csv", [("query", "purchased_id", "day"), ("mat", 1, "")])
    before = sorted(tmp_path.rglob("*"))
    command = ["import", shop, "--as", "csv", "--out", tmp_path / "out", "--log", log, "--dry_run"]
    assert main([*map(str, command)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert sorted(tmp_path.rglob("*")) == before
    assert shown[-15:] == [
        "  attributes ← colour",
        "log.csv, the search log:",
        "  text ← query",
        "  positives ← purchased_id",
        "  no column for split: all is for training; `moon2 benchmark build` then makes a test of the catalog",
        "  not used: day",
        "the first products:",
        '  0: "Mat 0", Home > Mats, 5.00, 1 image, colour: red',
        '  1: "Mat 1", Home > Mats, 1 image, colour: red',
        '  2: "Mat 2", Home > Mats, 5.00, 1 image, colour: red',
        "the first queries:",
        '  "mat": positive 1',
        "left out: shop.csv row 2: product '1': price 'cheap' is not a number of at least 0; write it like 1299.50; "
        "the product is kept without its price",
        "of the first 5 rows: 5 products; 0 rows put aside, 1 part dropped (bad_price 1); "
        "products with title 5, image 5, price 4, category 5",
        "nothing was written",
    ]


def test_a_dry_run_shows_queries_and_one_line_for_each_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(i, f"Mat {i}", "auf Anfrage", "gone.png" if i == 4 else "k. A.") for i in range(5)]
    shop = write_csv(tmp_path / "shop.csv", [("sku", "name", "UVP", "Bild"), *rows])
    events = [(0, "Einblendung"), (1, "Bestellung"), (2, "Klick")]
    log = write_csv(
        tmp_path / "log.csv", [("Suchbegriff", "Artikelnr", "Aktion"), *[("rote Matte", *event) for event in events]]
    )
    assert main(["import", str(shop), "--out", str(tmp_path / "out"), "--log", str(log), "--dry_run"]) == 0
    shown = capsys.readouterr().out
    assert '\n  "rote Matte": positive 1; negative 0\n' in shown
    left_out = [line.split("product ")[1] for line in shown.splitlines() if line.startswith("left out")]
    assert [line[: line.index(" (") if " (" in line else 20] for line in left_out] == [
        "'0': price 'auf Anfr",
        "'0': image 1: 'k. A.",
        "'4': image 1",
    ]
