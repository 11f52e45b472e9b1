"""Scores of zero-shot labels: how often the nearest label, `moon2.vectors.labels.nearest_label`, is the right one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import accuracy_score, precision_recall_fscore_support


def label_scores(predicted: np.ndarray, truth: Sequence[int] | np.ndarray) -> dict[str, float]:
    """Accuracy, precision, recall and F1 of predicted labels, in percent.

    All but the accuracy are macro averages: the plain mean over labels, however many items each has. A label that is
    never predicted has precision 0. One that neither occurs nor is predicted is left out.

    Raises:
        ValueError: there is no item, or the lengths do not agree.
    """
    precision, recall, f1, _ = precision_recall_fscore_support(truth, predicted, average="macro", zero_division=0)
    scores = {"accuracy": accuracy_score(truth, predicted), "precision": precision, "recall": recall, "f1": f1}
    return {name: float(100 * score) for name, score in scores.items()}
