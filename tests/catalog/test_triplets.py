"""Triplets: from a log with its known positives, and mined where there is no log."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from moon2 import Interaction, Product, Query
from moon2.catalog.store import Catalog, CatalogError, write_catalog
from moon2.catalog.triplets import Triplet, mine_triplets, training_triplets, triplets_from_log


def test_each_positive_is_a_triplet() -> None:
    query = Query("q", "navy shirt", product_id="photo")
    known = frozenset({"a", "b", "photo"})
    assert triplets_from_log([Interaction(query, ("a", "b"), ("c",))]) == [
        Triplet(query, "a", ("c",), known),
        Triplet(query, "b", ("c",), known),
    ]


def test_known_positives_come_from_the_whole_log() -> None:
    log = [
        Interaction(Query("q1", "Navy  shirt!"), ("a",), ("b", "c")),
        Interaction(Query("q2", "navy shirt"), ("b",), ("d",)),
        Interaction(Query("q3", "navy shirt", product_id="x"), ("e",)),
        Interaction(Query("q1", "shirts"), ("f",), ("x",)),
        Interaction(Query("q4", image=b"1"), ("g",)),
        Interaction(Query("q5", image=b"2"), ("h",)),
        Interaction(Query("q6", "navy shirt", image=b"3"), ("i",)),
    ]
    known = [set(triplet.known_positive_ids) for triplet in triplets_from_log(log)]
    assert known == [{"a", "b", "f"}, {"a", "b"}, {"e", "x"}, {"a", "f"}, {"g"}, {"h"}, {"i"}]


def test_a_known_positive_is_never_a_negative() -> None:
    log = [
        Interaction(Query("q1", "navy shirt", product_id="x"), ("a",), ("b", "x", "c")),
        Interaction(Query("q2", "navy shirt", product_id="x"), ("b",), ("a",)),
    ]
    first, second = triplets_from_log(log)
    assert (first.negative_ids, second.negative_ids) == (("c",), ())


@pytest.fixture
def shop(tmp_path: Path) -> Catalog:
    """Three styles of shirt and one of shoe, four products each; two near-duplicate lamps; one of a kind."""
    products = [
        Product(
            f"{colour}-{kind}-{i}",
            f"{colour} {kind} number {i} {' '.join(random.Random(f'{colour}{i}').choices('abcdefgh', k=4))}",
            category=("Apparel", kind),
            attributes={"Brand": "Puma", "base_colour": colour},
        )
        for kind, colours in (("Shirt", ("navy", "red", "green")), ("Shoe", ("black",)))
        for colour in colours
        for i in range(4)
    ]
    products += [
        Product("lamp-1", "Brass reading lamp with green glass shade", category=("Home", "Lamps")),
        Product("lamp-2", "Brass reading lamp, with green glass shade!", category=("Home", "Lamps")),
        Product("lamp-3", "Paper lantern", category=("Home", "Lamps")),
    ]
    return write_catalog(tmp_path / "shop", {"train": products}, title="A shop")


def test_mined_positives_are_of_the_same_style_and_negatives_of_the_same_category(shop: Catalog) -> None:
    triplets = {triplet.query.product_id or "": triplet for triplet in mine_triplets(shop)}
    assert len(triplets) == 4 * 4 + 2
    for id, triplet in triplets.items():
        query, positive = shop.product(id), shop.product(triplet.positive_id)
        assert triplet.query.text == query.title
        assert triplet.positive_id != id
        assert {id, triplet.positive_id} <= triplet.known_positive_ids
        assert not triplet.known_positive_ids & set(triplet.negative_ids)
        assert triplet.negative_ids
        if query.category[-1] == "Shirt":
            assert positive.attributes == query.attributes
            assert len(triplet.negative_ids) == 4
            for negative in map(shop.product, triplet.negative_ids):
                assert negative.category == query.category
                assert negative.attributes != query.attributes


def test_near_duplicate_titles_are_positives_without_any_attribute(shop: Catalog) -> None:
    lamps = {t.query.product_id: t for t in mine_triplets(shop) if "lamp" in (t.query.product_id or "")}
    assert lamps["lamp-1"].positive_id == "lamp-2"
    assert lamps["lamp-2"].positive_id == "lamp-1"
    assert lamps["lamp-1"].negative_ids == ("lamp-3",)


def test_a_category_of_one_style_takes_negatives_from_the_branch_above(shop: Catalog) -> None:
    shoe = next(t for t in mine_triplets(shop) if t.query.product_id == "black-Shoe-0")
    assert all(shop.product(id).category == ("Apparel", "Shirt") for id in shoe.negative_ids)


def test_the_seed_decides(shop: Catalog) -> None:
    assert mine_triplets(shop, seed=3) == mine_triplets(shop, seed=3)
    assert mine_triplets(shop, seed=3) != mine_triplets(shop, seed=4)


def test_a_style_id_decides_alone(tmp_path: Path) -> None:
    products = [Product(str(i), f"Thing {i}", attributes={"item_group_id": "g" if i < 2 else str(i)}) for i in range(4)]
    shop = write_catalog(tmp_path / "shop", {"train": products}, title="A shop")
    assert {(t.query.product_id, t.positive_id) for t in mine_triplets(shop)} == {("0", "1"), ("1", "0")}


def test_training_takes_the_log_where_there_is_one(tmp_path: Path, shop: Catalog) -> None:
    assert training_triplets(shop, seed=5) == mine_triplets(shop, seed=5)
    log = [Interaction(Query("q", "a shirt"), ("1",), ("2",))]
    products = [Product("1", "Shirt"), Product("2", "Skirt")]
    logged = write_catalog(tmp_path / "logged", {"train": products}, {"train": log}, title="A shop")
    assert training_triplets(logged) == triplets_from_log(log)


def test_a_shop_without_similar_products_cannot_be_trained_on(tmp_path: Path) -> None:
    products = [Product("1", "Shirt"), Product("2", "Lamp")]
    shop = write_catalog(tmp_path / "shop", {"train": products}, title="A shop")
    with pytest.raises(CatalogError, match="no training log, and no two products"):
        training_triplets(shop)
