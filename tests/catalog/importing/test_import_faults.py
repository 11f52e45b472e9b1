"""Importing: a bad row is listed with its reason, and a bad part costs only itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.imported_tables import run, write_csv

from moon2.catalog.store import Catalog

Encode = Callable[..., bytes]


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


def test_a_row_with_too_many_fields_is_listed(tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text("id,title\n1,Shirt, navy\n2,Skirt\n")
    result = run(tmp_path / "shop.csv", tmp_path / "out")
    assert result.catalog.ids() == ["2"]
    assert "shop.csv row 1: line 2 has 3 fields where the header has 2" in result.catalog.rejects()[0].message


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_lists_within_lists_without_end_cost_themselves(tmp_path: Path, ending: str) -> None:
    deep = "[" * 600 + "]" * 600
    lines = {
        "jsonl": [f'{{"id": "1", "title": "Mat", "category": {deep}}}', '{"id": "2", "title": "Lamp"}'],
        "csv": ["id,title,images,category", f"1,Mat,{deep},", "2,Lamp,,"],
    }
    (tmp_path / f"shop.{ending}").write_text("\n".join(lines[ending]))
    result = run(tmp_path / f"shop.{ending}", tmp_path / "out", layout=ending)
    assert "2" in result.catalog.ids() and len(result.catalog.rejects()) == 1


def test_an_id_that_is_an_object_or_a_list_is_none(tmp_path: Path) -> None:
    rows = ['{"id": "1", "title": "Mat"}', '{"id": {"en": "2"}, "title": "Rug"}', '{"id": ["3"], "title": "Pot"}']
    (tmp_path / "p.jsonl").write_text("\n".join(rows))
    catalog = run(tmp_path / "p.jsonl", tmp_path / "out", layout="json").catalog
    assert catalog.ids() == ["1"]
    rejects = catalog.rejects()
    assert [(reject.row, reject.reason) for reject in rejects] == [(2, "no_id"), (3, "no_id")]
    assert "column 'id' holds {'en': '2'}; an id must be a text or a number" in rejects[0].message
