"""Queries to look at: a few drawn at random, and those whose relevant product stands furthest below the top.

The random ones say what the encoder does as a rule, the hard ones where it fails. A hard one is often no fault of the
encoder: a log has purchases that have nothing to do with the search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moon2.records import Interaction
from moon2.vectors.embed import Views
from moon2.vectors.nearest import Ranks, top_k

FORMS = ("t", "i", "mm")
EXAMPLES, HARD_EXAMPLES, RESULTS, SEED = 5, 3, 5, 0
"""Random queries and hard ones of each form, results kept of each, and the seed of the draw."""

Example = dict[str, Any]


class Examples:
    """Picks queries of each form, and says what they find in the mm gallery.

    Args:
        queries: the vectors of each form.
        gallery: the vectors of each view.
        interactions: what the numbers in `queries` count.
        ids: of the products that the numbers in `gallery` count.
    """

    def __init__(self, queries: Views, gallery: Views, interactions: Sequence[Interaction], ids: Sequence[str]) -> None:
        self.queries, self.interactions = queries, interactions
        products, self.gallery = gallery.get("mm", (np.zeros(0, np.int64), np.zeros((0, 1), np.float32)))
        self.ids = [ids[number] for number in products]
        self.place = {id: place for place, id in enumerate(self.ids)}

    def random(self) -> dict[str, list[Example]]:
        """Direction → examples, as `Evaluation.examples`.

        One random order of the queries serves every form, so that a query that has all three is seen in all three.
        """
        order = np.random.default_rng(SEED).permutation(len(self.interactions)).tolist()
        found: dict[str, list[Example]] = {}
        for form, (numbers, _) in self._forms():
            row_of = {int(number): row for row, number in enumerate(numbers)}
            rows = [row_of[number] for number in order if number in row_of and self._relevant(number)]
            if rows:
                found[f"{form}→mm"] = self._seen(form, rows[:EXAMPLES])
        return found

    def hard(self, ranks: Mapping[str, Ranks]) -> dict[str, list[Example]]:
        """Direction → examples, hardest first, as `Evaluation.hard`.

        Args:
            ranks: direction → where the best relevant product of each query of that form stands.
        """
        found: dict[str, list[Example]] = {}
        for form, (numbers, vectors) in self._forms():
            if f"{form}→mm" not in ranks:
                continue
            expected = _expected_rank(ranks[f"{form}→mm"])
            # Stable, so that of equally hard queries the one earlier in the log is taken.
            worst = np.argsort(-expected, kind="stable")[:HARD_EXAMPLES]
            rows = [int(row) for row in worst if expected[row] > RESULTS]
            examples = self._seen(form, rows) if rows else []
            for row, example in zip(rows, examples, strict=True):
                relevant = self._relevant(int(numbers[row]))
                similarities = self.gallery[[self.place[id] for id in relevant]] @ vectors[row]
                best = int(np.argmax(similarities))
                example["relevant"] = relevant[best]
                example["rank"] = round(float(expected[row]))
                example["similarity"] = round(float(similarities[best]), 4)
            if examples:
                found[f"{form}→mm"] = examples
        return found

    def _forms(self) -> list[tuple[str, tuple[np.ndarray, np.ndarray]]]:
        return [(form, self.queries[form]) for form in FORMS if form in self.queries]

    def _relevant(self, number: int) -> list[str]:
        """The relevant products of a query that can be found."""
        interaction = self.interactions[number]
        own = interaction.query.product_id
        return [id for id in dict.fromkeys(interaction.positive_ids) if id in self.place and id != own]

    def _seen(self, form: str, rows: Sequence[int]) -> list[Example]:
        """What queries find, given by their rows among the vectors of a form."""
        numbers, vectors = self.queries[form]
        asked = [self.interactions[number] for number in numbers[list(rows)]]
        own = [self.place.get(interaction.query.product_id or "") for interaction in asked]
        nearest, cosines = top_k(vectors[list(rows)], self.gallery, RESULTS, own)
        examples = []
        for interaction, places, scores in zip(asked, nearest, cosines, strict=True):
            found = [
                (self.ids[place], float(score))
                for place, score in zip(places, scores, strict=True)
                if np.isfinite(score)
            ]
            examples.append(
                {
                    "query": interaction.query.id,
                    "results": [id for id, _ in found],
                    "right": [id in interaction.positive_ids for id, _ in found],
                    "similarities": [round(score, 4) for _, score in found],
                }
            )
        return examples


def _expected_rank(ranks: Ranks) -> np.ndarray:
    """(queries,) float64: mean place of the first relevant product with ties shuffled; 0 where there is none."""
    rank = ranks.above + 1 + ranks.tied_irrelevant / (ranks.tied_relevant + 1)
    return np.where(ranks.scored, rank, 0.0)
