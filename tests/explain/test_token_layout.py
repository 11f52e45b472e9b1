"""Tokens on pixels and in words."""

from __future__ import annotations

import numpy as np
import pytest

from moon2.explain.token_layout import spread, token_grids, word_spans


def test_merged_patches_make_the_grid_of_tokens() -> None:
    assert token_grids([(1, 8, 6), (1, 4, 4)], 16) == [(4, 3), (2, 2)]
    assert token_grids([(1, 3, 5)], 15) == [(3, 5)]


@pytest.mark.parametrize("size", [(80, 60), (81, 50), (3, 2), (1, 1)])
def test_no_weight_is_lost_between_tokens_and_pixels(size: tuple[int, int]) -> None:
    weights = np.random.default_rng(0).random((4, 3))
    result = spread(weights, size)
    assert result.shape == size and result.sum() == pytest.approx(weights.sum())


def test_a_token_lies_on_its_part_of_the_image() -> None:
    weights = np.zeros((2, 3))
    weights[1, 2] = 6.0
    result = spread(weights, (4, 6))
    assert (result[2:, 4:] == 1.5).all() and result.sum() == 6.0


def words(text: str, tokens: list[tuple[int, int]]) -> list[tuple[str, list[int]]]:
    return [(text[start:end], members) for (start, end), members in word_spans(text, tokens)]


def test_tokens_join_into_words() -> None:
    # "na" "vy" " shirt", with the space counted to the token after it, as byte-level tokenizers do.
    assert words("navy shirt", [(0, 2), (2, 4), (4, 10)]) == [("navy", [0, 1]), ("shirt", [2])]
    assert words("navy shirt", [(0, 2), (2, 4), (4, 5), (5, 10)]) == [("navy", [0, 1, 2]), ("shirt", [3])]
    assert words("a 😀", [(0, 1), (1, 3), (2, 3), (2, 3)]) == [("a", [0]), ("😀", [1, 2, 3])]
    assert words("navy shirt", [(0, 4)]) == [("navy", [0])]  # cut at the limit


def test_scripts_without_spaces_are_split_at_tokens() -> None:
    assert words("红色连衣裙 new", [(0, 2), (2, 5), (5, 9)]) == [("红色", [0]), ("连衣裙", [1]), ("new", [2])]
