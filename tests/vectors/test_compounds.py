"""Compounds by the words of the catalog."""

from __future__ import annotations

import pytest

from moon2.vectors.compounds import parts_of


@pytest.mark.parametrize(
    ("word", "vocabulary", "parts"),
    [
        ("gartenstuhl", {"garten", "stuhl"}, ("garten", "stuhl")),
        ("arbeitsplatz", {"arbeit", "platz"}, ("arbeit", "platz")),
        ("gartenstuhlauflage", {"garten", "stuhl", "auflage"}, ("garten", "stuhl", "auflage")),
        ("baumwollhemd", {"baum", "wollhemd", "baumwoll", "hemd"}, ("baum", "wollhemd")),
        ("carpet", {"car", "pet"}, ()),
        ("gartenstuhl", {"garten"}, ()),
        ("gtx3080ti5000", {"gtx3080", "ti5000"}, ()),
        ("stuhl", {"stuhl"}, ()),
    ],
)
def test_a_word_is_split_where_both_sides_are_words_of_the_catalog(
    word: str, vocabulary: set[str], parts: tuple[str, ...]
) -> None:
    assert parts_of(word, vocabulary) == parts


def test_a_word_that_splits_in_many_ways_takes_no_time() -> None:
    for word in ("print" + "sprint" * 25, "dress" * 1200):
        assert parts_of(word, {"print", "sprint", "dress"}) == ()
    assert parts_of("print" + "sprint" * 9, {"print", "sprint"}) == ("print", *["sprint"] * 9)
