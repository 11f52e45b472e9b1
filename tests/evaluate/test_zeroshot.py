"""Scores of predicted labels, on five items and three labels, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from moon2.evaluate.zeroshot import label_scores


def test_macro_scores_by_hand() -> None:
    # truth a a a b c, predicted a a b b b: a label that is never predicted (c) has precision 0.
    scores = label_scores(np.array([0, 0, 1, 1, 1]), [0, 0, 0, 1, 2])
    assert scores["accuracy"] == pytest.approx(100 * 3 / 5)
    assert scores["precision"] == pytest.approx(100 * (1 + 1 / 3 + 0) / 3)
    assert scores["recall"] == pytest.approx(100 * (2 / 3 + 1 + 0) / 3)
    assert scores["f1"] == pytest.approx(100 * (0.8 + 0.5 + 0) / 3)


def test_a_label_neither_true_nor_predicted_is_left_out() -> None:
    scores = label_scores(np.array([0, 2]), [0, 2])
    assert scores == {"accuracy": 100.0, "precision": 100.0, "recall": 100.0, "f1": 100.0}


@pytest.mark.parametrize("truth", [[0], []])
def test_there_must_be_items_and_a_label_for_each(truth: list[int]) -> None:
    with pytest.raises(ValueError):
        label_scores(np.zeros(2 * len(truth), np.int64), truth)
