"""Labels of clouds of points, where it is known who is right."""

from __future__ import annotations

import numpy as np
import pytest

from moon2.search.label_predictor import LabelPredictor, Predicted, find_neighbours

LABELS, EACH, WRONG = 4, 200, 24
COUNT = LABELS * EACH


def clouds(spread: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Points of unit length around four axes, [n, 8], and which axis."""
    generator = np.random.default_rng(0)
    truth = np.tile(np.arange(LABELS), EACH)
    points = np.eye(8)[truth] + spread * generator.normal(size=(COUNT, 8))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32), truth


def predicted(points: np.ndarray, truth: np.ndarray, texts: np.ndarray | None = None) -> Predicted:
    """The first half is learned from, a quarter each for confidence and for the figures."""
    rows = np.arange(COUNT)
    learned, calibration, held_out = np.split(rows, [COUNT // 2, COUNT * 3 // 4])
    near = find_neighbours(points, learned, rows)
    texts = np.eye(8, dtype=np.float32)[:LABELS] if texts is None else texts
    return LabelPredictor(points, texts[None], truth, near, calibration, held_out).predict()


def test_a_wrong_label_is_found_and_right_ones_are_left_alone() -> None:
    points, truth = clouds(spread=0.2)
    wrong = np.arange(0, COUNT, COUNT // WRONG)[:WRONG]
    given = truth.copy()
    given[wrong] = (truth[wrong] + 1) % LABELS
    doubts = predicted(points, given).doubts
    found = {doubt.row for doubt in doubts}
    assert found <= set(wrong.tolist()) and len(found) >= 0.9 * WRONG
    assert all(doubt.predicted == truth[doubt.row] and doubt.label == given[doubt.row] for doubt in doubts)
    assert all(given[other] == doubt.predicted and other != doubt.row for doubt in doubts for other in doubt.neighbours)
    assert [doubt.chance for doubt in doubts] == sorted(doubt.chance for doubt in doubts)


def test_figures_are_of_the_held_out_and_the_surest_are_righter() -> None:
    points, truth = clouds()
    result = predicted(points, truth)
    both = result.figures["both"]
    assert both.products == COUNT // 4
    right = (result.predicted == truth)[COUNT * 3 // 4 :]
    assert both.accuracy == pytest.approx(right.mean()) and 0.8 < both.accuracy < 0.98
    assert both.accuracy_at_coverage > both.accuracy + 0.02
    assert both.calibration_error < 0.08 and result.is_calibrated


def test_the_better_way_counts_more() -> None:
    points, truth = clouds()
    astray = np.roll(np.eye(8, dtype=np.float32)[:LABELS], 1, axis=0)  # each text stands where another label is
    result = predicted(points, truth, astray)
    assert result.figures["label text"].accuracy < 0.2
    assert result.weight >= 0.9 and result.figures["both"].accuracy >= result.figures["neighbours"].accuracy - 0.01


def test_neither_a_product_nor_its_copies_nor_who_was_not_learned_has_a_vote() -> None:
    points, _ = clouds()
    points[1] = points[0]
    groups = np.arange(COUNT)
    groups[1] = 0
    near = find_neighbours(points, np.arange(100), groups)
    reached = {row: set(near.rows[row][np.isfinite(near.cosines[row])].tolist()) for row in range(COUNT)}
    assert not reached[0] & {0, 1} and not reached[1] & {0, 1}
    assert all(row not in others and max(others) < 100 for row, others in reached.items())


def test_few_labels_are_predicted_without_a_claim() -> None:
    points, truth = clouds()
    rows = np.arange(COUNT)
    near = find_neighbours(points, rows[:10], rows)
    none = rows[:0]
    texts = np.eye(8, dtype=np.float32)[:LABELS]
    result = LabelPredictor(points, texts[None], truth, near, none, none).predict()
    assert not result.is_calibrated and result.figures == {} and len(result.predicted) == COUNT
