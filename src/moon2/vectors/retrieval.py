"""Retrieval in the five directions: where each query's best relevant product stands among all products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moon2.records import Interaction
from moon2.vectors.embed import NO_VECTORS, Vectors
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
    row_of = {id: row for row, id in enumerate(ids)}
    results = {}
    for direction in DIRECTIONS:
        asked, gallery = queries.get(direction.query, NO_VECTORS), products.get(direction.product, NO_VECTORS)
        place = {int(row): position for position, row in enumerate(gallery.rows)}
        numbers = asked.rows.tolist()
        relevant, excluded = [], []
        for number in numbers:
            interaction = interactions[number]
            positions = (place.get(row_of.get(id, -1)) for id in interaction.positive_ids)
            relevant.append([position for position in positions if position is not None])
            excluded.append(place.get(row_of.get(interaction.query.product_id or "", -1)))
        asking, found = (shortened_rows(each.matrix, dimension) for each in (asked, gallery))
        ranking = ranks(asking, found, relevant, excluded)
        results[direction] = DirectionRanks(numbers, len(gallery.rows), ranking)
        release(asked.matrix, gallery.matrix)
    return results


def recalls(ranks: Mapping[Objective, DirectionRanks], k: int) -> dict[str, float]:
    """R@k in percent, of each direction in which a query could be scored."""
    return {str(direction): 100 * float(row.ranks.hits(k).mean()) for direction, row in ranks.items() if row.scored}
