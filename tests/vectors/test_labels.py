"""The label of an item is the one whose vector is nearest."""

from __future__ import annotations

import numpy as np
import pytest

from moon2.vectors import labels as labels_module
from moon2.vectors.labels import nearest_label

LABELS = np.eye(3, dtype=np.float32)


def test_each_item_gets_its_nearest_label_and_of_equal_ones_the_first() -> None:
    items = np.array([[0, 0.6, 0.8], [1, 0, 0], [0, 0.6, 0.6]], np.float32)
    assert nearest_label(items, LABELS).tolist() == [2, 0, 1]


def test_chosen_rows_are_labelled_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels_module, "BLOCK", 2)
    items = LABELS[[0, 1, 2, 1, 0, 2]]
    assert nearest_label(items, LABELS, np.array([1, 2, 3, 5])).tolist() == [1, 2, 1, 2]


def test_without_items_or_labels_there_is_no_answer() -> None:
    assert nearest_label(LABELS[:0], LABELS).tolist() == []
    assert nearest_label(LABELS, LABELS[:0]).tolist() == []
