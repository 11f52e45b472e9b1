"""Several files as one table: each row has the photos of its own folder, and is listed by its own file."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.imported_tables import run, write_csv

from moon2.catalog.importing.columns import ColumnMapping

Encode = Callable[..., bytes]
Row = dict[str, str]
COLOURS = {"a": "red", "b": "blue"}


def write(path: Path, rows: list[Row]) -> None:
    """A table of the layout that the ending says."""
    if path.suffix == ".csv":
        write_csv(path, [list(rows[0]), *(list(row.values()) for row in rows)])
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".xlsx":
        workbook = pytest.importorskip("openpyxl").Workbook()
        for cells in (list(rows[0]), *(list(row.values()) for row in rows)):
            workbook.active.append(cells)
        workbook.save(path)
    else:
        path.write_text("\n".join(map(json.dumps, rows)))


@pytest.fixture
def folders(tmp_path: Path, image_bytes: Encode) -> Path:
    """Two folders with a photo of the same name."""
    for name, colour in COLOURS.items():
        (tmp_path / f"export/{name}/im").mkdir(parents=True)
        (tmp_path / f"export/{name}/im/1.png").write_bytes(image_bytes(colour))
    return tmp_path / "export"


@pytest.mark.parametrize("layout", ["csv", "parquet", "json", "jsonl", "xlsx"])
def test_relative_images_begin_at_the_folder_of_their_own_file(
    tmp_path: Path, folders: Path, layout: str, image_bytes: Encode, caplog: pytest.LogCaptureFixture
) -> None:
    for name, colour in COLOURS.items():
        row = {"id": name, "title": f"{colour} mat", "image": "im/1.png"}
        write(folders / f"{name}/products.{layout}", [row, {**row, "title": "again"}])
    caplog.set_level("INFO", "moon2")
    for source in (folders, folders / f"*/products.{layout}"):
        result = run(source, tmp_path / "out", layout=layout, overwrite=True)
        images = {product.id: product.images for product in result.catalog.products()}
        assert images == {name: (image_bytes(colour),) for name, colour in COLOURS.items()}
        # Files of the same name are told apart by their folders.
        assert [(reject.row, reject.message.partition(": ")[0]) for reject in result.catalog.rejects()] == [
            (2, f"a/products.{layout} row 2"),
            (2, f"b/products.{layout} row 2"),
        ]
    assert "images ← image (paths are relative to the folder of each file)" in caplog.text


def test_a_folder_of_images_that_is_named_is_that_of_all_files(
    tmp_path: Path, folders: Path, image_bytes: Encode
) -> None:
    for name in COLOURS:
        write(folders / f"{name}/products.csv", [{"id": name, "title": "mat", "image": "im/1.png"}])
    result = run(folders, tmp_path / "out", columns=ColumnMapping(image_root=folders / "a"))
    assert [product.images for product in result.catalog.products()] == 2 * [(image_bytes("red"),)]


def test_photos_of_a_log_begin_at_the_folder_of_their_own_file(
    tmp_path: Path, folders: Path, image_bytes: Encode
) -> None:
    shop = write_csv(tmp_path / "shop.csv", [("id", "title"), (1, "Mat")])
    for long, row in (("long", {"product_id": "1", "event": "purchase"}), ("wide", {"purchased_ids": "1"})):
        for name in COLOURS:
            write(folders / f"{name}/{long}.csv", [{"query_image": "im/1.png", **row}])
        result = run(shop, tmp_path / "out", log=folders / f"*/{long}.csv", overwrite=True)
        log = result.catalog.interactions("train")
        assert [it.query.image for it in log] == [image_bytes(colour) for colour in COLOURS.values()]
        assert [it.query.id for it in log] == ["export-1", "export-2"]


@pytest.mark.parametrize("layout", ["csv", "parquet", "jsonl", "xlsx"])
def test_a_row_is_listed_by_its_own_file_and_its_row_there(tmp_path: Path, layout: str) -> None:
    (tmp_path / "parts").mkdir()
    for n, ids in enumerate((("1", "2"), ("2", "3"), ("4", "")), start=1):
        write(tmp_path / f"parts/p-{n}.{layout}", [{"id": id, "title": f"Mat {id}", "price": "?"} for id in ids])
    result = run(tmp_path / "parts", tmp_path / "out", layout=layout, columns=ColumnMapping(price=""))
    assert result.catalog.ids() == ["1", "2", "3", "4"]
    assert [(reject.row, reject.message.partition(": ")[0]) for reject in result.catalog.rejects()] == [
        (1, f"p-2.{layout} row 1"),
        (2, f"p-3.{layout} row 2"),
    ]


def test_a_row_that_cannot_be_read_is_listed_by_its_own_file(tmp_path: Path) -> None:
    texts = {"csv": "id,title\n{0}1,Mat\n\n{0}2,Mat,red\n", "jsonl": '{{"id": "{0}1", "title": "Mat"}}\n{{broken\n'}
    for layout, text in texts.items():
        for name in ("a", "b"):
            (tmp_path / layout / name).mkdir(parents=True)
            (tmp_path / layout / name / f"p.{layout}").write_text(text.format(name))
        result = run(tmp_path / layout, tmp_path / f"out-{layout}", layout=layout)
        fault = "line 4 has 3 fields" if layout == "csv" else "line 2 is not JSON"
        first, second = result.catalog.rejects()
        assert first.row == second.row == 2
        assert first.message.startswith(f"a/p.{layout} row 2: {fault}")
        assert second.message.startswith(f"b/p.{layout} row 2: {fault}")


def test_rows_of_an_export_are_listed_by_their_own_file(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    for n in (1, 2):
        rows = [{"Handle": f"h{n}", "Title": "Cap", "Variant Price": "5"}, {"Handle": "", "Title": "?"}]
        with (tmp_path / f"shop/{n}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    result = run(tmp_path / "shop", tmp_path / "out", layout="shopify")
    assert sorted((reject.row, reject.message.partition(": ")[0]) for reject in result.catalog.rejects()) == [
        (2, "1.csv row 2"),
        (2, "2.csv row 2"),
    ]


@pytest.mark.parametrize("layout", ["csv", "parquet", "jsonl", "xlsx"])
def test_numbered_ids_are_one_sequence_over_all_files(tmp_path: Path, layout: str) -> None:
    (tmp_path / "parts").mkdir()
    for name in ("x", "y"):
        write(tmp_path / f"parts/{name}.{layout}", [{"title": f"{name}{n}", "colour": "red"} for n in (1, 2)])
    columns = ColumnMapping(id="")
    catalog = run(tmp_path / "parts", tmp_path / "all", layout=layout, columns=columns).catalog
    assert [(product.id, product.title) for product in catalog.products()] == [
        ("parts-1", "x1"),
        ("parts-2", "x2"),
        ("parts-3", "y1"),
        ("parts-4", "y2"),
    ]
    one = run(tmp_path / f"parts/y.{layout}", tmp_path / "one", layout=layout, columns=columns).catalog
    assert one.ids() == ["y-1", "y-2"]
