"""The real fashion catalogue is imported whole, with its log."""

from __future__ import annotations

from pathlib import Path

import pytest

from moon2.catalog import Catalogue, CatalogueError, import_catalogue
from moon2.catalog.fashion import open_logs, open_products

PRODUCTS, TEST_PRODUCTS, LOG_ROWS, TEST_QUERIES = 39_971, 4_442, 18_307, 636


def test_the_whole_of_it(fashion_folder: Path, tmp_path: Path) -> None:
    result = import_catalogue(fashion_folder, tmp_path / "fashion", format="fashion-log", show_progress=False)
    catalogue = Catalogue.open(tmp_path / "fashion")
    assert result.products == len(catalogue) == PRODUCTS
    assert len(catalogue.ids("test")) == TEST_PRODUCTS
    train, test = catalogue.interactions("train"), catalogue.interactions("test")
    assert len(test) == TEST_QUERIES
    # What was bought and also left in one search contradicts itself, and nothing else of the log is put aside.
    assert result.rejected == LOG_ROWS - len(train) == result.reasons["positive_is_negative"]
    first = next(catalogue.products())
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
    with pytest.raises(CatalogueError, match=r"has no products\.parquet"):
        import_catalogue(tmp_path, tmp_path / "out", format="fashion-log", show_progress=False)
