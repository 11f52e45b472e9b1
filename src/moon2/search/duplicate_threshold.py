"""How near two vectors must be to be those of one product, from what a catalog itself knows.

Each product is put beside its nearest ones. Of some pairs it is known that they are one product listed twice: they have
nearly the same image, by its hash, or title, by its words. Of others that they are not: they are of another category
or style. The threshold is the lowest at which the known pairs above it are nearly all duplicates. As the pairs are the
nearest ones that there are, they come in the numbers in which a threshold meets them.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np

from moon2.vectors.nearest import top_k

PRECISION = 0.95
"""Share of duplicates among the known pairs at or above the threshold."""
MOST_ROWS, NEAREST = 5_000, 10
"""So many products, evenly spaced, are put beside so many nearest ones."""


@dataclass(frozen=True)
class Threshold:
    """The lowest cosine of a pair of duplicates.

    Attributes:
        cosine: it.
        duplicates, others: how many known pairs at or above it are duplicates, and are not.
        missed: known duplicates below it.
    """

    cosine: float
    duplicates: int = 0
    others: int = 0
    missed: int = 0

    def __str__(self) -> str:
        known = self.duplicates + self.others
        if not known + self.missed:
            return f"cosine {self.cosine:.4f}"
        return (
            f"cosine {self.cosine:.4f}: {self.duplicates:,} of {known:,} known pairs above it are duplicates, "
            f"{self.missed:,} known duplicates are below it"
        )


def learn_threshold(
    vectors: np.ndarray,
    numbers: Sequence[int],
    same: AbstractSet[tuple[int, int]],
    categories: Sequence[tuple[str, ...]],
    styles: Sequence[tuple[str, ...]],
) -> Threshold:
    """The threshold of one view.

    Args:
        vectors: [n, D] float32, unit length.
        numbers: of the products that the rows are of.
        same: pairs of numbers, the lower first, that are known to be duplicates.
        categories, styles: by number; () where not known.
    """
    rows = np.unique(np.linspace(0, len(vectors) - 1, min(MOST_ROWS, len(vectors))).astype(np.int64))
    nearest, cosines = top_k(vectors[rows], vectors, NEAREST, excluded=rows.tolist())
    known: dict[tuple[int, int], tuple[float, bool]] = {}
    for row, others, scores in zip(rows.tolist(), nearest.tolist(), cosines.tolist(), strict=True):
        for other, score in zip(others, scores, strict=True):
            first, second = sorted((numbers[row], numbers[other]))
            is_same = (first, second) in same
            is_other = any(of[first] and of[second] and of[first] != of[second] for of in (categories, styles))
            if np.isfinite(score) and (is_same or is_other):
                known[first, second] = score, is_same
    return _lowest_sure([score for score, _ in known.values()], [is_same for _, is_same in known.values()])


def _lowest_sure(scores: Sequence[float], same: Sequence[bool]) -> Threshold:
    """The lowest score with `PRECISION` at or above it; just above all others where there is none."""
    order = np.argsort(-np.array(scores, np.float64), kind="stable")
    ordered, right = np.array(scores, np.float64)[order], np.array(same, bool)[order]
    found = np.cumsum(right)
    # Equal scores stand or fall together.
    is_last = np.append(ordered[1:] < ordered[:-1], True) if len(ordered) else np.zeros(0, bool)
    sure = np.flatnonzero(is_last & (found >= PRECISION * np.arange(1, len(ordered) + 1)))
    if len(sure):
        last = int(sure[-1])
        count, missed = int(found[last]), int(right.sum() - found[last])
        return Threshold(float(ordered[last]), count, last + 1 - count, missed)
    highest = float(ordered[~right].max()) if len(ordered) else 1.0
    above = min(1.0, float(np.nextafter(np.float32(highest), np.float32(2))) + 1e-5)
    return Threshold(above, 0, 0, int(right.sum()))
