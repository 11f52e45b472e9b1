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
from moon2.catalog.importing.public_datasets import pairs_of, split_of
from moon2.catalog.schema import CatalogError

Encode = Callable[..., bytes]


def run(source: Path, out: Path, layout: str, **options: Any) -> ImportResult:
    return import_catalog(str(source), out=out, layout=layout, **options)


@pytest.fixture
def fashion200k(tmp_path: Path, image_bytes: Encode) -> Path:
    folder = tmp_path / "fashion200k"
    dresses = folder / "women/dresses/casual_and_day_dresses"
    for name in ("51727804/51727804_0.jpeg", "51727804/51727804_1.jpeg", "70000001/70000001_0.jpeg"):
        (dresses / name).parent.mkdir(parents=True, exist_ok=True)
        (dresses / name).write_bytes(image_bytes("green", "JPEG"))
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
    assert (catalog.ids("train"), catalog.ids("test")) == (["51727804", "80000002"], ["70000001"])
    dress = catalog.product("51727804")
    assert len(dress.images) == 2
    # The title is the caption of the photo with the best detection score.
    assert (dress.title, dress.description) == ("green a-line dress", "green linen dress")
    assert dress.category == ("women", "dresses", "casual and day dresses")
    assert catalog.product("80000002").images == ()
    assert result.reasons == {"bad_row": 2, "in_both_splits": 1, "unreadable_image": 1}
    assert [(reject.row, reject.message.partition(": ")[0]) for reject in catalog.rejects()] == [
        (row, f"dress_train_detect_all.txt row {row}") for row in (3, 4, 6, 5)
    ]


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"has no labels/\*_train_detect_all\.txt"):
        run(tmp_path, tmp_path / "out", "fashion200k")


def test_m5product_from_an_object_of_objects(tmp_path: Path, image_bytes: Encode) -> None:
    data = tmp_path / "m5"
    (data / "images").mkdir(parents=True)
    (data / "images/11.jpg").write_bytes(image_bytes("navy", "JPEG"))
    items = {
        "11": {"title": "海军蓝衬衫", "pv": "颜色#:#藏青#;#材质#:#棉#;#无值"},
        "12": {"title": "没有图片", "pv": ""},
        "13": {"title": "", "pv": ""},
        "14": "not an object",
    }
    (data / "subset_train_info.json").write_text(json.dumps(items, ensure_ascii=False), encoding="utf-8")
    result = run(data, tmp_path / "out", "m5product")
    shirt = result.catalog.product("11")
    assert shirt.images == (image_bytes("navy", "JPEG"),)
    assert shirt.attributes == {"颜色": "藏青", "材质": "棉"}
    assert result.catalog.product("12").images == ()
    assert result.reasons == {"no_content": 1, "bad_row": 1}


def test_rows_of_several_files_are_listed_by_their_own_file(tmp_path: Path) -> None:
    for name, rows in (("x", "1,Shirt\n1,Again\n"), ("y", "2,Skirt\n3,Mat,red\n")):
        (tmp_path / "m5" / name).mkdir(parents=True)
        (tmp_path / "m5" / name / "train.csv").write_text(f"id,title\n{rows}")
    result = run(tmp_path / "m5", tmp_path / "out", "m5product")
    again, broken = result.catalog.rejects()
    assert again.row == broken.row == 2
    assert again.message.startswith("x/train.csv row 2: product '1': an earlier row has this id")
    assert broken.message.startswith("y/train.csv row 2: line 3 has 3 fields where the header has 2")


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


def test_fashion_products_as_on_the_hub(tmp_path: Path, image_bytes: Encode) -> None:
    image = {"bytes": image_bytes("blue", "JPEG"), "path": None}
    data = tmp_path / "hub/data"
    data.mkdir(parents=True)
    rows = [{**STYLE, "image": image}, {**STYLE, "id": 2, "image": {"bytes": b"broken", "path": None}}]
    pq.write_table(pa.Table.from_pylist(rows), data / "train-00000-of-00001.parquet")
    result = run(tmp_path / "hub", tmp_path / "out", "fashion-products")
    shirt = result.catalog.product("1163")
    assert (shirt.title, shirt.category) == ("Nike Tee", ("Apparel", "Topwear", "Tshirts"))
    assert shirt.attributes["year"] == "2011"
    assert shirt.attributes["baseColour"] == "Blue"
    assert shirt.images == (image_bytes("blue", "JPEG"),)
    assert result.reasons == {"unreadable_image": 1}


def test_fashion_products_as_first_published(tmp_path: Path, image_bytes: Encode) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/1163.jpg").write_bytes(image_bytes("blue", "JPEG"))
    (tmp_path / "images.csv").write_text("filename,link\n1163.jpg,https://x.example/1163.jpg\n")
    header, values = ",".join(STYLE), ",".join(map(str, STYLE.values()))
    (tmp_path / "styles.csv").write_text(f"{header}\n{values}\n{values}, and a comma\n")
    result = run(tmp_path, tmp_path / "out", "fashion-products")
    assert result.catalog.product("1163").images == (image_bytes("blue", "JPEG"),)
    assert result.reasons == {"bad_row": 1}


def test_pairs_of_a_text() -> None:
    assert pairs_of("a:1,,b:x!!!y,,a:2,,c,,:d", ",,", ":", "!!!") == {"a": ["1", "2"], "b": ["x", "y"]}


def test_the_split_of_a_file_name() -> None:
    splits = [split_of(Path(name)) for name in ("data/train-0.parquet", "test/part0.csv", "contest.csv", "dev.json")]
    assert splits == ["train", "test", None, "test"]
