"""Labels by vectors: an item's label is the one whose text vector is nearest; no classifier is trained."""

from __future__ import annotations

import numpy as np

from moon2.vectors.nearest import top_k

BLOCK = 65_536
"""Items labelled at a time: the chosen rows of a large table are never copied whole."""


def nearest_label(items: np.ndarray, labels: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """The nearest label of each item; of equally near ones the first.

    Args:
        items: [n, D] float32, unit length.
        labels: [L, D] float32, unit length.
        rows: [m] int64, which items; all when not given.

    Returns:
        [m] int64, rows of `labels`; empty where there is no item or no label.

    Raises:
        ValueError: a vector is not finite.
    """
    chosen = np.arange(len(items)) if rows is None else np.asarray(rows, dtype=np.int64)
    if not len(chosen) or not len(labels):
        return np.zeros(0, np.int64)
    blocks = (items[chosen[start : start + BLOCK]] for start in range(0, len(chosen), BLOCK))
    return np.concatenate([top_k(block, labels, 1)[0][:, 0] for block in blocks])
