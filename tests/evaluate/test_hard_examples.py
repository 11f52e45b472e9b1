"""Which queries are hard: neither the query's own product nor a place among the first results makes one."""

from __future__ import annotations

from typing import Any

import numpy as np

from moon2.evaluate.examples import Examples
from moon2.records import Interaction, Query
from moon2.vectors.embed import Vectors
from moon2.vectors.retrieval import rank_directions

# Ten products on a quarter circle. Every query lies at angle 0, so the products are ranked by their number.
ANGLES = np.linspace(0.1, 1.5, 10)
GALLERY = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32)
IDS = [f"p{number}" for number in range(10)]


def hard(relevant: list[tuple[str, ...]], own: str | None = None) -> list[dict[str, Any]]:
    """The hard examples among queries with these relevant products, each with a photo of the product `own`."""
    log = [Interaction(Query(f"q{number}", "words", product_id=own), ids) for number, ids in enumerate(relevant)]
    queries = {"t": Vectors(np.arange(len(log)), np.tile(np.float32([1, 0]), (len(log), 1)))}
    products = {"mm": Vectors(np.arange(10), GALLERY)}
    examples = Examples(queries, products, log, IDS)
    return examples.hard(rank_directions(queries, products, log, IDS)).get("t→mm", [])


def test_the_querys_own_product_is_neither_a_result_nor_wanted() -> None:
    [example] = hard([("p2", "p8")], own="p2")
    assert (example["relevant"], example["rank"]) == ("p8", 8)
    assert example["results"] == ["p0", "p1", "p3", "p4", "p5"]


def test_a_query_is_hard_from_the_first_place_below_the_results() -> None:
    assert hard([("p4",), ("p0",)]) == []
    assert [example["rank"] for example in hard([("p5",)])] == [6]


def test_a_purchase_by_mistake_is_hardest() -> None:
    assert [example["query"] for example in hard([("p0",), ("p9",), ("p6",)])] == ["q1", "q2"]
