"""Intervals and the paired test, against known formulas and against chance itself."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from moon2.evaluate import significance
from moon2.evaluate.significance import compare, interval


def test_the_interval_of_a_share_is_that_of_the_textbook() -> None:
    values = np.r_[np.ones(600), np.zeros(400)]
    low, high = interval(values)
    # 0.6 ± 1.96 · √(0.6 · 0.4 / 1000)
    assert (low, high) == pytest.approx((0.5696, 0.6304), abs=2e-3)


def test_the_interval_covers_the_truth_in_about_95_of_100_samples() -> None:
    random = np.random.default_rng(0)
    intervals = [interval(random.random(200) < 0.7) for _ in range(200)]
    covered = np.mean([low <= 0.7 <= high for low, high in intervals])
    assert 0.90 <= covered <= 0.99


def test_a_paired_test_finds_a_difference_that_unpaired_scores_hide() -> None:
    random = np.random.default_rng(1)
    hard = random.random(500)  # queries differ far more than the two models do
    worse = (hard > 0.5).astype(float)
    better = worse.copy()
    better[np.flatnonzero(worse == 0)[:12]] = 1
    comparison = compare(better, worse)
    assert comparison.difference == pytest.approx(12 / 500)
    assert comparison.low > 0
    # Twelve queries of twelve on one side: 2 · (1/2)^12.
    assert comparison.p == pytest.approx(2 * 0.5**12, abs=4e-4)
    assert compare(worse, better).p == pytest.approx(comparison.p, abs=4e-4)


def test_equal_models_are_not_called_different() -> None:
    random = np.random.default_rng(2)
    p = [compare(random.random(100) < 0.5, random.random(100) < 0.5).p for _ in range(200)]
    assert np.mean(np.array(p) < 0.05) < 0.1
    same = random.random(50)
    assert compare(same, same).p == 1.0


def test_memory_is_bounded_where_every_query_scores_something_else() -> None:
    """As with nDCG: without blocks, 3,000 queries take 240 MB and more."""
    ndcg = np.random.default_rng(3).random(3_000)
    tracemalloc.start()
    compare(ndcg, ndcg[::-1])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


def test_what_is_drawn_in_blocks_is_what_is_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(4)
    first, second = random.random(40), random.random(40)
    at_once = interval(first), compare(first, second)
    monkeypatch.setattr(significance, "BLOCK", 40 * 999)
    assert (interval(first), compare(first, second)) == at_once
    drawn = np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), size=significance.RESAMPLES)
    assert interval(first) == pytest.approx(np.quantile(drawn @ np.sort(first) / 40, [0.025, 0.975]))


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="the same queries"):
        compare([1.0], [1.0, 0.0])
    with pytest.raises(ValueError, match="no queries"):
        interval([])
