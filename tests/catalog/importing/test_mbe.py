"""MBE in its own layout: products and searches from the same rows, columns of the queries named or guessed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moon2.catalog.importing.columns import ColumnMapping
from moon2.catalog.importing.import_catalog import ImportResult, import_catalog
from moon2.catalog.importing.log_columns import LogMapping
from moon2.catalog.schema import CatalogError
from moon2.cli import main

Encode = Callable[..., bytes]

SHIRT = {
    "id": "a1",
    "doc_title": "男士海军蓝衬衫 纯棉",
    "doc_image": "https://shop.example/a1.jpg",
    "doc_industry_name": "服饰时尚",
    "doc_cate1_name": "男装",
    "doc_cate2_name": "衬衫",
    "doc_cate3_name": "",
    "doc_cate4_name": None,
    "doc_attributes": "颜色:藏青,,尺码:S!!!M!!!L,,材质:,,备注",
}
LAMP = {**SHIRT, "id": "b2", "doc_title": "台灯", "doc_industry_name": "家居", "doc_attributes": ""}


def run(source: Path, out: Path, layout: str = "mbe", **options: Any) -> ImportResult:
    return import_catalog(str(source), out=out, layout=layout, **options)


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def test_products_and_searches_come_from_the_same_rows(tmp_path: Path) -> None:
    data = tmp_path / "MBE" / "data"
    write_parquet(
        data / "train-00000-of-00001.parquet",
        [{**SHIRT, "query": "蓝衬衫"}, {**SHIRT, "query": "纯棉衬衫"}, {**LAMP, "id": "", "query": "灯"}],
    )
    write_parquet(data / "test-00000-of-00001.parquet", [{**LAMP, "query": "台灯"}])
    result = run(tmp_path / "MBE", tmp_path / "out")
    catalog = result.catalog
    assert (catalog.ids("train"), catalog.ids("test")) == (["a1"], ["b2"])
    shirt = catalog.product("a1")
    assert shirt.category == ("服饰时尚", "男装", "衬衫")
    assert shirt.attributes == {"颜色": "藏青", "尺码": "S, M, L"}
    assert shirt.images == ("https://shop.example/a1.jpg",)
    train, [test] = catalog.interactions("train"), catalog.interactions("test")
    assert [(row.query.text, row.positive_ids) for row in train] == [("蓝衬衫", ("a1",)), ("纯棉衬衫", ("a1",))]
    assert (test.query.text, test.positive_ids) == ("台灯", ("b2",))
    # The row without an id has no product, so its search has no positive.
    assert result.reasons == {"no_id": 1, "no_positive": 1}
    assert catalog.licence() == "apache-2.0"
    assert result.unfetched == 2


def test_a_missing_query_column_is_an_error_that_lists_the_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_parquet(tmp_path / "m.parquet", [{**SHIRT, "was_gesucht": "Hemd"}])
    with pytest.raises(CatalogError, match=r"which column is the query\?.*doc_attributes, was_gesucht"):
        run(tmp_path / "m.parquet", tmp_path / "out")
    with pytest.raises(
        CatalogError, match=r"no column 'gesucht', named as text; did you mean 'was_gesucht'\? its columns are id"
    ):
        run(tmp_path / "m.parquet", tmp_path / "out", log_columns=LogMapping(text="gesucht"))
    command = ["import", tmp_path / "m.parquet", "--as", "mbe", "--out", tmp_path / "out", "--log_columns.text"]
    assert main([*map(str, command), "was_gesucht"]) == 0
    assert "1 products, 1 log entries" in capsys.readouterr().out
    assert run(tmp_path / "m.parquet", tmp_path / "alone", log_columns=LogMapping(text="")).interactions == 0


def test_a_missing_product_column_is_named_too(tmp_path: Path) -> None:
    write_parquet(tmp_path / "m.parquet", [{"name_of_it": "x", "query": "y"}])
    with pytest.raises(CatalogError, match=r"which column is the id.*name_of_it, query"):
        run(tmp_path / "m.parquet", tmp_path / "out", columns=ColumnMapping(title="name_of_it"))


def test_json_lines_with_images_and_an_image_query(tmp_path: Path, image_bytes: Encode) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a1.png").write_bytes(image_bytes("navy"))
    (tmp_path / "photos/query.png").write_bytes(image_bytes("blue"))
    rows = [
        {**SHIRT, "doc_image": "photos/a1.png", "query_image": "photos/query.png"},
        {**LAMP, "doc_image": "photos/nowhere.png", "query_image": "photos/query.png"},
        {**LAMP, "id": "c3", "doc_image": "", "query_image": "photos/nowhere.png"},
    ]
    lines = [*(json.dumps(row, ensure_ascii=False) for row in rows), "{broken"]
    (tmp_path / "mbe_test.jsonl").write_text("\n".join(lines), encoding="utf-8")
    result = run(tmp_path / "mbe_test.jsonl", tmp_path / "out")
    assert [search.query.image for search in result.catalog.interactions("test")] == [image_bytes("blue")] * 2
    assert result.catalog.product("a1").images == (image_bytes("navy"),)
    assert result.reasons == {"unreadable_image": 2, "bad_row": 2}


def test_mbe2_rows_with_a_negative(tmp_path: Path) -> None:
    rows = [
        {
            "query": "shirt",
            "pos_id": "1",
            "pos_title": "Blue shirt",
            "neg_title": "Lamp",
            "neg_image": "https://x.example/1",
        },
        {"query": "lamp", "pos_id": "2", "pos_title": "Red lamp", "neg_title": "", "neg_image": ""},
        {
            "query": "blouse",
            "pos_id": "1",
            "pos_title": "Blue shirt",
            "neg_title": "Lamp",
            "neg_image": "https://x.example/1",
        },
    ]
    for row in rows:
        row["pos_image"] = "https://x.example/2"
    write_parquet(tmp_path / "train.parquet", rows)
    result = run(tmp_path / "train.parquet", tmp_path / "out", layout="mbe2")
    assert len(result.catalog) == 3
    first, second, third = result.catalog.interactions("train")
    [lamp] = first.negative_ids
    assert result.catalog.product(lamp).title == "Lamp"
    assert (second.negative_ids, third.negative_ids) == ((), (lamp,))
    assert result.reasons == {}


@pytest.mark.parametrize("first", ["train", "test"])
@pytest.mark.parametrize("stated_by", ["file", "column"])
def test_a_product_of_both_parts_is_a_test_product_in_any_order(tmp_path: Path, first: str, stated_by: str) -> None:
    bag = {**SHIRT, "id": "c3", "doc_title": "Bag"}
    rows = {
        "train": [{**SHIRT, "query": "one"}, {**LAMP, "query": "lamp"}],
        "test": [{**SHIRT, "query": "two"}, {**bag, "query": "bag"}],
    }
    order = [first, *(split for split in rows if split != first)]
    if stated_by == "file":  # files are read in the order of their names
        for place, split in enumerate(order):
            write_parquet(tmp_path / f"mbe/{place}-{split}.parquet", rows[split])
    else:
        write_parquet(tmp_path / "mbe/all.parquet", [{**row, "split": split} for split in order for row in rows[split]])
    result = run(tmp_path / "mbe", tmp_path / "out")
    catalog = result.catalog
    assert (catalog.ids("train"), catalog.ids("test")) == (["b2"], ["a1", "c3"])
    rows = [[(row.query.text, row.positive_ids) for row in catalog.interactions(s)] for s in ("train", "test")]
    assert rows == [[("lamp", ("b2",))], [("two", ("a1",)), ("bag", ("c3",))]]
    # Training must not see a search for a test product.
    assert result.reasons == {"in_both_splits": 1}
    assert "product 'a1' of this training search is a test product" in catalog.rejects()[0].message


def test_exposures_that_were_not_bought_are_negatives(tmp_path: Path) -> None:
    write_parquet(
        tmp_path / "train.parquet",
        [
            {**SHIRT, "query": "shirt", "exposed_ids": ["b2", "a1"]},
            {**LAMP, "query": "lamp", "exposed_ids": ["b2"]},
        ],
    )
    for name, columns in (("guessed", LogMapping()), ("named", LogMapping(negatives="exposed_ids"))):
        result = run(tmp_path / "train.parquet", tmp_path / name, log_columns=columns)
        rows = [(row.positive_ids, row.negative_ids) for row in result.catalog.interactions("train")]
        assert rows == [(("a1",), ("b2",)), (("b2",), ())]
        assert result.reasons == {}


def test_products_without_ids_are_numbered_and_their_negatives_too(tmp_path: Path) -> None:
    rows = [{"doc_title": f"shirt {n}", "neg_doc_title": f"lamp {n}", "query": "shirt"} for n in (1, 2)]
    write_parquet(tmp_path / "train.parquet", rows)
    write_parquet(tmp_path / "test.parquet", [{**rows[0], "doc_title": "", "neg_doc_title": ""}])
    result = run(tmp_path, tmp_path / "out", columns=ColumnMapping(id=""), log_columns=LogMapping(text=""))
    assert sorted(product.title for product in result.catalog.products()) == ["lamp 1", "lamp 2", "shirt 1", "shirt 2"]
    [reject] = result.catalog.rejects()
    assert reject.message.startswith("test.parquet row 1: ")


def test_one_id_with_two_titles_is_listed(tmp_path: Path) -> None:
    write_parquet(tmp_path / "m.parquet", [{**SHIRT, "query": "a"}, {**LAMP, "id": "a1", "query": "b"}])
    assert run(tmp_path / "m.parquet", tmp_path / "out").reasons == {"duplicate_id": 1}
