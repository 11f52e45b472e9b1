"""What keyword search takes for a word, in many scripts."""

from __future__ import annotations

import tracemalloc

import pytest

from moon2.vectors.words import same_text, words


@pytest.mark.parametrize(
    ("title", "query"),
    [
        ("Men's T-Shirts", "mens tshirt"),
        ("Levi's 501 Jeans", "levis jean"),
        ("GTX-3080", "gtx3080"),
        ("GTX-3080", "gtx 3080"),
        ("gtx3080", "GTX-3080"),
        ("42mm watches", "42 mm watch"),
        ("42 mm", "42mm"),
        ("3.5 mm", "3.5mm"),
        ("H&M dress", "hm dresses"),
        ("Café crème", "cafe creme"),
        ("ＦＵＬＬ width", "full width"),
        ("GRÖẞE", "grösse"),
        ("red/blue ladies", "red lady"),
        ("Ёлка", "елка"),
    ],
)
def test_every_word_that_a_shopper_may_ask_for_is_there(title: str, query: str) -> None:
    """A code or a compound of the query has forms of its own, of which one is enough."""
    had = set(words(title))
    assert all(had & set(words(word)) for word in query.split())


@pytest.mark.parametrize(
    ("title", "query"),
    [
        ("苹果手机壳iPhone15 防摔", "手机壳"),
        ("レディース ワンピース 赤", "赤いワンピース"),
        ("เสื้อยืดผู้ชายสีดำ", "เสื้อยืด"),
        ("남성셔츠", "남성 셔츠"),
    ],
)
def test_scripts_without_spaces_are_found_by_neighbours(title: str, query: str) -> None:
    shared = set(words(title)) & set(words(query))
    assert any(len(form) > 1 for form in shared), "a pair of neighbours says more than single characters"


def test_latin_words_among_them_are_words() -> None:
    assert words("手机壳iPhone15")[-3:] == ["iphone", "15", "iphone15"]


def test_marks_stay_with_their_letters() -> None:
    """A vowel sign of Hindi is part of its word; voiced and unvoiced kana differ; a Thai vowel is not an accent."""
    assert words("किताब") == ["किताब"]
    assert words("が") != words("か")
    assert words("ผู้") != words("ผ")


def test_what_is_no_word_is_left_out() -> None:
    assert words("—  !? 😀 _ ") == words("") == []
    assert words("glass bus tennis gas") == ["glass", "bus", "tennis", "gas"]


def test_long_runs_without_spaces_are_not_kept() -> None:
    tracemalloc.start()
    for number in range(100):
        words("".join(chr(0x4E00 + (number * 7 + place * 13) % 5000) for place in range(300)))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1_000_000


def test_texts_are_the_same_but_for_case_accents_and_spacing() -> None:
    assert same_text("  Navy  Shirt ") == same_text("navy shirt") != same_text("navy-shirt")
    assert same_text("Crème") == same_text("creme")
