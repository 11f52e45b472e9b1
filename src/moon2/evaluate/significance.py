"""How far a score can be trusted: bootstrap intervals, and a paired test between two models on the same queries.

A score is a mean over queries. Resampling queries is resampling how often each distinct value occurs, which is not an
approximation. Where queries count 0 or 1, it costs the same for 600 as for 600,000. Measures of graded relevance have
nearly as many values as queries: time grows with them, and memory is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95
SEED = 0
BLOCK = 4_000_000
"""Counts that are drawn at a time, 32 MB."""


@dataclass(frozen=True)
class Comparison:
    """Two models on the same queries.

    Attributes:
        difference: mean of the first less mean of the second.
        low, high: its 95 % bootstrap interval.
        p: how often chance alone, swapping the two models' results at random query by query, makes a difference at
            least as large, in either direction (two-sided sign-flip test; never below 1 / (resamples + 1)).
        queries: how many were compared.
    """

    difference: float
    low: float
    high: float
    p: float
    queries: int


def interval(values: Sequence[float] | np.ndarray, *, seed: int = SEED) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of a mean over queries (Efron and Tibshirani, 1993, chapter 13).

    Args:
        values: (queries,) what each query scored.
        seed: the same seed gives the same interval.

    Raises:
        ValueError: there is no value.
    """
    distinct, counts = _distinct(values)
    means = _resampled_means(distinct, counts, np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def compare(
    first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray, *, seed: int = SEED
) -> Comparison:
    """Compares what two models scored on the same queries, query by query.

    Args:
        first, second: (queries,) scores in the same order of queries.
        seed: the same seed gives the same interval and p.

    Raises:
        ValueError: the lengths differ, or there is no value.
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.shape != other.shape:
        raise ValueError(f"compare needs the same queries of both models, got {len(one)} and {len(other)}")
    differences = one - other
    low, high = interval(differences, seed=seed)
    # Under "no difference" each query's difference is as likely to have the other sign.
    sizes, counts = _distinct(np.abs(differences))
    random = np.random.default_rng(seed)
    positive = _in_blocks(lambda rows: random.binomial(counts, 0.5, size=(rows, len(counts))) @ sizes, len(counts))
    by_chance = np.abs(2 * positive - counts @ sizes)
    at_least = int((by_chance >= abs(float(differences.sum())) - 1e-9).sum())
    return Comparison(float(differences.mean()), low, high, (at_least + 1) / (RESAMPLES + 1), len(differences))


def _distinct(values: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    array = np.asarray(values, np.float64)
    if not array.size:
        raise ValueError("a mean over no queries has no interval; check that any query was scored")
    distinct, counts = np.unique(array, return_counts=True)
    return distinct, counts


def _resampled_means(distinct: np.ndarray, counts: np.ndarray, random: np.random.Generator) -> np.ndarray:
    shares = counts / counts.sum()
    sums = _in_blocks(lambda rows: random.multinomial(counts.sum(), shares, size=rows) @ distinct, len(counts))
    return sums / counts.sum()


def _in_blocks(draw: Callable[[int], np.ndarray], width: int) -> np.ndarray:
    """[RESAMPLES]: what `draw` gives for a number of resamples, as many at a time as have `BLOCK` counts or less."""
    rows = max(1, BLOCK // width)
    blocks = (draw(min(rows, RESAMPLES - start)) for start in range(0, RESAMPLES, rows))
    return np.concatenate(list(blocks))
