"""A program imports tables of its own layout: the real fashion catalog with its log, whole."""

from __future__ import annotations

import runpy
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from moon2.catalog.schema import CatalogError
from moon2.catalog.store import Catalog

SCRIPT = runpy.run_path(str(Path(__file__).resolve().parents[3] / "benchmarks" / "fashion_log.py"))
PRODUCTS, TEST_PRODUCTS, LOG_ROWS, TEST_QUERIES = 39_971, 4_442, 18_307, 636


@pytest.mark.long
def test_the_whole_catalog(fashion_folder: Path, tmp_path: Path) -> None:
    SCRIPT["main"]([str(fashion_folder), "--out", str(tmp_path / "fashion")])
    catalog = Catalog.open(tmp_path / "fashion")
    assert len(catalog) == PRODUCTS
    assert len(catalog.ids("test")) == TEST_PRODUCTS
    train, test = catalog.interactions("train"), catalog.interactions("test")
    assert len(test) == TEST_QUERIES
    # A row of the log is rejected if its purchase is also among its negatives; a few descriptions are dropped.
    reasons = Counter(reject.reason for reject in catalog.rejects())
    assert reasons == {"positive_is_negative": LOG_ROWS - len(train), "broken_encoding": 4}
    first = next(catalog.products())
    assert first.attributes["brand"]
    assert len(first.category) == 3
    assert first.images[0][8:12] == b"WEBP"
    assert all(interaction.query.product_id for interaction in train)
    assert not any("noise" in path.name for path in (tmp_path / "fashion").rglob("*"))


def test_its_tables(fashion_folder: Path) -> None:
    tables = SCRIPT["open_fashion_log"](fashion_folder)
    assert tables.products.total == PRODUCTS
    assert [(log.split, log.table.total) for log in tables.logs] == [("train", LOG_ROWS), ("test", TEST_QUERIES)]


def test_settings_are_chosen_on_styles_that_training_does_not_see(fashion_folder: Path, tmp_path: Path) -> None:
    SCRIPT["hold_out"](fashion_folder, tmp_path / "held")
    SCRIPT["small_shop"](tmp_path / "held", tmp_path / "small", 1_000)
    products, log, queries = (
        pq.read_table(tmp_path / "small" / f"{name}.parquet", columns=columns)
        for name, columns in (("products", ["id", "split"]), ("train_log", None), ("dev_queries", None))
    )
    split = dict(zip(*(products[name].to_pylist() for name in ("id", "split")), strict=True))
    assert (len(log), len(queries)) == (1_000, TEST_QUERIES)
    for row in log.to_pylist():
        named = [row["query_image_product_id"], row["purchased_id"], *row["ignored_ids"]]
        assert {split[id] for id in named} == {"train"}
    for row in queries.to_pylist():
        assert {split[id] for id in [row["query_image_product_id"], *row["relevant_ids"]]} == {"dev"}
        assert row["query_image_product_id"] not in row["relevant_ids"]
    test = pq.read_table(fashion_folder / "products.parquet", columns=["id"], filters=[("split", "=", "dev")])
    assert not split.keys() & set(test["id"].to_pylist())


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"products\.parquet: there is no such file"):
        SCRIPT["main"]([str(tmp_path), "--out", str(tmp_path / "out")])
