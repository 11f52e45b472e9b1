"""Tokens in images and in words."""

from __future__ import annotations

from moon2.explain.token_layout import token_grids, word_spans


def test_merged_patches_make_the_grid_of_tokens() -> None:
    assert token_grids([(1, 8, 6), (1, 4, 4)], 16) == [(4, 3), (2, 2)]
    assert token_grids([(1, 3, 5)], 15) == [(3, 5)]


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
