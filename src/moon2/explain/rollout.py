"""From attention probabilities to how much each token gives to the pooled vector: of one layer, or rolled up.

Rolling up is attention rollout (Abnar & Zuidema, 2020): half of every layer's attention is taken for the residual
path, and the layers are multiplied. Two things differ here, because the decoder is causal and pooled by a mean. The
rows that are averaged are those of the pooled tokens, weighted as the vector weights them. And every later token sees
an early one, so position alone would rank tokens. Relevance is therefore divided by what a decoder that attends evenly
gives to the same position. Even attention then gives an even map.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def pooled_attention(attentions: Sequence[Numbers], weights: np.ndarray, layer: int | None = None) -> Numbers:
    """How much of the pooled vector comes from each token; the position in the sequence is not corrected.

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
    # From the last layer down, a vector is multiplied by each matrix, which is cheaper than matrix by matrix.
    for attention in reversed(attentions):
        flow = 0.5 * flow + 0.5 * (flow @ attention)
    return np.asarray(flow, dtype=np.float64)


def relevance(attentions: Sequence[Numbers], weights: np.ndarray, layer: int | None = None) -> Numbers:
    """`pooled_attention` over that of a decoder which attends evenly, at the pooled tokens.

    Returns:
        [S] of at least 0, summing to one; 0 at tokens that are not pooled.
    """
    length, pooled = len(weights), weights > 0
    even = np.tril(np.ones((length, length))) / np.arange(1, length + 1)[:, None]
    actual = pooled_attention(attentions, weights, layer)
    expected = pooled_attention([even] * len(attentions), weights, layer)
    result = np.zeros(length)
    result[pooled] = actual[pooled] / expected[pooled]
    return shares(result)


def shares(values: Numbers) -> Numbers:
    """Values over the sum of their sizes; zeros stay zeros."""
    total = float(np.abs(values).sum())
    return values / total if total > 0 else values
