"""Graded relevance: nDCG of rankings in which some products have grades and the others have none.

A grade is a gain, as it stands (linear). A product without a grade, or with one below 0, gains nothing. Tied products
are scored as the mean over their orders, as R@k is: by linearity each gains its own gain times the mean discount of the
places that its tie fills. Summed over a tie that is its mean gain times the sum of its discounts, which is what
scikit-learn's `ndcg_score` computes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from moon2.vectors.nearest import TIE_TOLERANCE, places


@dataclass(frozen=True)
class GradedPlaces:
    """Where the graded products of each query stand; every array is (graded products of all queries,).

    Attributes:
        count: queries.
        queries: int64, the number of the product's query, ascending.
        gains: float64, not below 0.
        scores: of the product for the query; they tie where they differ by at most `TIE_TOLERANCE`.
        above, tied: int64, how many of the whole gallery score higher; and as high, the product itself included.
    """

    count: int
    queries: np.ndarray
    gains: np.ndarray
    scores: np.ndarray
    above: np.ndarray
    tied: np.ndarray

    @classmethod
    def of(
        cls, gains: Sequence[Mapping[int, float]], scores: np.ndarray, above: np.ndarray, tied: np.ndarray
    ) -> GradedPlaces:
        """The places of the products that `gains` lists, query after query, in its order."""
        queries = np.repeat(np.arange(len(gains)), np.array([len(rows) for rows in gains], np.int64))
        values = np.array([gain for rows in gains for gain in rows.values()], np.float64)
        return cls(len(gains), queries, values, scores, above, tied)

    def ndcg(self, k: int) -> np.ndarray:
        """(queries,) float64: nDCG@k among the whole gallery; NaN for a query without a gain.

        DCG@k = sum over the first k ranks r of gain / log2(r + 1), over its highest possible value (Järvelin and
        Kekäläinen, 2002).
        """
        return self._over_ideal(self.above, self.tied, k)

    def ndcg_of_graded(self) -> np.ndarray:
        """(queries,) float64: nDCG of the query's graded products alone, without a cut; NaN as in `ndcg`.

        This is the ranking task of ESCI (trec_eval's option -J): unjudged products are not ranked.
        """
        above, tied = np.zeros_like(self.above), np.zeros_like(self.tied)
        starts = np.searchsorted(self.queries, np.arange(self.count + 1))
        for first, last in pairwise(starts):
            own, others = self.scores[first:last, None], self.scores[None, first:last]
            # Infinities, of what a keyword search leaves out, are equal to themselves.
            above[first:last] = (others > own + TIE_TOLERANCE).sum(axis=1)
            tied[first:last] = (others >= own - TIE_TOLERANCE).sum(axis=1) - above[first:last]
        return self._over_ideal(above, tied, int(np.diff(starts).max(initial=1)))

    def _over_ideal(self, above: np.ndarray, tied: np.ndarray, k: int) -> np.ndarray:
        # Of the first n ranks, n = 0 … k, the sum of the discounts.
        sums = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
        filled = sums[np.minimum(above + tied, k)] - sums[np.minimum(above, k)]
        gained = np.bincount(self.queries, self.gains * filled / tied, minlength=self.count)
        order = np.lexsort((-self.gains, self.queries))
        rank = np.arange(len(order)) - np.searchsorted(self.queries, self.queries)
        discount = sums[np.minimum(rank + 1, k)] - sums[np.minimum(rank, k)]
        ideal = np.bincount(self.queries, self.gains[order] * discount, minlength=self.count)
        with np.errstate(invalid="ignore"):
            # NaN where both are 0.
            return np.asarray(gained / ideal, np.float64)


def gains_by_row(grades: Mapping[str, float], place: Mapping[str, int], excluded: int | None) -> dict[int, float]:
    """Row of the gallery → gain, of the graded products in it without the excluded one.

    Args:
        grades: of one query, by product id.
        place: product id → row of the gallery.
        excluded: a row, or None.
    """
    rows = {place[id]: max(float(grade), 0.0) for id, grade in grades.items() if id in place}
    return {row: gain for row, gain in rows.items() if row != excluded}


def graded_places(
    query_vectors: np.ndarray,
    gallery_vectors: np.ndarray,
    gains: Sequence[Mapping[int, float]],
    excluded: Sequence[int | None],
) -> GradedPlaces:
    """Ranks the graded products of every query by cosine.

    Args:
        query_vectors, gallery_vectors: (queries, dimension) and (products, dimension) float32, unit length.
        gains: for each query those of `gains_by_row`.
        excluded: for each query the row that is taken out of its gallery, or None.
    """
    return GradedPlaces.of(gains, *places(query_vectors, gallery_vectors, [[*rows] for rows in gains], excluded))
