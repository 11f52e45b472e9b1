"""Queries to look at: a few drawn at random, and those whose relevant product stands furthest below the top.

The random ones show what the encoder does as a rule, the hard ones where it fails. A hard one is often no fault of the
encoder: a log has purchases that have nothing to do with the search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moon2.records import Interaction
from moon2.vectors.embed import NO_VECTORS, Vectors
from moon2.vectors.nearest import Ranks, top_k
from moon2.vectors.retrieval import DirectionRanks
from moon2.views import INTER_OBJECTIVES, Objective, View

EXAMPLES, HARD_EXAMPLES, RESULTS, SEED = 5, 3, 5, 0
"""Random queries and hard ones of each view, results kept of each, and the seed of the draw."""

Example = dict[str, Any]


class Examples:
    """Picks queries of each view, and tells what they find in the mm gallery.

    Args:
        queries: their vectors by view.
        products: the gallery's vectors by view.
        interactions: what the rows of `queries` count.
        ids: of the products that the rows of `products` count.
    """

    def __init__(
        self,
        queries: Mapping[View, Vectors],
        products: Mapping[View, Vectors],
        interactions: Sequence[Interaction],
        ids: Sequence[str],
    ) -> None:
        self.queries, self.interactions = queries, interactions
        gallery = products.get("mm", NO_VECTORS)
        self.gallery = gallery.matrix
        self.ids = [ids[row] for row in gallery.rows]
        self.row_of = {id: row for row, id in enumerate(self.ids)}
        self.directions = [direction for direction in INTER_OBJECTIVES if direction.query in queries]

    def random(self) -> dict[str, list[Example]]:
        """Direction → examples, as `Evaluation.examples`.

        One random order of the queries serves every view, so that a query that has all three is shown in all three.
        """
        order = np.random.default_rng(SEED).permutation(len(self.interactions)).tolist()
        examples: dict[str, list[Example]] = {}
        for direction in self.directions:
            index_of = {int(number): index for index, number in enumerate(self.queries[direction.query].rows)}
            usable = [index_of[number] for number in order if number in index_of and self._relevant(number)]
            if usable:
                examples[str(direction)] = self._results(direction, usable[:EXAMPLES])
        return examples

    def hard(self, ranks: Mapping[Objective, DirectionRanks]) -> dict[str, list[Example]]:
        """Direction → examples, hardest first, as `Evaluation.hard`."""
        examples: dict[str, list[Example]] = {}
        for direction in self.directions:
            asked = self.queries[direction.query]
            expected = _expected_rank(ranks[direction].ranks)
            # Stable, so that of equally hard queries the one earlier in the log is taken.
            worst = np.argsort(-expected, kind="stable")[:HARD_EXAMPLES]
            chosen = [int(index) for index in worst if expected[index] > RESULTS]
            if not chosen:
                continue
            examples[str(direction)] = self._results(direction, chosen)
            for index, example in zip(chosen, examples[str(direction)], strict=True):
                relevant = self._relevant(int(asked.rows[index]))
                similarities = self.gallery[[self.row_of[id] for id in relevant]] @ asked.matrix[index]
                best = int(np.argmax(similarities))
                example["relevant"] = relevant[best]
                example["rank"] = round(float(expected[index]))
                example["similarity"] = round(float(similarities[best]), 4)
        return examples

    def _relevant(self, number: int) -> list[str]:
        """The relevant products of a query that are in the gallery."""
        interaction = self.interactions[number]
        shown = interaction.query.product_id
        return [id for id in dict.fromkeys(interaction.positive_ids) if id in self.row_of and id != shown]

    def _results(self, direction: Objective, indices: Sequence[int]) -> list[Example]:
        """What the queries at these rows of a view's matrix find."""
        asked = self.queries[direction.query]
        interactions = [self.interactions[number] for number in asked.rows[list(indices)]]
        excluded = [self.row_of.get(interaction.query.product_id or "") for interaction in interactions]
        nearest, cosines = top_k(asked.matrix[list(indices)], self.gallery, RESULTS, excluded)
        examples = []
        for interaction, rows, scores in zip(interactions, nearest, cosines, strict=True):
            results = [
                (self.ids[row], float(score)) for row, score in zip(rows, scores, strict=True) if np.isfinite(score)
            ]
            examples.append(
                {
                    "query": interaction.query.id,
                    "results": [id for id, _ in results],
                    "right": [id in interaction.positive_ids for id, _ in results],
                    "similarities": [round(score, 4) for _, score in results],
                }
            )
        return examples


def _expected_rank(ranks: Ranks) -> np.ndarray:
    """[queries] float64: mean rank of the first relevant product with ties shuffled; 0 where there is none."""
    rank = ranks.above + 1 + ranks.tied_irrelevant / (ranks.tied_relevant + 1)
    return np.where(ranks.scored, rank, 0.0)
