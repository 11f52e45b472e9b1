"""From attention probabilities to how much each token gives to the pooled vector: per layer, or rolled up.

Rolling up is attention rollout (Abnar & Zuidema, 2020): half of every layer's attention is taken to be the residual
path, and the layers are multiplied. Two things are ours, because the decoder is causal and pooled by a mean. The rows
that are averaged are the pooled tokens, weighted as the vector weighs them. And a token that stands early is seen by
all that follow, so that even a decoder which attends to everything alike would rank tokens by their place; relevance
is therefore divided by what that even decoder gives the same place. Even attention then gives an even map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def pooled_attention(attentions: Sequence[Numbers], weights: NDArray[Any], layer: int | None = None) -> Numbers:
    """How much of the pooled vector comes from each token, place in the sequence included.

    Args:
        attentions: per layer [S, S], rows sum to one, nothing above the diagonal; mean over heads.
        weights: [S] bool or float of at least 0, how much each token counts in the pooled vector, up to a factor.
        layer: one layer's attention as it is; None rolls all layers up.

    Returns:
        [S], summing to one over all tokens, markers included.
    """
    flow = weights / weights.sum()
    if layer is not None:
        return np.asarray(flow @ attentions[layer], dtype=np.float64)
    # From the last layer down: the vector of row weights is multiplied through, never a matrix by a matrix.
    for attention in reversed(attentions):
        flow = 0.5 * flow + 0.5 * (flow @ attention)
    return np.asarray(flow, dtype=np.float64)


def relevance(attentions: Sequence[Numbers], weights: NDArray[Any], layer: int | None = None) -> Numbers:
    """`pooled_attention` against that of a decoder which attends evenly, over the pooled tokens alone.

    Returns:
        [S] of at least 0, summing to one; 0 at tokens that are not pooled.
    """
    length, pooled = len(weights), weights > 0
    even = np.tril(np.ones((length, length))) / np.arange(1, length + 1)[:, None]
    found = pooled_attention(attentions, weights, layer)[pooled]
    result = np.zeros(length)
    result[pooled] = found / pooled_attention([even] * len(attentions), weights, layer)[pooled]
    return shares(result)


def shares(values: Numbers) -> Numbers:
    """Values over the sum of their sizes; zeros stay zeros."""
    total = float(np.abs(values).sum())
    return values / total if total > 0 else values
