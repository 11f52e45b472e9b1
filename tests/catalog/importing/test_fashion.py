"""The real fashion catalog is imported whole, with its log."""

from __future__ import annotations

from pathlib import Path

import pytest

from moon2.catalog.importing.fashion import open_logs, open_products
from moon2.catalog.importing.import_catalog import import_catalog
from moon2.catalog.store import Catalog, CatalogError

PRODUCTS, TEST_PRODUCTS, LOG_ROWS, TEST_QUERIES = 39_971, 4_442, 18_307, 636


def test_the_whole_of_it(fashion_folder: Path, tmp_path: Path) -> None:
    result = import_catalog(fashion_folder, tmp_path / "fashion", format="fashion-log", show_progress=False)
    catalog = Catalog.open(tmp_path / "fashion")
    assert result.products == len(catalog) == PRODUCTS
    assert len(catalog.ids("test")) == TEST_PRODUCTS
    train, test = catalog.interactions("train"), catalog.interactions("test")
    assert len(test) == TEST_QUERIES
    # What was bought and also left in one search contradicts itself, and nothing else of the log is put aside.
    assert result.rejected == LOG_ROWS - len(train) == result.reasons["positive_is_negative"]
    first = next(catalog.products())
    assert first.attributes["brand"]
    assert len(first.category) == 3
    assert first.images[0][8:12] == b"WEBP"
    assert all(interaction.query.product_id for interaction in train)
    assert not any("noise" in path.name for path in (tmp_path / "fashion").rglob("*"))


def test_queries_of_the_test_split_ask_for_test_products(fashion_folder: Path) -> None:
    table = open_products(fashion_folder)
    assert table.total == PRODUCTS
    assert [(split, log.total) for split, log, _ in open_logs(fashion_folder)] == [
        ("train", LOG_ROWS),
        ("test", TEST_QUERIES),
    ]


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"has no products\.parquet"):
        import_catalog(tmp_path, tmp_path / "out", format="fashion-log", show_progress=False)
