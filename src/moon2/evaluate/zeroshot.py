"""Zero-shot prediction: an item's label is the one whose text vector is nearest; no classifier is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moon2.vectors.nearest import top_k

BLOCK = 65_536
"""Items predicted at a time: the chosen rows of a large gallery are never copied whole."""


def classify(item_vectors: np.ndarray, label_vectors: np.ndarray, truth: Sequence[int]) -> dict[str, float]:
    """Predicts each item's label and scores the predictions.

    Precision, recall and F1 are macro averages: the plain mean over labels, however many items each has. A label that
    is never predicted has precision 0, and so F1 0; it is not left out. A label that neither occurs in `truth` nor is
    predicted says nothing and is left out. Of equally near labels the first is predicted.

    Args:
        item_vectors: (items, dimension) float32, unit length.
        label_vectors: (labels, dimension) float32, unit length.
        truth: for each item the row of its label in `label_vectors`.

    Returns:
        `accuracy`, `precision`, `recall`, `f1`, in percent.

    Raises:
        ValueError: there is no item or no label, the lengths do not agree, or a vector is not finite.
    """
    return measures(predict(item_vectors, label_vectors), truth, len(label_vectors))


def predict(item_vectors: np.ndarray, label_vectors: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """(rows,) int64: of these rows of the items, or all, the row of the nearest label; of equally near ones the first.

    Raises:
        ValueError: a vector is not finite.
    """
    chosen = np.arange(len(item_vectors)) if rows is None else np.asarray(rows, dtype=np.int64)
    if not len(chosen) or not len(label_vectors):
        return np.zeros(0, np.int64)
    blocks = (item_vectors[chosen[start : start + BLOCK]] for start in range(0, len(chosen), BLOCK))
    return np.concatenate([top_k(block, label_vectors, 1)[0][:, 0] for block in blocks])


def measures(predicted: np.ndarray, truth: Sequence[int] | np.ndarray, labels: int) -> dict[str, float]:
    """Scores predictions of `labels` labels, as `classify` does.

    Raises:
        ValueError: there is no item or no label, or the lengths do not agree.
    """
    answer = np.asarray(truth, dtype=np.int64)
    if not len(answer) or not labels:
        raise ValueError(f"classify needs items and labels, got {len(answer)} and {labels}")
    if len(answer) != len(predicted):
        raise ValueError(f"{len(predicted)} items but {len(answer)} true labels")
    if answer.min() < 0 or answer.max() >= labels:
        raise ValueError(f"true labels must be rows 0 to {labels - 1}, got {answer.min()} to {answer.max()}")
    right = np.bincount(answer[predicted == answer], minlength=labels).astype(np.float64)
    of_label = np.bincount(answer, minlength=labels)
    called_so = np.bincount(predicted, minlength=labels)
    precision = right / np.maximum(called_so, 1)
    recall = right / np.maximum(of_label, 1)
    f1 = 2 * right / np.maximum(of_label + called_so, 1)
    seen = (of_label + called_so) > 0
    means = {"precision": precision[seen], "recall": recall[seen], "f1": f1[seen]}
    return {
        "accuracy": float(100 * right.sum() / len(answer)),
        **{name: float(100 * values.mean()) for name, values in means.items()},
    }
