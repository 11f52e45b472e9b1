"""Hard examples by hand: the query whose relevant product stands furthest down comes first, beside what it wanted."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moon2.catalog.store import Catalog, write_catalog
from moon2.evaluate.evaluate import evaluate
from moon2.evaluate.examples import RESULTS, Examples
from moon2.evaluate.report.report import write_report
from moon2.evaluate.result import Evaluation
from moon2.model.encoder import Encoder
from moon2.recipe import load_recipe
from moon2.records import Interaction, Product, Query
from moon2.vectors.nearest import ranks

IDS = [f"p{number}" for number in range(12)]
# The gallery lies on an arc; a query at angle 0 finds p0, p1, p2 … in this order.
ANGLES = np.linspace(0, 1.2, len(IDS))
GALLERY = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32)
QUERY = np.array([[1.0, 0.0]], np.float32)


def looked_at(relevant: list[list[str]]) -> Examples:
    log = [Interaction(Query(f"q{n}", "words"), tuple(ids)) for n, ids in enumerate(relevant)]
    numbers = np.arange(len(log))
    return Examples({"t": (numbers, np.repeat(QUERY, len(log), 0))}, {"mm": (np.arange(12), GALLERY)}, log, IDS)


def places(relevant: list[list[str]]) -> list[list[int]]:
    return [[IDS.index(id) for id in ids] for ids in relevant]


def test_the_hardest_come_first_with_their_rank_and_cosine_and_easy_ones_not_at_all() -> None:
    relevant = [["p8"], ["p0"], ["p11", "p10"], ["p6"], ["p9"]]
    rank = ranks(np.repeat(QUERY, 5, 0), GALLERY, places(relevant), [None] * 5)
    found = looked_at(relevant).hard({"t→mm": rank})["t→mm"]
    assert [(one["query"], one["relevant"], one["rank"]) for one in found] == [
        ("q2", "p10", 11),
        ("q4", "p9", 10),
        ("q0", "p8", 9),
    ]
    assert found[0]["results"] == IDS[:RESULTS]
    assert found[0]["right"] == [False] * RESULTS
    assert found[0]["similarity"] == pytest.approx(np.cos(ANGLES[10]), abs=1e-4)


def test_where_everything_is_found_early_nothing_is_hard() -> None:
    relevant = [["p0"], ["p4"]]
    rank = ranks(np.repeat(QUERY, 2, 0), GALLERY, places(relevant), [None] * 2)
    assert looked_at(relevant).hard({"t→mm": rank}) == {}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    small = ["vocabulary=300", "width=32", "layers=2", "heads=2", "feed_forward=32", "vision_width=32"]
    recipe = load_recipe(None, [*(f"backbone.tiny.{one}" for one in small), "experts.noise=0.5"])
    return Encoder.from_recipe(recipe, ["navy shirt", "red bag"])


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    def photo(number: int) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (40, 30), (number * 20, 90, 200 - number * 15)).save(file, "PNG")
        return file.getvalue()

    products = [Product(id, f"shirt {number}", images=(photo(number),)) for number, id in enumerate(IDS)]
    products.append(Product("words", "shirt without a photo"))
    log = [Interaction(Query(f"q{number}", f"shirt {11 - number}"), (id,)) for number, id in enumerate(IDS)]
    return write_catalog(tmp_path_factory.mktemp("shop") / "shop", {"test": products}, {"test": log}, title="Shop")


def test_an_evaluation_tells_which_experts_serve_which_form(encoder: Encoder, catalog: Catalog) -> None:
    found = evaluate(encoder, catalog)
    assert found.expert_use_products == len(IDS), "the product without a photo has no joint form"
    for view, shares in found.expert_use.items():
        pictured = [p for p in catalog.products() if p.images]
        batch = encoder.processor.batch([encoder.processor.item(product) for product in pictured])
        wanted = encoder.model(batch).routing[view].mean(dim=0).tolist()
        assert shares == pytest.approx(wanted, abs=1e-5)
        assert sum(shares) == pytest.approx(1, abs=1e-4)
    assert list(found.expert_use) == ["mm", "i", "t"]


def test_hard_queries_and_experts_are_in_the_report_and_survive_json(
    encoder: Encoder, catalog: Catalog, tmp_path: Path
) -> None:
    found = evaluate(encoder, catalog)
    assert found.hard["t→mm"], "an untrained encoder of twelve products finds some of them late"
    again = Evaluation.from_json(found.to_json())
    assert again == found
    page = write_report(tmp_path / "report.html", again, [], catalog).read_text()
    assert page.count("wanted: rank") == sum(len(examples) for examples in found.hard.values())
    assert "Experts by form" in page
    assert "expert 3" in page
    markdown = found.to_markdown()
    assert "| routing, percent | mm | i | t |" in markdown
    assert "| hardest | query | relevant product | its rank | found first |" in markdown


def test_an_evaluation_from_before_there_were_hard_queries_is_read(encoder: Encoder, catalog: Catalog) -> None:
    values = json.loads(evaluate(encoder, catalog).to_json())
    for name in ("hard", "expert_use", "expert_use_products"):
        del values[name]
    old = Evaluation.from_json(json.dumps(values))
    assert (old.hard, old.expert_use) == ({}, {})
    assert "hardest" not in old.to_markdown()
