"""Importing: a table of any kind becomes a catalog, and a source that cannot is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.imported_tables import run, write_csv

from moon2.catalog import shards
from moon2.catalog.importing.columns import ColumnMapping
from moon2.catalog.importing.log_columns import LogMapping
from moon2.catalog.schema import CatalogError
from moon2.catalog.store import write_catalog
from moon2.records import Interaction, Product, Query

Encode = Callable[..., bytes]


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


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_files_of_spreadsheets_are_read(tmp_path: Path, encoding: str, delimiter: str) -> None:
    text = f'id{delimiter}title\r\n1{delimiter}"Café, ""crème""\nin two lines"\r\n'
    (tmp_path / "shop.csv").write_bytes(text.encode(encoding))
    assert run(tmp_path / "shop.csv", tmp_path / "out").catalog.product("1").title == 'Café, "crème"\nin two lines'


def test_a_folder_or_a_glob_of_tables_is_one_shop(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    for i in range(3):
        write_csv(tmp_path / f"parts/{i}.csv", [("id", "title"), (i, f"Product {i}")])
    assert run(tmp_path / "parts", tmp_path / "folder").catalog.ids() == ["0", "1", "2"]
    assert run(str(tmp_path / "parts/[01].csv"), tmp_path / "glob").catalog.ids() == ["0", "1"]


def test_a_table_without_ids_is_numbered_where_asked(tmp_path: Path) -> None:
    shop = write_csv(tmp_path / "captions.csv", [("caption",), ("a red mug",), ("a blue lamp",)])
    with pytest.raises(CatalogError, match=r"number the rows with --columns\.id ''"):
        run(shop, tmp_path / "out")
    catalog = run(shop, tmp_path / "out", columns=ColumnMapping(id="")).catalog
    assert [(product.id, product.title) for product in catalog.products()] == [
        ("captions-1", "a red mug"),
        ("captions-2", "a blue lamp"),
    ]


def test_a_hub_dataset_keeps_its_splits_and_its_image_files(tmp_path: Path, image_bytes: Encode) -> None:
    features = datasets.Features(id=datasets.Value("int64"), name=datasets.Value("string"), image=datasets.Image())
    for split, id in (("train", 1), ("validation", 2)):
        row = {"id": [id], "name": ["Shirt"], "image": [{"bytes": image_bytes("navy", "JPEG"), "path": None}]}
        datasets.Dataset.from_dict(row, features=features).to_parquet(tmp_path / f"hub/{split}-0.parquet")
    result = run(str(tmp_path / "hub"), tmp_path / "out", layout="hub")
    assert (result.catalog.ids("train"), result.catalog.ids("test")) == (["1"], ["2"])
    assert result.catalog.product("2").images == (image_bytes("navy", "JPEG"),)


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


def test_a_catalog_can_be_imported_again(tmp_path: Path, image_bytes: Encode) -> None:
    (tmp_path / "1.png").write_bytes(image_bytes())
    rows = [("id", "title", "image", "brand"), ("1", "Shirt", "1.png", "Puma")]
    first = run(write_csv(tmp_path / "shop.csv", rows), tmp_path / "first")
    again = run(tmp_path / "first/products", tmp_path / "again", layout="parquet")
    assert list(again.catalog.products()) == list(first.catalog.products())


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
        ("names columns of a search log; give it with --log", "id,title\n", {"log_columns": LogMapping(text="query")}),
        ("--subset is for Excel files", "id,title\n", {"layout": "auto", "subset": "us"}),
        ("--encoding is for text files", "id,title\n", {"layout": "parquet", "encoding": "cp1252"}),
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


@pytest.mark.parametrize(("source", "layout"), [("shop/products/*.parquet", "parquet"), ("shop", "hub")])
def test_a_catalog_is_not_imported_into_its_own_place(tmp_path: Path, source: str, layout: str) -> None:
    write_catalog(tmp_path / "shop", {"train": [Product("1", "Shirt")]}, title="A shop")
    with pytest.raises(CatalogError, match=r"its own source, .*; choose another folder"):
        run(tmp_path / source, tmp_path / "shop", layout=layout, overwrite=True)


def test_a_log_is_not_lost_to_the_catalog_made_with_it(tmp_path: Path) -> None:
    log = {"train": [Interaction(Query("q", "shirt"), ("1",))]}
    shop = write_catalog(tmp_path / "shop", {"train": [Product("1", "Shirt")]}, log, title="A shop")
    products = write_csv(tmp_path / "shop.csv", [("id", "title"), ("1", "Shirt")])
    with pytest.raises(CatalogError, match="holds its own source"):
        run(products, shop.folder, log=shop.folder / "interactions/train.parquet", overwrite=True)
