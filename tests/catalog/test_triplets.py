"""Triplets from a log, with its known positives; and where there is no log."""

from __future__ import annotations

from pathlib import Path

import pytest

from moon2 import Interaction, Product, Query
from moon2.catalog.mining import mine
from moon2.catalog.store import CatalogError, write_catalog
from moon2.catalog.triplets import Triplet, mined_beside, mined_triplets, training_triplets, triplets_from_log


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


def test_training_takes_the_log_where_there_is_one(tmp_path: Path) -> None:
    products = [Product("1", "Navy linen shirt"), Product("2", "Red linen skirt")]
    shop = write_catalog(tmp_path / "shop", {"train": products}, title="A shop")
    assert training_triplets(shop, seed=5) == [Triplet(*query) for query in mine(shop, seed=5)]
    log = [Interaction(Query("q", "a shirt"), ("1",), ("2",))]
    logged = write_catalog(tmp_path / "logged", {"train": products}, {"train": log}, title="A shop")
    assert training_triplets(logged) == triplets_from_log(log)


def test_what_is_mined_beside_a_log_knows_what_the_log_does(tmp_path: Path) -> None:
    names = ("Navy linen shirt", "Navy wool shirt", "Red linen skirt", "Red wool skirt", "Polo")
    products = [
        Product(str(number), name, category=("Clothing", name.split()[-1]), attributes={"colour": name.split()[0]})
        for number, name in enumerate(names)
    ]
    shop = write_catalog(tmp_path / "shop", {"train": products}, title="A shop")
    asked = mined_triplets(shop)
    query = next(triplet.query for triplet in asked if "navy" in triplet.query.text.casefold())
    others = [t for t in asked if t.query.text.casefold() != query.text.casefold()]
    assert others
    logged = triplets_from_log([Interaction(Query("q", query.text.upper() + "!"), ("4",), ("0",))])
    beside = {triplet.query.id: triplet for triplet in mined_beside(shop, logged, [])}
    before = next(triplet for triplet in asked if triplet.query == query)
    assert beside[query.id].known_positive_ids == before.known_positive_ids | {"4"}
    assert "4" not in beside[query.id].negative_ids
    assert [beside[triplet.query.id] for triplet in others] == others
    assert mined_beside(shop, logged, [Query("held", query.text)]) == others


def test_products_of_the_test_that_a_log_names_are_known_to_answer_and_never_drawn(tmp_path: Path) -> None:
    def shirt(id: str, title: str) -> Product:
        return Product(id, title, category=("Shirts",), attributes={"colour": "navy", "fit": "slim"})

    train = [shirt("linen", "Navy linen shirt"), shirt("wool", "Navy wool shirt"), Product("mug", "Stoneware mug")]
    tested = [shirt("silk", "Navy silk shirt"), shirt("unnamed", "Navy jersey shirt")]
    log = [Interaction(Query("q", "silk"), ("silk",))]
    catalog = write_catalog(tmp_path / "shop", {"train": train, "test": tested}, {"train": log}, title="A shop")
    mined = mined_beside(catalog, triplets_from_log(catalog.interactions("train")), held_out=())
    answered = [triplet for triplet in mined if triplet.known_positive_ids >= {"linen", "wool"}]
    assert {triplet.query.text for triplet in answered} & {"navy shirts", "slim navy shirts", "navy slim shirts"}
    for triplet in answered:
        assert triplet.known_positive_ids == {"linen", "wool", "silk"}
    for triplet in mined:
        assert {triplet.positive_id, *triplet.negative_ids} <= {"linen", "wool", "mug"}


def test_a_shop_of_which_nothing_can_be_said_cannot_be_trained_on(tmp_path: Path) -> None:
    products = [Product("1", "Shirt"), Product("2", "Lamp")]
    shop = write_catalog(tmp_path / "shop", {"train": products}, title="A shop")
    with pytest.raises(CatalogError, match="no training log, no two products"):
        training_triplets(shop)
