"""Ranks by direction: only items that have a direction's view take part in it."""

from __future__ import annotations

import numpy as np
import pytest

from moon2.records import Interaction, Query
from moon2.vectors.embed import Vectors
from moon2.vectors.retrieval import rank_directions, recalls
from moon2.views import DIRECTIONS, Objective

# Four products at 0°, 30°, 60° and 90°.
PRODUCTS = np.array([[np.cos(a), np.sin(a)] for a in np.radians([0, 30, 60, 90])], np.float32)
IDS = ["p0", "p1", "p2", "p3"]
LOG = [
    Interaction(Query("q0", "words"), ("p1",)),
    Interaction(Query("q1", "words", product_id="p0"), ("p2", "not in the gallery")),
    Interaction(Query("q2", "words"), ("not in the gallery",)),
]
WORDS_TO_BOTH = Objective("t", "mm")


def test_the_own_product_is_left_out_and_unknown_products_are_not_counted() -> None:
    queries = {"t": Vectors(np.arange(3), PRODUCTS[[0, 0, 0]])}
    result = rank_directions(queries, {"mm": Vectors(np.arange(4), PRODUCTS)}, LOG, IDS)[WORDS_TO_BOTH]
    assert (list(result.queries), result.products) == ([0, 1, 2], 4)
    assert result.scored == [0, 1]
    assert result.ranks.above[result.ranks.scored].tolist() == [1, 1], "p0 before p1; p1 before p2, and p0 left out"


def test_rows_are_numbers_of_products_and_queries_that_have_the_view() -> None:
    queries = {"t": Vectors(np.array([1]), PRODUCTS[[3]])}
    products = {"mm": Vectors(np.array([1, 2]), PRODUCTS[[1, 2]])}
    result = rank_directions(queries, products, LOG, IDS)[WORDS_TO_BOTH]
    assert (list(result.queries), result.products, result.scored) == ([1], 2, [1])
    assert result.ranks.above.tolist() == [0]


def test_a_direction_without_vectors_is_there_and_scores_nothing() -> None:
    results = rank_directions({}, {"mm": Vectors(np.arange(4), PRODUCTS)}, LOG, IDS)
    assert list(results) == list(DIRECTIONS)
    assert [result.scored for result in results.values()] == [[]] * 5


def test_vectors_are_cut_before_they_are_ranked() -> None:
    """The first number alone has only its sign: all products but the last are equal to the query."""
    queries = {"t": Vectors(np.arange(1), PRODUCTS[[0]])}
    products = {"mm": Vectors(np.arange(4), np.where(PRODUCTS < 1e-6, -1e-6, PRODUCTS))}
    whole, cut = (rank_directions(queries, products, LOG[:1], IDS, length) for length in (None, 1))
    assert (whole[WORDS_TO_BOTH].ranks.above[0], cut[WORDS_TO_BOTH].ranks.above[0]) == (1, 0)
    assert (recalls(whole, 1), recalls(cut, 1)) == ({"t→mm": 0.0}, {"t→mm": pytest.approx(100 / 3)})
