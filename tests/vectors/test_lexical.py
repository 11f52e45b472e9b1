"""Keyword search: what is found, in which order, and that an index on disk is the same."""

from __future__ import annotations

import bm25s
import numpy as np
import pytest

from moon2.vectors.compounds import parts_of
from moon2.vectors.lexical import LexicalIndex, ProductText, best
from moon2.vectors.words import words

TITLES = {
    "de-1": "Stuhl für den Garten",
    "de-2": "Gartenstuhl aus Holz",
    "de-3": "Esstisch aus Holz",
    "zh-1": "苹果手机壳 防摔 iPhone15",
    "zh-2": "苹果手表 表带",
    "ja-1": "レディース ワンピース 赤",
    "ja-2": "メンズ シャツ 赤",
    "th-1": "เสื้อยืดผู้ชายสีดำ",
    "th-2": "รองเท้าผู้หญิง",
    "en-1": "Navy shirt",
    "en-2": "Navy shirt, navy buttons, for every occasion",
}

IDS = list(TITLES)


def texts(titles: dict[str, str]) -> list[ProductText]:
    return [ProductText(id, title, title) for id, title in titles.items()]


@pytest.fixture(scope="module")
def index() -> LexicalIndex:
    return LexicalIndex.build(texts(TITLES))


def found(index: LexicalIndex, query: str) -> list[str]:
    return [IDS[row] for row in best(index.scores(query), 10).rows]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("Gartenstuhl", ["de-2", "de-1"]),
        ("Stuhl", ["de-1", "de-2"]),
        ("stuehle", []),
        ("手机壳", ["zh-1", "zh-2"]),
        ("赤いワンピース", ["ja-1", "ja-2"]),
        ("เสื้อยืด", ["th-1", "th-2"]),
        ("iphone 15", ["zh-1"]),
        ("NAVY SHIRTS", ["en-1", "en-2"]),
        ("", []),
        ("unheard of", []),
    ],
)
def test_shops_in_many_languages_are_searched(index: LexicalIndex, query: str, ids: list[str]) -> None:
    assert found(index, query)[:2] == ids


def test_scores_are_the_librarys(index: LexicalIndex) -> None:
    """Ours are worked out at once, the library's product by product."""
    names = {word for title in TITLES.values() for word in words(title)}
    numbers = {word: number for number, word in enumerate(sorted(names))}
    documents = [
        [numbers[form] for word in words(title) for form in (word, *parts_of(word, names))] for title in TITLES.values()
    ]
    library = bm25s.BM25(k1=1.2, b=0.75)
    library.index((documents, numbers), show_progress=False)
    for query in ("navy shirt", "garten", "holz holz"):
        expected = library.get_scores_from_ids([numbers[word] for word in words(query)])
        np.testing.assert_allclose(index.scores(query), expected, rtol=1e-6)


def test_a_product_without_the_words_scores_zero(index: LexicalIndex) -> None:
    scores = index.scores("navy")
    assert [id for id, score in zip(IDS, scores, strict=True) if score] == ["en-1", "en-2"]
    assert not index.scores("unheard of").any()


def test_the_lower_row_wins_a_tie_also_for_the_last_place() -> None:
    index = LexicalIndex.build(texts({str(number): "red shirt" for number in range(50)}))
    assert best(index.scores("shirt"), 7).rows.tolist() == list(range(7))
    rows, scores = best(np.array([1, 3, 0, 3, 1, 2, 1], np.float32), 4)
    assert (rows.tolist(), scores.tolist()) == ([1, 3, 5, 0], [3, 3, 2, 1])


def test_ids_and_titles_are_known_exactly(index: LexicalIndex) -> None:
    by_id, by_title = index.exact(" EN-1 ")
    assert (by_id.tolist(), by_title.tolist()) == ([IDS.index("en-1")], [])
    assert index.exact("navy  SHIRT").by_title.tolist() == [IDS.index("en-1")]
    assert not len(index.exact("navy")[1]) and not len(index.exact(" ")[0])
    untitled = LexicalIndex.build([ProductText("photo", "", "")])
    assert not len(untitled.exact("")[1]) and not untitled.scores("photo").any()


def test_no_product_at_all_is_an_index_too() -> None:
    index = LexicalIndex.build([])
    assert len(index) == 0 and not len(index.scores("shirt"))
