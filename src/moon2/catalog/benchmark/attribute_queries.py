"""Test queries for a shop without a log: values of attributes with a kind, such as "red cotton shirts", graded.

They are weaker than a log's. No shopper wrote them, they use the shop's own words, and they say nothing of what sells.
An encoder that reads the attributes, or a title that repeats them, answers many of them by words alone.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from moon2.catalog.benchmark.split import draw
from moon2.catalog.facets import Facet, Holders, describe
from moon2.records import Interaction, Query

MAX_QUERIES = 1_000
# A query that more than this share of the gallery answers tells no models apart; so few answers are always allowed.
MAX_SHARE, FEW_ANSWERS = 0.2, 3
# Products that hold all but one of a query's values are graded too, at most so many.
MAX_GRADED = 200


def attribute_queries(rows: Sequence[Mapping[str, Any]], seed: int) -> list[Interaction]:
    """Queries of two to four values that products of a gallery hold.

    Args:
        rows: of the gallery's products, with id, title, category and attributes.
        seed: the same seed draws the same queries.

    Returns:
        Each query once. Its positives are all products that hold every value. A grade is the number of values held, of
        products that hold all or all but one.
    """
    holders = Holders(rows)
    ids = [str(row["id"]) for row in rows]
    most = max(FEW_ANSWERS, int(MAX_SHARE * len(rows)))
    queries: dict[frozenset[str], Interaction] = {}
    for number in sorted(range(len(rows)), key=lambda number: draw(seed, ids[number])):
        if len(queries) == MAX_QUERIES:
            break
        facets = _drawn_facets(rows[number], random.Random(f"{seed}/{ids[number]}"))
        words = frozenset().union(*(facet.words for facet in facets))
        if len(facets) < 2 or words in queries:
            continue
        answers = holders.of(facets)
        if len(answers) <= most:
            grades = {ids[j]: float(len(facets)) for j in answers}
            for left_out in range(len(facets)):
                partly = holders.of(facets[:left_out] + facets[left_out + 1 :])
                for j in partly[: MAX_GRADED - len(grades)] if len(grades) < MAX_GRADED else ():
                    grades.setdefault(ids[j], len(facets) - 1.0)
            query = Query(f"attributes-{len(queries)}", " ".join(facet.text for facet in facets))
            queries[words] = Interaction(query, tuple(ids[j] for j in answers), grades=grades)
    return list(queries.values())


def _drawn_facets(row: Mapping[str, Any], rng: random.Random) -> list[Facet]:
    """One to three values of a product's attributes, in their order, and its kind."""
    described = describe(row)
    values = list(described.values)
    count = min(len(values), rng.choice((1, 2, 2, 3)))
    drawn = [values[k] for k in sorted(rng.sample(range(len(values)), count))]
    return [*drawn, described.kind] if described.kind and described.kind not in drawn else drawn
