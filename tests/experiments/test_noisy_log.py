"""A log with a chosen share of false purchases: the exact number, and the rest unchanged."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from moon2 import Interaction, Product, Query
from moon2.catalog.generated_shop.generate import write_shop
from moon2.catalog.schema import CatalogError
from moon2.catalog.store import Catalog, write_catalog
from moon2.experiments.noisy_log import read_noise_labels, write_noisy_catalog


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return write_shop(out=tmp_path_factory.mktemp("shop") / "data", products=80, queries=100)


@pytest.fixture(scope="module")
def known(shop: Catalog) -> frozenset[str]:
    return read_noise_labels(shop.folder / "noise.parquet")


def test_at_share_zero_the_rows_known_to_be_false_are_gone(
    shop: Catalog, known: frozenset[str], tmp_path: Path
) -> None:
    clean = write_noisy_catalog(shop, tmp_path / "clean", 0, known=known)
    assert known
    assert clean.interactions("train") == [row for row in shop.interactions("train") if row.query.id not in known]


def test_a_higher_share_is_reached_with_products_drawn_at_random(
    shop: Catalog, known: frozenset[str], tmp_path: Path
) -> None:
    noisy = write_noisy_catalog(shop, tmp_path / "noisy", 0.3, known=known)
    before, after = shop.interactions("train"), noisy.interactions("train")
    changed = {a.query.id for b, a in zip(before, after, strict=True) if a.positive_ids != b.positive_ids}
    assert not changed & known
    assert len(changed | known) == round(0.3 * len(before))
    assert all(set(row.positive_ids) <= set(shop.ids("train")) for row in after)
    assert [row.query for row in after] == [row.query for row in before]


def test_everything_else_is_the_same_catalog(shop: Catalog, tmp_path: Path) -> None:
    noisy = write_noisy_catalog(shop, tmp_path / "noisy", 0.3)
    assert noisy.ids() == shop.ids()
    assert noisy.interactions("test") == shop.interactions("test")
    assert len(noisy.interactions("train")) == len(shop.interactions("train"))
    source = write_noisy_catalog(shop, tmp_path / "again", 0.3)
    assert source.interactions("train") == noisy.interactions("train"), "the same seed draws the same"
    assert shop.interactions("train") != noisy.interactions("train"), "the source stays as it was"


def test_a_query_that_was_shown_every_product_has_no_false_purchase(tmp_path: Path) -> None:
    products = [Product(id, f"shirt {id}") for id in "abc"]
    log = [Interaction(Query("q", "shirt"), ("a",), ("b", "c"))]
    shop = write_catalog(tmp_path / "shop", {"train": products}, {"train": log}, title="Shop")
    with pytest.raises(CatalogError, match="query 'q' was shown every product"):
        write_noisy_catalog(shop, tmp_path / "noisy", 0.9)


def test_a_wrong_share_or_table_is_an_error(shop: Catalog, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"log noise is 1\.5; it must be 0 or more and below 1"):
        write_noisy_catalog(shop, tmp_path / "x", 1.5)
    with pytest.raises(CatalogError, match="there is no such file"):
        read_noise_labels(tmp_path / "none.parquet")
    pq.write_table(pq.read_table(shop.folder / "noise.parquet").drop_columns("query_id"), tmp_path / "odd.parquet")
    with pytest.raises(CatalogError, match="has no column query_id; it has purchase_is_noise"):
        read_noise_labels(tmp_path / "odd.parquet")
