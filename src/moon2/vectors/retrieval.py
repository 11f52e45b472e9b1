"""Retrieval in the five directions: where each query's best relevant product stands among all products."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from moon2.records import Interaction
from moon2.vectors.embed import NO_VECTORS, Vectors
from moon2.vectors.graded import GradedPlaces, gains_by_row, graded_places
from moon2.vectors.nearest import Ranks, ranks
from moon2.vectors.table import release, shortened_rows
from moon2.views import DIRECTIONS, Objective, View


@dataclass(frozen=True)
class DirectionRanks:
    """One direction.

    Attributes:
        queries: the numbers of the interactions whose query has the direction's view.
        products: how many products have the direction's view.
        ranks: of those queries.
    """

    queries: Sequence[int]
    products: int
    ranks: Ranks

    @property
    def scored(self) -> list[int]:
        """The numbers of the interactions that have a relevant product to find."""
        return [number for number, scored in zip(self.queries, self.ranks.scored, strict=True) if scored]


def rank_directions(
    queries: Mapping[View, Vectors],
    products: Mapping[View, Vectors],
    interactions: Sequence[Interaction],
    ids: Sequence[str],
    dimension: int | None = None,
) -> dict[Objective, DirectionRanks]:
    """Ranks the relevant products of every query in every direction.

    The product whose photo a query shows is left out of the query's gallery.

    Args:
        queries: of `embed_queries`; its rows count the interactions.
        products: of `embed_products`; its rows count the ids.
        interactions: the queries with their relevant products.
        ids: of the products.
        dimension: vectors are cut to this length, at most their own; their own when not given.
    """
    results = {}
    for direction, asked, gallery, place in _pairs_of_views(queries, products, ids):
        numbers = asked.rows.tolist()
        some = [interactions[number] for number in numbers]
        relevant = [[place[id] for id in it.positive_ids if id in place] for it in some]
        asking, found = (shortened_rows(each.matrix, dimension) for each in (asked, gallery))
        ranking = ranks(asking, found, relevant, _own_products(some, place))
        results[direction] = DirectionRanks(numbers, len(gallery.rows), ranking)
        release(asked.matrix, gallery.matrix)
    return results


def grade_directions(
    queries: Mapping[View, Vectors],
    products: Mapping[View, Vectors],
    interactions: Sequence[Interaction],
    ids: Sequence[str],
) -> dict[Objective, GradedPlaces]:
    """Ranks the graded products of every query in every direction; empty where no query has grades.

    Arguments and the order of the queries are those of `rank_directions`.
    """
    if not any(interaction.grades for interaction in interactions):
        return {}
    results = {}
    for direction, asked, gallery, place in _pairs_of_views(queries, products, ids):
        some = [interactions[number] for number in asked.rows.tolist()]
        excluded = _own_products(some, place)
        gains = [gains_by_row(it.grades, place, out) for it, out in zip(some, excluded, strict=True)]
        results[direction] = graded_places(asked.matrix, gallery.matrix, gains, excluded)
        release(asked.matrix, gallery.matrix)
    return results


def _pairs_of_views(
    queries: Mapping[View, Vectors], products: Mapping[View, Vectors], ids: Sequence[str]
) -> Iterator[tuple[Objective, Vectors, Vectors, dict[str, int]]]:
    """Each direction with the vectors of its queries and products, and the row of each product by its id."""
    for direction in DIRECTIONS:
        asked, gallery = queries.get(direction.query, NO_VECTORS), products.get(direction.product, NO_VECTORS)
        yield direction, asked, gallery, {ids[int(row)]: position for position, row in enumerate(gallery.rows)}


def _own_products(interactions: Sequence[Interaction], place: Mapping[str, int]) -> list[int | None]:
    """Of each query the row of the product whose photo it shows."""
    return [place.get(interaction.query.product_id or "") for interaction in interactions]


def recalls(ranks: Mapping[Objective, DirectionRanks], k: int) -> dict[str, float]:
    """R@k in percent, of each direction in which a query could be scored."""
    return {str(direction): 100 * float(row.ranks.hits(k).mean()) for direction, row in ranks.items() if row.scored}
