"""Importing: good rows become a catalog, bad ones are listed with a reason, and a killed import leaves nothing."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moon2.catalog import shards
from moon2.catalog.importing.columns import ColumnMapping
from moon2.catalog.importing.import_catalog import ImportResult, import_catalog
from moon2.catalog.importing.log_columns import LogMapping
from moon2.catalog.schema import CatalogError
from moon2.catalog.store import Catalog
from moon2.cli import main
from moon2.files import FolderInUseError, exclusive_lock

Encode = Callable[..., bytes]


def write_csv(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def run(source: Path | str, out: Path, **options: Any) -> ImportResult:
    return import_catalog(str(source), out=out, **{"layout": "csv", **options})


def test_a_csv_with_image_files_becomes_a_catalog(tmp_path: Path, image_bytes: Encode) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/1.jpg").write_bytes(image_bytes("navy", "JPEG"))
    table = write_csv(
        tmp_path / "shop.csv",
        [
            ("sku", "name", "category", "brand", "price", "image", "split"),
            ("1", "Navy shirt", "Apparel > Shirts", "Puma", "₹ 1,299", "photos/1.jpg", "train"),
            ("2", "Lamp", "Home > Lamps", "", "", "https://shop.example/2.jpg", "dev"),
        ],
    )
    result = run(table, tmp_path / "out")
    assert (result.products, result.rejected, result.dropped, result.reasons) == (2, 0, 0, {})
    shirt, lamp = result.catalog.product("1"), result.catalog.product("2")
    assert (shirt.title, shirt.category, shirt.price) == ("Navy shirt", ("Apparel", "Shirts"), 1299.0)
    assert shirt.attributes == {"brand": "Puma"}
    assert shirt.images == (image_bytes("navy", "JPEG"),)
    assert lamp.images == ("https://shop.example/2.jpg",)
    assert result.catalog.ids("test") == ["2"]
    assert str(result).splitlines() == [
        f"{tmp_path / 'out'}: 2 products, 0 log entries; nothing was put aside",
        "  products with title 2, image 2, price 1, category 2",
    ]


def test_image_files_may_stay_where_they_are(tmp_path: Path, image_bytes: Encode) -> None:
    (tmp_path / "1.png").write_bytes(image_bytes())
    table = write_csv(tmp_path / "shop.csv", [("id", "image"), ("1", "1.png")])
    result = run(table, tmp_path / "out", refer=True)
    assert result.catalog.product("1").images == (str(tmp_path / "1.png"),)


@pytest.mark.parametrize(
    ("reason", "row"),
    [
        ("no_id", {"id": "", "title": "Shirt"}),
        ("no_content", {"id": "1", "title": " "}),
        ("duplicate_id", {"id": "good", "title": "Skirt"}),
        ("text_too_long", {"id": "1", "title": "x" * 2_001}),
        ("broken_encoding", {"id": "1", "title": "caf\ufffd"}),
        ("bad_split", {"id": "1", "title": "Shirt", "split": "holdout"}),
        ("no_id", {"id": "NULL", "title": "Shirt"}),
        ("no_title", {"id": "1", "title": "nan"}),
        ("unreadable_image", {"id": "1", "images": [b"not an image"]}),
        ("unreadable_image", {"id": "1", "images": [b""]}),
    ],
)
def test_a_bad_row_is_put_aside_with_its_reason(tmp_path: Path, reason: str, row: dict[str, Any]) -> None:
    empty = {"title": "", "price": "", "split": "", "images": []}
    pq.write_table(
        pa.Table.from_pylist([{**empty, "id": "good", "title": "Good"}, {**empty, **row}]), tmp_path / "p.pq"
    )
    result = run(tmp_path / "p.pq", tmp_path / "out", layout="parquet")
    assert (result.products, result.rejected, result.reasons) == (1, 1, {reason: 1})
    [reject] = Catalog.open(tmp_path / "out").rejects()
    assert (reject.row, reject.dropped, reject.reason) == (2, "row", reason)
    assert reject.message.startswith("p.pq row 2: ")
    assert "\n" not in reject.message


def test_a_truncated_image_is_unreadable(tmp_path: Path, image_bytes: Encode) -> None:
    whole = image_bytes("navy", "JPEG", (200, 200))
    (tmp_path / "good.jpg").write_bytes(whole)
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    rows = [("id", "image"), ("1", "good.jpg"), ("2", "cut.jpg"), ("3", "nowhere.jpg")]
    result = run(write_csv(tmp_path / "shop.csv", rows), tmp_path / "out")
    assert result.catalog.ids() == ["1"]
    assert result.reasons == {"unreadable_image": 2}
    assert "nowhere.jpg): there is no such file" in result.catalog.rejects()[1].message


def test_an_image_that_is_not_there_costs_neither_the_product_nor_its_log_rows(
    tmp_path: Path, image_bytes: Encode
) -> None:
    (tmp_path / "red.png").write_bytes(image_bytes("red"))
    images = [
        "red.png",
        "gone.png",
        "no_selection",
        "NULL",
        "-",
        "../red.png",
        "https://shop.example/1.png",
        "",
        "pipe.png",
    ]
    os.mkfifo(tmp_path / "pipe.png")
    shop = [
        ("id", "title", "image"),
        *((i, f"Shirt {i}", image) for i, image in enumerate(images)),
        ("x", "", "gone.png"),
    ]
    log = [("query", "purchased_ids"), *((f"shirt {i}", i) for i in range(len(images)))]
    log_path = write_csv(tmp_path / "log.csv", log)
    result = run(write_csv(tmp_path / "shop.csv", shop), tmp_path / "out", log=log_path)
    assert (result.products, result.interactions, result.rejected, result.dropped) == (9, 9, 1, 6)
    assert [len(product.images) for product in result.catalog.products()] == [1, 0, 0, 0, 0, 0, 1, 0, 0]
    rejects = {reject.id: reject for reject in result.catalog.rejects()}
    assert {id: (reject.dropped, reject.reason) for id, reject in rejects.items()} == {
        "1": ("image", "unreadable_image"),
        **dict.fromkeys(("2", "3", "4"), ("image", "no_image")),
        "5": ("image", "image_outside"),
        "8": ("image", "unreadable_image"),
        "x": ("row", "unreadable_image"),
    }
    assert "gone.png): there is no such file; the product is kept without it" in rejects["1"].message
    assert "pipe.png): is a pipe or a device" in rejects["8"].message


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


def test_a_query_that_was_only_clicked_says_what_would_make_it_an_answer(tmp_path: Path) -> None:
    shop = write_csv(tmp_path / "shop.csv", [("sku", "name"), (1, "Mat"), (2, "Lamp")])
    log = write_csv(
        tmp_path / "log.csv",
        [("query", "product_id", "action"), ("mat", 1, "click"), ("mat", 2, "impression"), ("lamp", 2, "purchase")],
    )
    result = run(shop, tmp_path / "out", log=log)
    (reject,) = result.catalog.rejects()
    assert reject.message.endswith(
        "1 of its 2 products clicked and none bought; --log_columns.click_is positive makes a click an answer"
    )


def test_a_table_without_ids_is_numbered_where_asked(tmp_path: Path) -> None:
    shop = write_csv(tmp_path / "captions.csv", [("caption",), ("a red mug",), ("a blue lamp",)])
    with pytest.raises(CatalogError, match=r"number the rows with --columns\.id ''"):
        run(shop, tmp_path / "out")
    catalog = run(shop, tmp_path / "out", columns=ColumnMapping(id="")).catalog
    assert [(product.id, product.title) for product in catalog.products()] == [
        ("captions-1", "a red mug"),
        ("captions-2", "a blue lamp"),
    ]


def test_an_empty_column_is_a_doubt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "moon2")
    run(write_csv(tmp_path / "shop.csv", [("sku", "name", "UVP"), (1, "Mat", "k. A.")]), tmp_path / "out")
    assert "UVP is empty in all of the first rows; name another column with --columns.price" in caplog.text


@pytest.mark.parametrize("layout", ["parquet", "hub"])
def test_classes_of_a_hub_table_are_named(tmp_path: Path, layout: str) -> None:
    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["mug", "lamp"]),
        }
    )
    rows = {"id": ["a", "b", "c"], "text": ["red mug", "blue lamp", "thing"], "label": [0, 1, -1]}
    folder = tmp_path / "captions"
    folder.mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(folder / "train-0.parquet"))
    catalog = run(folder, tmp_path / "out", layout=layout, columns=ColumnMapping(category="label")).catalog
    assert [product.category for product in catalog.products()] == [("mug",), ("lamp",), ()]


def test_files_named_after_splits_are_one_table_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "captions"
    folder.mkdir()
    for name in ("train-0", "test-0"):
        pq.write_table(pa.table({"id": [name], "title": ["Mat"]}), folder / f"{name}.parquet")
    assert run(folder, tmp_path / "out", layout="parquet").products == 2
    assert "its files are named after splits, which --as hub keeps" in caplog.text


def test_a_fault_in_one_image_or_the_description_costs_only_that(tmp_path: Path, image_bytes: Encode) -> None:
    navy, red = image_bytes("navy"), image_bytes("red")
    rows = [
        {"id": "1", "title": "Shirt", "images": [navy, b"broken", red], "description": "fine"},
        {"id": "2", "title": "Skirt", "images": [red], "description": "caf\ufffd"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "shop.parquet")
    result = run(tmp_path / "shop.parquet", tmp_path / "out", layout="parquet")
    assert (result.products, result.rejected, result.dropped) == (2, 0, 2)
    assert result.catalog.product("1").images == (navy, red)
    assert result.catalog.product("2").description == ""
    first, second = result.catalog.rejects()
    assert (first.row, first.id, first.dropped, first.reason) == (1, "1", "image", "unreadable_image")
    assert "image 2" in first.message and first.message.endswith("kept without it")
    assert (second.reason, second.dropped, second.id) == ("broken_encoding", "field", "2")


def test_rows_with_broken_bytes_are_listed_and_the_others_imported(tmp_path: Path) -> None:
    lines = ["id,title", "1,Kräftig", "2,Café au lait", "3,Größe"]
    (tmp_path / "shop.csv").write_bytes("\n".join(lines).encode().replace("é".encode(), b"\xc3"))
    result = run(tmp_path / "shop.csv", tmp_path / "out")
    assert result.catalog.ids() == ["1", "3"]
    assert result.reasons == {"broken_encoding": 1}
    assert "save the source as UTF-8" in result.catalog.rejects()[0].message


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_files_of_spreadsheets_are_read(tmp_path: Path, encoding: str, delimiter: str) -> None:
    text = f'id{delimiter}title\r\n1{delimiter}"Café, ""crème""\nin two lines"\r\n'
    (tmp_path / "shop.csv").write_bytes(text.encode(encoding))
    assert run(tmp_path / "shop.csv", tmp_path / "out").catalog.product("1").title == 'Café, "crème"\nin two lines'


def test_a_row_with_too_many_fields_is_listed(tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text("id,title\n1,Shirt, navy\n2,Skirt\n")
    result = run(tmp_path / "shop.csv", tmp_path / "out")
    assert result.catalog.ids() == ["2"]
    assert "shop.csv line 2: has 3 fields where the header has 2" in result.catalog.rejects()[0].message


def test_a_folder_or_a_glob_of_tables_is_one_shop(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    for i in range(3):
        write_csv(tmp_path / f"parts/{i}.csv", [("id", "title"), (i, f"Product {i}")])
    assert run(tmp_path / "parts", tmp_path / "folder").catalog.ids() == ["0", "1", "2"]
    assert run(str(tmp_path / "parts/[01].csv"), tmp_path / "glob").catalog.ids() == ["0", "1"]


def test_a_hub_dataset_keeps_its_splits_and_its_image_files(tmp_path: Path, image_bytes: Encode) -> None:
    features = datasets.Features(id=datasets.Value("int64"), name=datasets.Value("string"), image=datasets.Image())
    for split, id in (("train", 1), ("validation", 2)):
        row = {"id": [id], "name": ["Shirt"], "image": [{"bytes": image_bytes("navy", "JPEG"), "path": None}]}
        datasets.Dataset.from_dict(row, features=features).to_parquet(tmp_path / f"hub/{split}-0.parquet")
    result = run(str(tmp_path / "hub"), tmp_path / "out", layout="hub")
    assert (result.catalog.ids("train"), result.catalog.ids("test")) == (["1"], ["2"])
    assert result.catalog.product("2").images == (image_bytes("navy", "JPEG"),)


def test_a_catalog_can_be_imported_again(tmp_path: Path, image_bytes: Encode) -> None:
    (tmp_path / "1.png").write_bytes(image_bytes())
    rows = [("id", "title", "image", "brand"), ("1", "Shirt", "1.png", "Puma")]
    first = run(write_csv(tmp_path / "shop.csv", rows), tmp_path / "first")
    again = run(tmp_path / "first/products", tmp_path / "again", layout="parquet")
    assert list(again.catalog.products()) == list(first.catalog.products())


def test_a_log_becomes_interactions(tmp_path: Path) -> None:
    shop = write_csv(tmp_path / "shop.csv", [("id", "title"), *((f"p{i}", f"Product {i}") for i in range(4))])
    log = write_csv(
        tmp_path / "log.csv",
        [
            ("query", "photo", "bought", "ignored", "split"),
            ("navy shirt", "", "p0", "p1 p2", ""),
            ("", "p3", "p0;p1", "", "test"),
            ("gone", "", "p9", "p1", ""),
            ("nothing bought", "", "", "p1", ""),
            ("contradiction", "", "p1", "p1", ""),
            ("part gone", "p0", "p1", "p9 p2", ""),
            ("photo gone", "p9", "p1", "", ""),
            ("", "", "p1", "", ""),
        ],
    )
    columns = LogMapping(product_id="photo", positives="bought", negatives="ignored")
    result = run(shop, tmp_path / "out", log=log, log_columns=columns)
    train, test = result.catalog.interactions("train"), result.catalog.interactions("test")
    rows = [(i.query.text, i.query.product_id, i.positive_ids, i.negative_ids) for i in (*train, *test)]
    assert rows == [
        ("navy shirt", None, ("p0",), ("p1", "p2")),
        ("part gone", "p0", ("p1",), ("p2",)),
        ("photo gone", None, ("p1",), ()),
        ("", "p3", ("p0", "p1"), ()),
    ]
    assert (result.interactions, result.rejected, result.dropped) == (4, 4, 2)
    assert result.reasons == {"unknown_product": 3, "no_positive": 1, "positive_is_negative": 1, "no_content": 1}
    assert [(reject.row, reject.dropped, reject.reason) for reject in result.catalog.rejects()] == [
        (3, "row", "unknown_product"),
        (4, "row", "no_positive"),
        (5, "row", "positive_is_negative"),
        (6, "product_id", "unknown_product"),
        (7, "image", "unknown_product"),
        (8, "row", "no_content"),
    ]


@pytest.mark.parametrize(
    "columns",
    [LogMapping(), LogMapping(positives="purchases", negatives="exposures"), LogMapping(exposures="exposures")],
)
def test_exposures_that_were_not_bought_are_negatives(tmp_path: Path, columns: LogMapping) -> None:
    shop = write_csv(tmp_path / "shop.csv", [("id", "title"), *((f"p{i}", f"Product {i}") for i in range(4))])
    rows = [
        ("query", "exposures", "purchases"),
        ("navy shirt", "p0 p1 p2", "p1"),
        ("lamp", "p3", "p3"),
        ("part gone", "p9 p1 p8 p2", "p8 p2"),
    ]
    result = run(shop, tmp_path / "out", log=write_csv(tmp_path / "log.csv", rows), log_columns=columns)
    rows = [(i.query.text, i.positive_ids, i.negative_ids) for i in result.catalog.interactions("train")]
    assert rows == [("navy shirt", ("p1",), ("p0", "p2")), ("lamp", ("p3",), ()), ("part gone", ("p2",), ("p1",))]
    assert (result.rejected, result.reasons) == (0, {"unknown_product": 2})


@pytest.mark.parametrize(
    ("message", "content", "options"),
    [
        (
            r"has no column 'tittle', named as title; did you mean 'title'\? its columns are id, title",
            "id,title\n",
            {"columns": ColumnMapping(title="tittle")},
        ),
        ("no product could be used; the table has no rows", "id,title\n", {}),
        (r"no product could be used; the first: shop\.csv row 1: product '1': has neither", "id,title\n1,\n", {}),
        ("is empty; its first line must name the columns", "", {}),
        ("cannot be read as Parquet", "id,title\n", {"layout": "parquet"}),
        ("there is no layout 'xml'; single tables are csv, parquet", "", {"layout": "xml"}),
        (r"log\.csv: there is no such file", "id,title\n1,Shirt\n", {"log": Path("log.csv")}),
        ("--fetch puts images into the catalog, --refer", "id,title\n", {"fetch": True, "refer": True}),
        ("--allow_private_hosts is for downloads; add --fetch", "id,title\n", {"allow_private_hosts": True}),
    ],
)
def test_a_source_that_cannot_be_imported_is_an_error_of_one_line(
    tmp_path: Path, message: str, content: str, options: dict[str, Any]
) -> None:
    (tmp_path / "shop.csv").write_text(content)
    with pytest.raises(CatalogError, match=message) as refused:
        run(tmp_path / "shop.csv", tmp_path / "out", **options)
    assert "\n" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["shop.csv"]


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"nowhere\.csv: there is no such file"):
        run(tmp_path / "nowhere.csv", tmp_path / "out")


def test_the_command_needs_one_usable_row_of_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop = write_csv(tmp_path / "shop.csv", [("id", "title"), (1, "navy shirt"), (2, "red bag")])
    log = write_csv(tmp_path / "log.csv", [("query", "purchased_id"), ("shirt", 8), ("bag", 9)])
    out = tmp_path / "out"
    assert main(["import", str(shop), "--as", "csv", "--out", str(out), "--log", str(log)]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"not one row of the log could be used; {out / 'rejects.parquet'} says why" in line
    assert "the 2 products are imported" in line and len(Catalog.open(out)) == 2


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_import_leaves_no_catalog_and_the_next_one_works(
    tmp_path: Path, image_bytes: Encode, how: signal.Signals
) -> None:
    (tmp_path / "1.jpg").write_bytes(image_bytes("navy", "JPEG", (1_000, 1_000)))
    table = write_csv(tmp_path / "shop.csv", [("id", "image"), *((i, "1.jpg") for i in range(2_000))])
    # Under a shell that runs the tests in its background, every process ignores SIGINT.
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from moon2.cli import main; sys.exit(main(['import', sys.argv[1], '--as', 'csv', '--out', sys.argv[2]]))"
    )
    importing = subprocess.Popen([sys.executable, "-c", program, table, tmp_path / "out"], stderr=subprocess.DEVNULL)
    while not (tmp_path / ".out.partial").exists() and importing.poll() is None:
        time.sleep(0.01)
    time.sleep(0.2)
    os.kill(importing.pid, how)
    assert importing.wait() != 0
    assert not (tmp_path / "out").exists()
    write_csv(table, [("id", "image"), ("1", "1.jpg")])
    assert run(table, tmp_path / "out").products == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.jpg", "out", "shop.csv"]


def test_large_images_are_written_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image_bytes: Encode
) -> None:
    image = image_bytes("navy", "BMP", (50, 20))
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 4 * len(image))
    rows = [{"id": str(i), "images": [image]} for i in range(20)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "shop.parquet")
    run(tmp_path / "shop.parquet", tmp_path / "out", layout="parquet")
    written = pq.ParquetFile(tmp_path / "out/products/train-00000.parquet").metadata
    assert [written.row_group(group).num_rows for group in range(written.num_row_groups)] == [4] * 5


def test_a_second_import_into_a_folder_is_refused(tmp_path: Path) -> None:
    run(write_csv(tmp_path / "shop.csv", [("id", "title"), (1, "Shirt")]), tmp_path / "out")
    with exclusive_lock(tmp_path / "out", "`moon2 import`"):
        with pytest.raises(FolderInUseError, match="out: another `moon2 import` is writing it"):
            run(tmp_path / "shop.csv", tmp_path / "out", overwrite=True)
        with pytest.raises(CatalogError, match=r"out: holds a catalog already; .* add --overwrite"):
            run(tmp_path / "shop.csv", tmp_path / "out")
    assert Catalog.open(tmp_path / "out").ids() == ["1"]


def test_a_full_disk_ends_in_one_line_and_leaves_what_was_there(tmp_path: Path, image_bytes: Encode) -> None:
    run(write_csv(tmp_path / "shop.csv", [("id", "title"), (1, "Shirt")]), tmp_path / "out")
    # Files of at most so many bytes stand for the disk: too little for a row group, for the last one, for the footer.
    images = [image_bytes("navy", "BMP", (80, 80)) for _ in range(40)]
    rows = [{"id": str(i), "title": "Shirt", "images": [image]} for i, image in enumerate(images)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "new.parquet")
    program = (
        "import resource, sys; from moon2.catalog import shards; from moon2.cli import main;"
        "shards.ROW_GROUP_BYTES = 200_000; limits = map(int, sys.argv[3:]);"
        "codes = [resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY)) or"
        " main(['import', sys.argv[1], '--out', sys.argv[2], '--overwrite']) for limit in limits]; print(codes)"
    )
    whole = 40 * len(images[0])
    limits = [1_000, whole // 2, whole - 100, whole + 300]
    command = [sys.executable, "-c", program, tmp_path / "new.parquet", tmp_path / "out", *map(str, limits)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[2, 2, 2, 2]", done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("moon2: ")]
    assert len(lines) == 4 and "Traceback" not in done.stderr and "ignored" not in done.stderr
    assert f"{tmp_path / 'out'}: cannot be written (file too large); make room, or choose another folder" in lines[0]
    assert Catalog.open(tmp_path / "out").ids() == ["1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.parquet", "out", "shop.csv"]
