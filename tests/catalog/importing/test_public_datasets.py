"""Fashion200K, M5Product and fashion-products, each from a small copy in its own layout."""

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
from moon2.catalog.importing.json_rows import json_rows
from moon2.catalog.importing.public_datasets import pairs_of, split_of
from moon2.catalog.importing.sources import BadRow
from moon2.catalog.store import CatalogError

Encode = Callable[..., bytes]


def run(source: Path, out: Path, format: str, **settings: Any) -> ImportResult:
    return import_catalog(source, out, format=format, show_progress=False, **settings)


@pytest.fixture
def fashion200k(tmp_path: Path, picture: Encode) -> Path:
    folder = tmp_path / "fashion200k"
    dresses = folder / "women/dresses/casual_and_day_dresses"
    for name in ("51727804/51727804_0.jpeg", "51727804/51727804_1.jpeg", "70000001/70000001_0.jpeg"):
        (dresses / name).parent.mkdir(parents=True, exist_ok=True)
        (dresses / name).write_bytes(picture("green", "JPEG"))
    (folder / "labels").mkdir()
    path = "women/dresses/casual_and_day_dresses"
    lines = {
        "dress_train_detect_all.txt": [
            f"{path}/51727804/51727804_0.jpeg\t-1.5\tgreen linen dress",
            f"{path}/51727804/51727804_1.jpeg\t-0.5\tgreen a-line dress",
            "no tabs here",
            f"{path}/70000001/70000001_1.jpeg\t-0.5\tred dress",
            f"{path}/80000002/80000002_0.jpeg\t-0.5\tdress without its file",
            "loose.jpeg\t-0.5\tdress in no folder",
        ],
        "dress_test_detect_all.txt": [f"{path}/70000001/70000001_0.jpeg\t-0.5\tred dress"],
    }
    for name, rows in lines.items():
        (folder / "labels" / name).write_text("\n".join(rows) + "\n")
    return folder


def test_photos_of_one_folder_are_one_product(tmp_path: Path, fashion200k: Path) -> None:
    result = run(fashion200k, tmp_path / "out", "fashion200k")
    catalog = result.catalog
    assert (catalog.ids("train"), catalog.ids("test")) == (["51727804"], ["70000001"])
    dress = catalog.product("51727804")
    assert len(dress.images) == 2
    # The caption whose photo was detected best is the title.
    assert (dress.title, dress.description) == ("green a-line dress", "green linen dress")
    assert dress.category == ("women", "dresses", "casual and day dresses")
    assert result.reasons == {"bad_row": 2, "in_both_splits": 1, "unreadable_picture": 1}


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"has no labels/\*_train_detect_all\.txt"):
        run(tmp_path, tmp_path / "out", "fashion200k")


def test_m5product_from_an_object_of_objects(tmp_path: Path, picture: Encode) -> None:
    data = tmp_path / "m5"
    (data / "images").mkdir(parents=True)
    (data / "images/11.jpg").write_bytes(picture("navy", "JPEG"))
    items = {
        "11": {"title": "海军蓝衬衫", "pv": "颜色#:#藏青#;#材质#:#棉#;#无值"},
        "12": {"title": "没有图片", "pv": ""},
        "13": {"title": "", "pv": ""},
        "14": "not an object",
    }
    (data / "subset_train_info.json").write_text(json.dumps(items, ensure_ascii=False), encoding="utf-8")
    result = run(data, tmp_path / "out", "m5product")
    shirt = result.catalog.product("11")
    assert shirt.images == (picture("navy", "JPEG"),)
    assert shirt.attributes == {"颜色": "藏青", "材质": "棉"}
    assert result.catalog.product("12").images == ()
    assert result.reasons == {"no_content": 1, "bad_row": 1}


def test_m5product_columns_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("nr,words,kind\n1,Blue shirt,Shirts\n")
    columns = ColumnMapping(id="nr", title="words", category="kind")
    result = run(tmp_path / "test.csv", tmp_path / "out", "m5product", columns=columns)
    assert result.catalog.product("1").category == ("Shirts",)
    assert result.catalog.ids("test") == ["1"]
    with pytest.raises(CatalogError, match=r"which column is the id.*nr, words, kind"):
        run(tmp_path / "test.csv", tmp_path / "other", "m5product")


STYLE = {
    "id": 1163, "gender": "Men", "masterCategory": "Apparel", "subCategory": "Topwear", "articleType": "Tshirts",
    "baseColour": "Blue", "season": "Summer", "year": 2011.0, "usage": "Sports", "productDisplayName": "Nike Tee",
}  # fmt: skip


def test_fashion_products_as_on_the_hub(tmp_path: Path, picture: Encode) -> None:
    image = {"bytes": picture("blue", "JPEG"), "path": None}
    data = tmp_path / "hub/data"
    data.mkdir(parents=True)
    rows = [{**STYLE, "image": image}, {**STYLE, "id": 2, "image": {"bytes": b"broken", "path": None}}]
    pq.write_table(pa.Table.from_pylist(rows), data / "train-00000-of-00001.parquet")
    result = run(tmp_path / "hub", tmp_path / "out", "fashion-products")
    shirt = result.catalog.product("1163")
    assert (shirt.title, shirt.category) == ("Nike Tee", ("Apparel", "Topwear", "Tshirts"))
    assert shirt.attributes["year"] == "2011"
    assert shirt.attributes["baseColour"] == "Blue"
    assert shirt.images == (picture("blue", "JPEG"),)
    assert result.reasons == {"unreadable_picture": 1}


def test_fashion_products_as_first_published(tmp_path: Path, picture: Encode) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/1163.jpg").write_bytes(picture("blue", "JPEG"))
    (tmp_path / "images.csv").write_text("filename,link\n1163.jpg,https://x.example/1163.jpg\n")
    header, values = ",".join(STYLE), ",".join(map(str, STYLE.values()))
    (tmp_path / "styles.csv").write_text(f"{header}\n{values}\n{values}, and a comma\n")
    result = run(tmp_path, tmp_path / "out", "fashion-products")
    assert result.catalog.product("1163").images == (picture("blue", "JPEG"),)
    assert result.reasons == {"bad_row": 1}


@pytest.mark.parametrize("piece", [1, 7, 1 << 16])
@pytest.mark.parametrize("indent", [None, 2])
def test_json_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int, indent: int | None) -> None:
    monkeypatch.setattr("moon2.catalog.importing.json_rows.PIECE_CHARACTERS", piece)
    rows = [{"id": str(number), "title": 'x, [y] {z} \\ " 图' * number, "n": number} for number in range(9)]
    (tmp_path / "list.json").write_text(json.dumps(rows, indent=indent))
    assert list(json_rows(tmp_path / "list.json")) == rows
    (tmp_path / "object.json").write_text(json.dumps({row["id"]: row for row in rows}, indent=indent))
    assert list(json_rows(tmp_path / "object.json")) == rows
    (tmp_path / "lines.json").write_text("\n".join(map(json.dumps, rows)))
    assert list(json_rows(tmp_path / "lines.json")) == rows
    (tmp_path / "cut.json").write_text(json.dumps(rows, indent=indent)[:-30])
    with pytest.raises(CatalogError, match="is not JSON after 8 rows"):
        list(json_rows(tmp_path / "cut.json"))


def test_a_line_that_is_no_json_costs_only_that_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 1}\n[2]\n{"id": \n\n{"id": 3}\n')
    rows = list(json_rows(tmp_path / "a.jsonl"))
    assert [row.reason if isinstance(row, BadRow) else row["id"] for row in rows] == [1, "bad_row", "bad_row", 3]


def test_small_things() -> None:
    assert pairs_of("a:1,,b:x!!!y,,a:2,,c,,:d", ",,", ":", "!!!") == {"a": ["1", "2"], "b": ["x", "y"]}
    found = [split_of(Path(name)) for name in ("data/train-0.parquet", "test/part0.csv", "contest.csv", "dev.json")]
    assert found == ["train", "test", None, "test"]
