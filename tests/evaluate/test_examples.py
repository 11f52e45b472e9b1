"""Example queries by hand: random ones are the same in every view, hard ones come hardest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from moon2.evaluate.examples import EXAMPLES, HARD_EXAMPLES, RESULTS, Examples
from moon2.records import Interaction, Query
from moon2.vectors.embed import Vectors
from moon2.vectors.retrieval import rank_directions
from moon2.views import View

IDS = [f"p{number}" for number in range(12)]
# The gallery lies on an arc; a query at angle 0 finds p0, p1, p2 … in this order.
ANGLES = np.linspace(0, 1.2, len(IDS))
GALLERY = {"mm": Vectors(np.arange(12), np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32))}


def log_of(relevant: Sequence[Sequence[str]], shown: str | None = None) -> list[Interaction]:
    """Queries with these relevant products, each with a photo of the product `shown`."""
    return [Interaction(Query(f"q{n}", "words", product_id=shown), tuple(ids)) for n, ids in enumerate(relevant)]


def at_zero(rows: Sequence[int]) -> Vectors:
    """The view of these queries, all at angle 0."""
    return Vectors(np.array(rows), np.tile(np.float32([1, 0]), (len(rows), 1)))


def hard_of(relevant: Sequence[Sequence[str]], shown: str | None = None) -> dict[str, list[dict[str, Any]]]:
    """The hard examples among text queries with these relevant products."""
    log = log_of(relevant, shown)
    queries: dict[View, Vectors] = {"t": at_zero(range(len(log)))}
    return Examples(queries, GALLERY, log, IDS).hard(rank_directions(queries, GALLERY, log, IDS))


def test_the_hardest_come_first_with_rank_and_cosine_and_easy_ones_not_at_all() -> None:
    hard = hard_of([["p8"], ["p0"], ["p11", "p10"], ["p6"], ["p9"]])
    assert list(hard) == ["t→mm"] and len(hard["t→mm"]) == HARD_EXAMPLES == 3
    assert [(example["query"], example["relevant"], example["rank"]) for example in hard["t→mm"]] == [
        ("q2", "p10", 11),
        ("q4", "p9", 10),
        ("q0", "p8", 9),
    ]
    hardest = hard["t→mm"][0]
    assert (hardest["results"], hardest["right"]) == (IDS[:RESULTS], [False] * RESULTS)
    assert hardest["similarity"] == pytest.approx(np.cos(ANGLES[10]), abs=1e-4)


def test_a_query_is_hard_from_the_first_place_below_the_results() -> None:
    assert hard_of([["p4"], ["p0"]]) == {}
    assert [example["rank"] for example in hard_of([["p5"]])["t→mm"]] == [6]


def test_the_querys_own_product_is_neither_a_result_nor_wanted() -> None:
    [example] = hard_of([["p2", "p8"]], shown="p2")["t→mm"]
    assert (example["relevant"], example["rank"]) == ("p8", 8)
    assert example["results"] == ["p0", "p1", "p3", "p4", "p5"]


def test_random_queries_are_the_same_in_every_view_and_can_be_answered() -> None:
    log = log_of([["p1"]] * 20 + [["not in the gallery"]], shown="p0")
    queries: dict[View, Vectors] = {"t": at_zero(range(21)), "i": at_zero(range(21)), "mm": at_zero([3, 20])}
    random = Examples(queries, GALLERY, log, IDS).random()
    assert [example["query"] for example in random["t→mm"]] == [example["query"] for example in random["i→mm"]]
    assert len({example["query"] for example in random["t→mm"]}) == EXAMPLES
    assert [example["query"] for example in random["mm→mm"]] == ["q3"], "q20 has no relevant product in the gallery"
    example = random["mm→mm"][0]
    assert example["results"] == IDS[1 : RESULTS + 1], "p0, whose photo the query shows, is left out"
    assert example["right"] == [True, False, False, False, False]
    assert example["similarities"] == pytest.approx(np.cos(ANGLES[1 : RESULTS + 1]), abs=1e-4)
