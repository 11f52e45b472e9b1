"""What is hard and what is not: own products, the edge of the first results, a purchase that was a slip."""

from pathlib import Path

import numpy as np
from test_benchmark import ColourAndKindEncoder, photo, shop, written

from moon2.evaluate.evaluate import evaluate
from moon2.evaluate.examples import Examples
from moon2.evaluate.result import Evaluation
from moon2.records import Interaction, Product, Query
from moon2.vectors.nearest import ranks

# Ten products on a quarter circle; the angle to the query, which lies at 0, is their place.
ANGLES = np.linspace(0.1, 1.5, 10)
GALLERY = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32)
IDS = [f"p{number}" for number in range(10)]


def hard(wanted: list[tuple[str, ...]], own: str | None = None) -> list[dict[str, object]]:
    """Hard examples of queries that all lie at angle 0."""
    interactions = [
        Interaction(query=Query(id=f"q{number}", text="words", product_id=own), positive_ids=ids)
        for number, ids in enumerate(wanted)
    ]
    queries = {"t": (np.arange(len(wanted)), np.tile(np.float32([1, 0]), (len(wanted), 1)))}
    place = {id: row for row, id in enumerate(IDS)}
    found = ranks(
        queries["t"][1],
        GALLERY,
        [[place[id] for id in ids if id in place] for ids in wanted],
        [place.get(own or "")] * len(wanted),
    )
    examples = Examples(queries, {"mm": (np.arange(10), GALLERY)}, interactions, IDS)
    return examples.hard({"t→mm": found}).get("t→mm", [])


def test_the_querys_own_product_is_neither_found_nor_wanted() -> None:
    found = hard([("p2", "p8")], own="p2")
    assert [(row["relevant"], row["rank"]) for row in found] == [("p8", 8)]
    assert found[0]["results"] == ["p0", "p1", "p3", "p4", "p5"]


def test_what_is_among_the_first_results_is_not_hard() -> None:
    assert hard([("p4",), ("p0",)]) == []
    assert [row["rank"] for row in hard([("p5",)])] == [6]


def test_a_mislabelled_purchase_is_found_out_by_an_evaluation_and_survives_json(tmp_path: Path) -> None:
    products, interactions = shop()
    products += [
        Product(id=f"more-{number}", title="red shirt", images=(photo("red", "shirt"),)) for number in range(6)
    ]
    slip = Query(id="slip", text="red shirt", product_id="shirt-red-1")
    result = evaluate(
        ColourAndKindEncoder(),
        written(tmp_path, products, [*interactions, Interaction(query=slip, positive_ids=("bag-blue-1",))]),
    )
    for form in ("t", "i", "mm"):
        worst = result.hard[f"{form}→mm"][0]
        assert (worst["query"], worst["relevant"]) == ("slip", "bag-blue-1")
        assert worst["rank"] > 9
    assert Evaluation.from_json(result.to_json()) == result
    assert "| t→mm | slip | bag-blue-1 |" in result.to_markdown()
