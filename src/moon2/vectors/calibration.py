"""How far a prediction can be believed: scores to shares of right answers, and how well that holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FEWEST = 50
"""Of so many predictions or more can be learned how often a score is right."""
BINS = 15


@dataclass(frozen=True)
class Calibration:
    """A rising function from score to confidence, by isotonic regression (Zadrozny and Elkan, KDD 2002).

    Attributes:
        scores, confidences: [m] float64, ascending; between two of them it runs straight, beyond them it is level.
    """

    scores: np.ndarray
    confidences: np.ndarray

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """[n] scores → [n] float64, how likely each prediction is to be right."""
        return np.interp(scores, self.scores, self.confidences)


def fit_calibration(scores: np.ndarray, right: np.ndarray) -> Calibration | None:
    """What the scores of some predictions are worth; None where there are too few to tell.

    Of n predictions that all were right one does not learn that such are always right: confidences keep 1 / (n + 2)
    away from 0 and 1.

    Args:
        scores: [n], of predictions on items that the predictor has not learned from.
        right: [n] bool.
    """
    from sklearn.isotonic import IsotonicRegression

    if len(scores) < FEWEST:
        return None
    margin = 1 / (len(scores) + 2)
    isotonic = IsotonicRegression(y_min=margin, y_max=1 - margin).fit(scores, right)
    return Calibration(np.asarray(isotonic.X_thresholds_, float), np.asarray(isotonic.y_thresholds_, float))


def accuracy_at_coverage(confidences: np.ndarray, right: np.ndarray, coverage: float) -> float:
    """The share of right answers, 0 to 1, when only the surest `coverage` of the items are answered; ties shuffled.

    Raises:
        ValueError: there is no item.
    """
    if not len(right):
        raise ValueError("there is no item to be right or wrong about")
    answered = max(1, round(coverage * len(right)))
    last = np.sort(confidences)[::-1][answered - 1]
    above, tied = confidences > last, confidences == last
    sure = right[above].sum()
    return float((sure + (answered - above.sum()) * right[tied].mean()) / answered)


def calibration_error(confidences: np.ndarray, right: np.ndarray) -> float:
    """By how much confidence and share of right answers differ, 0 to 1, on average over bins of equal size.

    The expected calibration error (Naeini, Cooper and Hauskrecht, AAAI 2015) with bins of equal numbers of items.

    Raises:
        ValueError: there is no item.
    """
    if not len(right):
        raise ValueError("there is no item to be right or wrong about")
    order = np.argsort(confidences, kind="stable")
    bins = np.array_split(order, min(BINS, len(order)))
    gaps = [len(rows) * abs(float(confidences[rows].mean()) - float(right[rows].mean())) for rows in bins]
    return sum(gaps) / len(order)
