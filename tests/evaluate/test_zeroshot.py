"""Zero-shot scores on five items and three labels, counted by hand."""

import numpy as np
import pytest

from moon2.evaluate.zeroshot import classify

LABELS = np.eye(3, dtype=np.float32)


def test_macro_scores_by_hand() -> None:
    # truth a a a b c, predicted a a b b b: a label never predicted (c) counts as precision 0.
    items = LABELS[[0, 0, 1, 1, 1]]
    scores = classify(items, LABELS, [0, 0, 0, 1, 2])
    assert scores["accuracy"] == pytest.approx(100 * 3 / 5)
    assert scores["precision"] == pytest.approx(100 * (1 + 1 / 3 + 0) / 3)
    assert scores["recall"] == pytest.approx(100 * (2 / 3 + 1 + 0) / 3)
    assert scores["f1"] == pytest.approx(100 * (0.8 + 0.5 + 0) / 3)


def test_a_label_neither_true_nor_predicted_is_left_out() -> None:
    items = LABELS[[0, 1]]
    assert classify(items, LABELS, [0, 1]) == {"accuracy": 100.0, "precision": 100.0, "recall": 100.0, "f1": 100.0}


def test_items_and_labels_must_agree() -> None:
    with pytest.raises(ValueError, match="2 items but 1 true labels"):
        classify(LABELS[:2], LABELS, [0])
    with pytest.raises(ValueError, match="rows 0 to 2, got 0 to 3"):
        classify(LABELS[:2], LABELS, [0, 3])
