"""`moon2 predict` on a generated shop: its files, and what it refuses."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.coloured_shop import PhraseReader

from moon2.catalog.store import Catalog, write_catalog
from moon2.errors import UserError
from moon2.search.labelled_products import LabelledProducts, Part, read_labelled_products
from moon2.search.predict import predict, predict_tasks
from moon2.search.tables import TableError, write_table
from moon2.vectors.embed_catalog import embed


@pytest.fixture(scope="module")
def vectors(small_encoder_folder: Path, generated_shop: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("vectors") / "shop"
    embed(str(small_encoder_folder), data=generated_shop.folder, out=out, what="products")
    return out


def rows_of(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text(encoding="utf-8-sig").splitlines()))


def test_every_product_has_its_label_a_prediction_and_a_confidence(
    small_encoder_folder: Path, generated_shop: Catalog, vectors: Path, tmp_path: Path
) -> None:
    out, model = tmp_path / "labels.csv", str(small_encoder_folder)
    result = predict(model, data=generated_shop.folder, out=out, vectors=vectors, attributes=("colour",))
    rows, products = rows_of(out), list(generated_shop.products())
    assert [row["id"] for row in rows] == [product.id for product in products]
    assert [row["class"] for row in rows] == [product.category[-1] for product in products]
    assert [row["colour"] for row in rows] == [product.attributes["colour"] for product in products]
    assert {row["class_predicted"] for row in rows} <= {product.category[-1] for product in products}
    assert all(0 <= float(row["colour_confidence"]) <= 1 for row in rows)
    assert {row["part"] for row in rows} == {"learned", "calibration", "held out"}
    assert "neighbours" in str(result) and f"{out}: predictions of {len(products)} products" in str(result)

    # Embedded now, stored as Parquet: the same predictions, blank where they are less sure.
    again = tmp_path / "again.parquet"
    predict(model, data=generated_shop.folder, out=again, attributes=("colour",), at_least=0.3)
    table = pq.read_table(again).to_pylist()
    for row, other in zip(rows, table, strict=True):
        assert float(row["class_confidence"]) == pytest.approx(other["class_confidence"], abs=1e-3)
        is_sure = other["class_confidence"] >= 0.3
        assert other["class_predicted"] == (row["class_predicted"] if is_sure else None)
    assert (tmp_path / "again-doubtful.parquet").exists()


def test_copies_of_a_product_play_one_part(generated_shop: Catalog, tmp_path: Path) -> None:
    products = [product for product in generated_shop.products() if product.images]
    copies = [replace(product, id=f"{product.id}-again", title="another name") for product in products[:40]]
    catalog = write_catalog(tmp_path / "shop", {"train": [*products, *copies]}, title="shop")
    shop = read_labelled_products(catalog)
    assert shop.groups[len(products) :] == shop.groups[:40]
    assert shop.parts[len(products) :] == shop.parts[:40]
    assert {"learned", "calibration", "held out"} == set(shop.parts)


def test_an_attribute_called_class_is_a_task_beside_the_category(generated_shop: Catalog, tmp_path: Path) -> None:
    products = [
        replace(product, attributes={"class": "AB"[number % 2]})
        for number, product in enumerate(generated_shop.products())
    ]
    shop = read_labelled_products(write_catalog(tmp_path / "shop", {"train": products}, title="shop"), ["class"])
    assert shop.labels["class"] == [product.category[-1] for product in products]
    assert shop.labels["attribute class"] == ["AB"[number % 2] for number in range(len(products))]


def test_only_labels_that_most_products_have_are_predicted_unasked(generated_shop: Catalog, tmp_path: Path) -> None:
    products = [
        replace(
            product,
            attributes={
                "code": product.id,
                "colour": "red" if n % 2 else "blue",
                **({"rare": "ab"[n % 2]} if n < 30 else {}),
            },
        )
        for n, product in enumerate(generated_shop.products())
    ]
    catalog = write_catalog(tmp_path / "shop", {"train": products}, title="shop")
    assert set(read_labelled_products(catalog).labels) == {"class", "colour"}
    assert set(read_labelled_products(catalog, ["rare"]).labels) == {"class", "rare"}


def test_labels_are_said_in_phrases_of_what_was_learned_from() -> None:
    kinds = ["bag", "shirt", "bag", "shirt"] * 60
    colours = ["red", "red", "blue", "blue"] * 60
    texts = [f"{colour} {kind}" for colour, kind in zip(colours, kinds, strict=True)]
    numbers = [*range(len(texts))]
    parts: list[Part] = ["held out" if n < 80 else "calibration" if n < 160 else "learned" for n in numbers]
    encoder = PhraseReader()
    shop = LabelledProducts([*map(str, numbers)], texts, parts, numbers, {"class": [*kinds], "colour": [*colours]})
    tasks, names = predict_tasks(shop, encoder, np.arange(len(texts)), encoder.encode(texts), "{}")
    assert {task: of.figures["label text"].accuracy for task, of in tasks.items()} == {"class": 1, "colour": 1}
    assert [names["colour"][label] for label in tasks["colour"].predicted] == colours
    unsaid = replace(shop, parts=["held out" if n < 80 else "calibration" for n in numbers])
    tasks, _ = predict_tasks(unsaid, encoder, np.arange(len(texts)), encoder.encode(texts), "{}")
    assert tasks["colour"].figures["label text"].accuracy == 0.5, "nothing was learned from, so no class is known"


def test_what_cannot_be_predicted_is_refused_in_a_line(
    small_encoder_folder: Path, generated_shop: Catalog, vectors: Path, tmp_path: Path
) -> None:
    model, data = str(small_encoder_folder), generated_shop.folder
    with pytest.raises(TableError, match=r"labels\.xlsx: give a name that ends in \.csv or \.parquet"):
        predict(model, data=data, out=tmp_path / "labels.xlsx")
    out = tmp_path / "labels.csv"
    with pytest.raises(UserError, match=r"--at_least is 80; a confidence is 0 to 1"):
        predict(model, data=data, out=out, at_least=80)
    with pytest.raises(UserError, match="no product has the attribute 'color'; did you mean 'colour'"):
        predict(model, data=data, out=out, attributes=("color",))
    other = write_catalog(tmp_path / "other", {"train": list(generated_shop.products())[:20]}, title="other")
    with pytest.raises(UserError, match=r"was made of another catalog than .*other is now; run `moon2 embed"):
        predict(model, data=other.folder, out=out, vectors=vectors)
    bare = [replace(product, category=(), attributes={}) for product in generated_shop.products()]
    nothing = write_catalog(tmp_path / "bare", {"train": bare}, title="bare")
    with pytest.raises(UserError, match="has no category and no attribute with two values"):
        predict(model, data=nothing.folder, out=out)
    assert not out.exists()


def test_a_table_is_csv_or_parquet_by_its_name(tmp_path: Path) -> None:
    import pyarrow as pa

    columns = [("id", pa.string()), ("score", pa.float64()), ("others", pa.list_(pa.string()))]
    rows = [["ä,1", 0.5, ["a", "b"]], [None, None, []]]
    write_table(tmp_path / "new" / "t.csv", columns, rows)
    assert (tmp_path / "new" / "t.csv").read_bytes() == b'\xef\xbb\xbfid,score,others\n"\xc3\xa4,1",0.5000,a; b\n,,\n'
    write_table(tmp_path / "t.parquet", columns, rows)
    assert pq.read_table(tmp_path / "t.parquet").to_pydict() == {
        "id": ["ä,1", None],
        "score": [0.5, None],
        "others": [["a", "b"], []],
    }
