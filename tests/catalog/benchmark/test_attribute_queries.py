"""A benchmark for a shop without a log, from its attributes."""

from __future__ import annotations

from pathlib import Path

import pytest

from moon2 import Product
from moon2.catalog.benchmark.attribute_queries import attribute_queries
from moon2.catalog.benchmark.build import BenchmarkSettings, build_benchmark
from moon2.catalog.schema import CatalogError
from moon2.catalog.store import Catalog, write_catalog

PRODUCTS = [
    Product(
        f"{colour}-{material}-{kind}-{n}",
        f"Item {n}",
        category=("Apparel", kind),
        attributes={"colour": colour, "material": material},
    )
    for colour in ("red", "navy", "green")
    for material in ("cotton", "linen")
    for kind in ("Shirts", "Skirts")
    for n in range(3)
]


def test_queries_are_answered_by_all_that_hold_their_values() -> None:
    rows = [{"id": p.id, "title": p.title, "category": p.category, "attributes": pairs(p.attributes)} for p in PRODUCTS]
    queries = {it.query.text: it for it in attribute_queries(rows, seed=0)}
    assert len(queries) > 5
    for text, interaction in queries.items():
        words = set(text.split())
        for product in PRODUCTS:
            values = {*product.attributes.values(), product.category[-1].lower()}
            assert (product.id in interaction.positive_ids) == (words <= values)
            if grade := interaction.grades.get(product.id):
                assert grade == len(words & values) >= len(words) - 1
    assert attribute_queries(rows, seed=0) == attribute_queries(rows, seed=0)


def test_a_benchmark_without_a_log_is_offered_and_built(tmp_path: Path) -> None:
    shop = write_catalog(tmp_path / "shop", {"train": PRODUCTS}, title="A shop").folder
    with pytest.raises(CatalogError, match=r"has no search log.*--queries attributes"):
        build_benchmark(shop, out=tmp_path / "refused")
    settings = BenchmarkSettings(test_share=0.4, queries="attributes")
    result = build_benchmark(shop, out=tmp_path / "benchmark", settings=settings)
    catalog = Catalog.open(tmp_path / "benchmark")
    assert result.queries["train"] == 0 and len(catalog.interactions("test")) == result.queries["test"] > 3
    test = set(catalog.ids("test"))
    assert all(set(it.positive_ids) <= test for it in catalog.interactions("test"))
    assert "weak measure" in (tmp_path / "benchmark" / "README.md").read_text()


def pairs(mapping: object) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in dict(mapping).items()]  # type: ignore[call-overload]
