"""Which queries and products are scored, and the fingerprint that tells test sets apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.coloured_shop import photo, twins, write_test_catalog

from moon2.catalog.store import write_catalog
from moon2.evaluate.test_set import EvaluationError, read_test_set
from moon2.records import Interaction, Product, Query


def test_the_gallery_is_the_test_split(tmp_path: Path) -> None:
    products, interactions = twins()
    splits = {"train": [Product("old", "an old shirt")], "test": products}
    catalog = write_catalog(tmp_path / "shop", splits, {"test": interactions}, title="Shop")
    test_set = read_test_set(catalog)
    assert test_set.gallery == [product.id for product in products]
    assert test_set.interactions == interactions


def test_a_limit_takes_evenly_spaced_products_and_only_queries_that_can_be_answered(tmp_path: Path) -> None:
    test_set = read_test_set(write_test_catalog(tmp_path, *twins()), 4)
    assert test_set.gallery == ["shirt-red-1", "shirt-blue-1", "bag-red-2", "bag-blue-2"]
    assert [interaction.query.id for interaction in test_set.interactions] == ["q-bag-red", "q-bag-blue"]
    with pytest.raises(EvaluationError, match="limit is 0; it must be 1 or more"):
        read_test_set(write_test_catalog(tmp_path / "other", *twins()), 0)


def test_the_fingerprint_tells_shops_apart_that_use_the_same_ids(tmp_path: Path) -> None:
    products, interactions = twins()
    first = replace(interactions[0], query=Query("q", "lamp"))
    shops = {
        "one": (products, interactions),
        "titles": ([replace(products[0], title="lamp"), *products[1:]], interactions),
        "words": (products, [first, *interactions[1:]]),
        "positives": (products, [replace(it, positive_ids=("bag-red-1",)) for it in interactions]),
    }
    fingerprints = {
        read_test_set(write_test_catalog(tmp_path / name, *records)).fingerprint for name, records in shops.items()
    }
    assert len(fingerprints) == 4
    assert read_test_set(write_test_catalog(tmp_path / "same", *twins())).fingerprint in fingerprints


def test_augmentations_and_training_data_leave_the_fingerprint_as_it_is(tmp_path: Path) -> None:
    products, interactions = twins()
    training = [
        Product("old", "an old shirt", enriched_title="a fine old shirt", expanded_images=(photo("red", "bag"),))
    ]
    log = {"train": [Interaction(Query("t", "old"), ("old",))], "test": interactions}
    catalog = write_catalog(tmp_path / "more", {"train": training, "test": products}, log, title="More")
    alone = write_test_catalog(tmp_path / "alone", products, interactions)
    assert read_test_set(catalog).fingerprint == read_test_set(alone).fingerprint
