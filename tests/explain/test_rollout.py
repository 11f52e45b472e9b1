"""Attention to relevance, on matrices small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest

from moon2.explain.rollout import pooled_attention, relevance

EVEN = np.array([[1, 0, 0], [1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3]])
FIRST = np.array([[1.0, 0, 0], [1, 0, 0], [1, 0, 0]])
ALL = np.ones(3, bool)


def test_one_layer_is_the_mean_over_the_pooled_rows() -> None:
    np.testing.assert_allclose(pooled_attention([FIRST, EVEN], ALL, layer=1), np.array([11, 5, 2]) / 18)
    last = np.array([False, False, True])
    np.testing.assert_allclose(pooled_attention([FIRST, EVEN], last, layer=1), [1 / 3, 1 / 3, 1 / 3])


def test_layers_are_rolled_up_as_the_product_of_matrices() -> None:
    first = np.array([[1.0, 0, 0], [1, 0, 0], [0, 0, 1]])
    second = np.array([[1.0, 0, 0], [0, 1, 0], [0, 1, 0]])
    one, two = (0.5 * matrix + 0.5 * np.eye(3) for matrix in (first, second))
    np.testing.assert_allclose(pooled_attention([first, second], ALL), (two @ one).mean(axis=0))
    assert not np.allclose((two @ one).mean(axis=0), (one @ two).mean(axis=0))


@pytest.mark.parametrize("layer", [None, 0])
def test_even_attention_gives_an_even_map(layer: int | None) -> None:
    assert pooled_attention([EVEN] * 3, ALL, layer)[0] > 0.5  # by its position alone
    np.testing.assert_allclose(relevance([EVEN] * 3, ALL, layer), [1 / 3] * 3)


def test_relevance_follows_attention_and_leaves_markers_out() -> None:
    middle = np.array([[1, 0, 0], [0, 1, 0], [0, 0.9, 0.1]])
    result = relevance([middle] * 2, ALL)
    assert result.argmax() == 1
    pooled = np.array([False, True, True])
    result = relevance([middle] * 2, pooled)
    assert result[0] == 0 and result.sum() == pytest.approx(1)


def test_tokens_that_count_more_in_the_vector_count_more_in_the_map() -> None:
    """Two tokens that each attend to themselves alone, the second pooled three times as much."""
    alone = [np.eye(2)]
    assert pooled_attention(alone, np.array([1.0, 3.0])) == pytest.approx([0.25, 0.75])
    assert pooled_attention(alone, np.array([1.0, 3.0]), layer=0) == pytest.approx([0.25, 0.75])
