"""Confidence is how often a prediction of that score is right."""

from __future__ import annotations

import numpy as np
import pytest

from moon2.vectors.calibration import accuracy_at_coverage, calibration_error, fit_calibration


def test_scores_that_promise_too_much_are_calibrated_on_other_items() -> None:
    generator = np.random.default_rng(0)
    scores = generator.random(4000)
    right = generator.random(4000) < scores**2  # a score of 0.7 is right in half of the cases
    calibration = fit_calibration(scores[:2000], right[:2000])
    assert calibration is not None
    confidence = calibration(scores[2000:])
    assert calibration_error(scores[2000:], right[2000:]) > 0.14
    assert calibration_error(confidence, right[2000:]) < 0.04
    assert float(calibration(np.array([0.7]))[0]) == pytest.approx(0.49, abs=0.08)
    assert (np.diff(calibration(np.linspace(0, 1, 100))) >= 0).all()


def test_nothing_is_certain_and_few_items_tell_nothing() -> None:
    always = fit_calibration(np.linspace(0.5, 1, 98), np.ones(98, bool))
    assert always is not None and always(np.array([0.1, 2.0])).tolist() == [0.99, 0.99]
    assert fit_calibration(np.linspace(0.5, 1, 49), np.ones(49, bool)) is None


def test_the_surest_are_answered_and_ties_are_shuffled() -> None:
    right = np.array([True, False, True, False])
    assert accuracy_at_coverage(np.array([0.9, 0.1, 0.8, 0.2]), right, 0.5) == 1
    assert accuracy_at_coverage(np.array([0.9, 0.9, 0.9, 0.9]), right, 0.5) == 0.5
    assert accuracy_at_coverage(np.array([0.9, 0.5, 0.5, 0.1]), right, 0.5) == 0.75


def test_the_error_is_the_gap_between_promise_and_result() -> None:
    assert calibration_error(np.full(60, 0.75), np.arange(60) % 4 > 0) == pytest.approx(0)
    assert calibration_error(np.full(60, 0.75), np.ones(60, bool)) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="no item"):
        calibration_error(np.zeros(0), np.zeros(0, bool))
