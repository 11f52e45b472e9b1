"""A check for a catalog without test queries: whether a product's photo finds its own title, and its title its photo.

It shows that photos and titles were aligned. It is no search quality: no shopper asked, and a title names its product
more closely than any query does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from moon2.catalog.store import Catalog
from moon2.evaluate.per_query import KS, QueryScores
from moon2.records import Interaction, Query
from moon2.vectors.embed import Vectors
from moon2.vectors.retrieval import rank_directions
from moon2.views import View

DIRECTIONS = ("i→t", "t→i")


def own_title_scores(products: Mapping[View, Vectors], catalog: Catalog, ids: Sequence[str]) -> dict[str, QueryScores]:
    """By "i→t" and "t→i", what each product scores that has both; a product with an equal title is as right.

    Args:
        products: of `embed_products`; its rows count the ids.
        catalog: holds the products.
        ids: of the gallery's products.
    """
    members = set(ids)
    title_of = {row["id"]: row["title"] or "" for row in catalog.rows(None, ["id", "title"]) if row["id"] in members}
    of_title: defaultdict[str, list[str]] = defaultdict(list)
    for id in ids:
        of_title[title_of[id]].append(id)
    alone: dict[View, Vectors] = {view: products[view] for view in ("t", "i") if view in products}
    asked = [Interaction(Query(id, title_of[id] or id), tuple(of_title[title_of[id]])) for id in ids]
    scores = {}
    for direction, result in rank_directions(alone, alone, asked, ids).items():
        if str(direction) in DIRECTIONS and (numbers := result.scored):
            scored = [ids[number] for number in numbers]
            scores[str(direction)] = QueryScores(scored, [0] * len(scored), {k: result.ranks.hits(k) for k in KS})
    return scores
