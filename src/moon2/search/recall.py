"""How much of what an exact search finds the approximate one finds, measured on the index itself, filters included."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from moon2.search.product_table import ProductTable
from moon2.search.table_schema import literal

QUERIES = 100
K = 10
PROBES = (4, 8, 16, 32, 64, 128)
WANTED = 0.98


def choose_probes(table: ProductTable, queries: np.ndarray) -> tuple[int, dict[str, float]]:
    """How many lists a search has to look into, and the recall@10 that gives.

    Args:
        table: with an approximate index.
        queries: [n, D] float32 of unit length, such as shoppers ask.

    Returns:
        The least of `PROBES` that finds 98 % of the ten nearest, or the most; and the recall by what is filtered:
        "all", "price" (the cheapest hundredth) and "category" (the commonest), as far as there are such.
    """
    truth = [set(table.nearest(query, K, exact=True).ids) for query in queries]
    for probes in PROBES:
        reached = _recall(table, queries, truth, probes, None)
        if reached >= WANTED:
            break
    recall = {"all": reached}
    for name, where in _filters(table).items():
        among = [set(table.nearest(query, K, where=where, exact=True).ids) for query in queries]
        recall[name] = _recall(table, queries, among, probes, where)
    return probes, recall


def _recall(table: ProductTable, queries: np.ndarray, truth: list[set[str]], probes: int, where: str | None) -> float:
    found = [set(table.nearest(query, K, where=where, probes=probes).ids) for query in queries]
    return float(np.mean([len(a & b) / max(1, len(b)) for a, b in zip(found, truth, strict=True)]))


def _filters(table: ProductTable) -> dict[str, str]:
    values = table.scan(["price", "category"])
    filters = {}
    prices = values["price"].drop_null()
    if len(prices):
        filters["price"] = f"price <= {float(np.quantile(prices.to_numpy(), 0.01))!r}"
    categories = pc.value_counts(values["category"].drop_null()).to_pylist()
    if categories:
        commonest = max(categories, key=lambda count: count["counts"])["values"]
        filters["category"] = f"category = {literal(commonest)}"
    return filters
