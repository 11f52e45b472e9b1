"""Zero-shot prediction: an item's label is the one whose text vector is nearest; no classifier is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moon2.evaluate.retrieval import top_k


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
    answer = np.asarray(truth, dtype=np.int64)
    labels = len(label_vectors)
    if not len(answer) or not labels:
        raise ValueError(f"classify needs items and labels, got {len(answer)} and {labels}")
    if len(answer) != len(item_vectors):
        raise ValueError(f"{len(item_vectors)} items but {len(answer)} true labels")
    if answer.min() < 0 or answer.max() >= labels:
        raise ValueError(f"true labels must be rows 0 to {labels - 1}, got {answer.min()} to {answer.max()}")
    predicted = top_k(item_vectors, label_vectors, 1)[0][:, 0]
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
