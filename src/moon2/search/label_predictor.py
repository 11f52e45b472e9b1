"""The labels of one task: predicted for every product, with confidence, and doubted where all speaks against them.

No product has a vote on itself or on what is nearly the same. So a label that stands in the catalog is looked at as if
it were not there, and what is found wrong is found by the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from moon2.vectors.calibration import accuracy_at_coverage, calibration_error, fit_calibration
from moon2.vectors.labels import MOST_FITTED, LabelRule, fit_label_rule, label_cosines, label_shares
from moon2.vectors.nearest import top_k

NEIGHBOURS = 50
SHOWN_NEIGHBOURS = 5
COVERAGE = 0.8
BLOCK = 4096
"""Products whose chances are in memory at a time, BLOCK × labels × 4 bytes."""
DEFAULT_RULE = LabelRule(text_sharpness=20, vote_sharpness=20, weight=0.5)
"""Where there are too few labels to fit one."""
DOUBTED_FROM = 0.8
"""A label is doubted only where another is so likely to be right."""


@dataclass(frozen=True)
class Figures:
    """How good predictions are on products that were held out.

    Attributes:
        products: how many.
        accuracy: share of right ones, 0 to 1.
        accuracy_at_coverage: the same among the surest 80 %.
        calibration_error: see `moon2.vectors.calibration`.
    """

    products: int
    accuracy: float
    accuracy_at_coverage: float
    calibration_error: float


@dataclass(frozen=True)
class Doubt:
    """A label of the catalog that looks wrong.

    Attributes:
        row: of the product.
        label, predicted: numbers of both labels.
        chance: of the catalog's label.
        confidence: in the predicted one.
        neighbours: rows of the nearest products that have the predicted label, nearest first.
    """

    row: int
    label: int
    predicted: int
    chance: float
    confidence: float
    neighbours: tuple[int, ...]


@dataclass(frozen=True)
class Predicted:
    """One task.

    Attributes:
        predicted: [n] int64, number of each product's likeliest label.
        confidence: [n] float64, 0 to 1.
        figures: of "label text", "neighbours" and "both"; empty where nothing is held out.
        weight: of the neighbours in "both", 0 to 1.
        is_calibrated: false where there were too few products to learn what a score is worth.
        doubts: the least likely label first.
    """

    predicted: np.ndarray
    confidence: np.ndarray
    figures: Mapping[str, Figures]
    weight: float
    is_calibrated: bool
    doubts: Sequence[Doubt]


@dataclass(frozen=True)
class Neighbours:
    """The nearest products that a product may be told by: [n, k] rows (int64) and cosines (float32, -inf for none)."""

    rows: np.ndarray
    cosines: np.ndarray


def find_neighbours(vectors: np.ndarray, learned: np.ndarray, groups: np.ndarray) -> Neighbours:
    """The nearest learned products of every product, without those of its own group.

    Args:
        vectors: [n, D] float32, unit length.
        learned: rows of products that may have a vote.
        groups: [n] int64, number of each product's near-duplicates.
    """
    rows, cosines = top_k(vectors, vectors[learned], NEIGHBOURS, groups=(groups, groups[learned]))
    return Neighbours(learned[rows] if len(learned) else rows, cosines)


class LabelPredictor:
    """One task's rule, fitted to the calibration part.

    Args:
        vectors: [n, D] float32, unit length.
        texts: [1 + P, L, D] float32, unit length, of the labels as text, see `label_cosines`.
        truth: [n] int64, number of each product's label; -1 where it has none.
        neighbours: of `find_neighbours`; one without a label has no vote.
        calibration, held_out: rows of products with a label, none of them a neighbour. How common labels are is
            counted among the other products.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        texts: np.ndarray,
        truth: np.ndarray,
        neighbours: Neighbours,
        calibration: np.ndarray,
        held_out: np.ndarray,
    ) -> None:
        self.vectors, self.texts, self.truth, self.neighbours = vectors, texts, truth, neighbours
        self.calibration, self.held_out = calibration, held_out
        others = np.delete(truth, np.concatenate([calibration, held_out]))
        self.shares = label_shares(np.bincount(others[others >= 0], minlength=texts.shape[1]))

    def predict(self) -> Predicted:
        """Fits the rule, and predicts every product."""
        fitted = self.calibration[:: max(1, -(-len(self.calibration) // MOST_FITTED))]
        rule = fit_label_rule(*self._seen(fitted), self.truth[fitted]) if len(fitted) else DEFAULT_RULE
        ways = {"label text": replace(rule, weight=0), "neighbours": replace(rule, weight=1), "both": rule}
        answers = dict(zip(ways, self._answers([*ways.values()]), strict=True))
        figures, held_out = {}, self.held_out
        for name, (predicted, scores, _) in answers.items():
            right = predicted == self.truth
            calibration = fit_calibration(scores[self.calibration], right[self.calibration])
            confidence = calibration(scores) if calibration else scores
            if len(held_out):
                # Where steps of the confidence tie, the score says which is surer.
                surest = (confidence + 1e-6 * scores)[held_out]
                at = accuracy_at_coverage(surest, right[held_out], COVERAGE)
                error = calibration_error(confidence[held_out], right[held_out])
                figures[name] = Figures(len(held_out), float(right[held_out].mean()), at, error)
        predicted, scores, own = answers["both"]  # and confidence is of both, the last way
        doubts = self._doubts(predicted, scores, confidence, own)
        return Predicted(predicted, confidence, figures, rule.weight, calibration is not None, doubts)

    def _seen(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """What a rule is given of these products; see `LabelRule.chances`."""
        near, cosines = self.neighbours.rows[rows], self.neighbours.cosines[rows]
        return label_cosines(self.vectors[rows], self.texts), self.shares, cosines, self.truth[near]

    def _answers(self, rules: Sequence[LabelRule]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """By rule of all products, [n] each: the likeliest label, its chance, that of the catalog's label or 0."""
        count = len(self.vectors)
        answers = [(np.zeros(count, np.int64), np.zeros(count), np.zeros(count)) for _ in rules]
        for start in range(0, count, BLOCK):
            block = np.arange(start, min(start + BLOCK, count))
            seen, places, truth = self._seen(block), np.arange(len(block)), self.truth[block]
            for rule, (predicted, scores, own) in zip(rules, answers, strict=True):
                chances = rule.chances(*seen)
                predicted[block] = chances.argmax(axis=1)
                scores[block] = chances[places, predicted[block]]
                own[block] = np.where(truth >= 0, chances[places, np.maximum(truth, 0)], 0)
        return answers

    def _doubts(
        self, predicted: np.ndarray, scores: np.ndarray, confidence: np.ndarray, own: np.ndarray
    ) -> list[Doubt]:
        """Confident learning (Northcutt, Jiang and Chuang, JAIR 2021).

        A label is doubted where another one is as likely as it is, on average, for the products that have that one.
        """
        labelled = np.flatnonzero(self.truth >= 0)
        sums = np.bincount(self.truth[labelled], own[labelled], minlength=self.texts.shape[1])
        counts = np.bincount(self.truth[labelled], minlength=self.texts.shape[1])
        usual = sums / np.maximum(counts, 1)
        is_doubted = (predicted != self.truth) & (scores >= usual[predicted]) & (confidence >= DOUBTED_FROM)
        doubted = labelled[is_doubted[labelled]]
        order = np.lexsort((-confidence[doubted], own[doubted]))
        return [
            Doubt(
                int(row),
                int(self.truth[row]),
                int(predicted[row]),
                float(own[row]),
                float(confidence[row]),
                tuple(self._witnesses(row, predicted[row])),
            )
            for row in doubted[order]
        ]

    def _witnesses(self, row: int, label: int) -> list[int]:
        near = self.neighbours.rows[row][np.isfinite(self.neighbours.cosines[row])]
        return [int(other) for other in near if self.truth[other] == label][:SHOWN_NEIGHBOURS]
