"""The tables of an evaluation, for a terminal and as Markdown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from moon2.evaluate.format import markdown_table, text_table, to_markdown, to_text
from moon2.evaluate.result import Evaluation

EVALUATION = Evaluation(
    model="twins",
    catalog="shop",
    gallery=1_234,
    queries=4,
    recalls={"t→mm": {1: 75.0, 5: 100.0, 10: 100.0}},
    scored={"t→mm": 4},
    left_out={"i→mm": {"queries without a readable image": 4}, "i→t": {"queries without a readable image": 4}},
    zero_shot={
        task: {"mm": {"accuracy": 50.0, "precision": 25.0, "recall": 50.0, "f1": 33.3}}
        for task in ("class", "base_colour, in phrases")
    },
    labels={"class": 2, "base_colour, in phrases": 44},
    left_out_of_task={"class": {"mm": 0, "i": 3}},
    intervals={"t→mm": {10: [97.5, 100.0]}},
    accuracy_intervals={"class": {"mm": [20.0, 80.0]}},
)


def test_the_table_for_a_terminal_fits_it() -> None:
    lines = to_text(EVALUATION).splitlines()
    assert lines[0] == "twins on shop: 1,234 products in the gallery, 4 queries; 0.0 s"
    assert "t→mm       75.0  100.0  100.0  97.5–100.0        4" in lines
    assert "i→mm          –      –      –           –        0" in lines
    assert "class (2 labels)         mm        50.0       25.0    50.0  33.3      20.0–80.0" in lines
    assert "base_colour, in phrases  mm        50.0       25.0    50.0  33.3              –" in lines
    assert lines[-2:] == [
        "left out of i→mm, i→t: 4 queries without a readable image",
        "left out of class (i): 3 products",
    ]
    assert max(map(len, lines)) <= 80


def test_the_same_as_markdown() -> None:
    text = to_markdown(EVALUATION)
    assert "| t→mm | 75.0 | 100.0 | 100.0 | 97.5–100.0 | 4 |" in text
    assert "| class (2 labels) | mm | 50.0 | 25.0 | 50.0 | 33.3 | 20.0–80.0 |" in text
    assert "- left out of class (i): 3 products" in text
    assert "expert" not in text and "hardest" not in text


def test_experts_and_hard_queries_are_shown_where_there_are_any() -> None:
    hard = {"query": "q1", "relevant": "p8", "rank": 1_200, "results": ["p0", "p1"]}
    text = to_markdown(
        replace(EVALUATION, expert_use={"t": [0.25, 0.75], "i": [0.5, 0.5], "mm": [0.4, 0.6]}, hard={"t→mm": [hard]})
    )
    assert "| routing, percent | mm | i | t |" in text
    assert "| expert 0 | 40.0 | 50.0 | 25.0 |" in text
    assert "| hardest | query | relevant product | its rank | first result |" in text
    assert "| t→mm | q1 | p8 | 1,200 | p0 |" in text


def test_what_was_read_beside_the_title_is_said() -> None:
    assert "(their text" not in to_text(replace(EVALUATION, fields=["title"]))
    text = to_text(replace(EVALUATION, fields=["title", "brand"]))
    assert "1,234 products in the gallery (their text: title, brand), 4 queries" in text


def test_a_sample_is_called_one() -> None:
    assert "4 queries, a sample of at most 7 of each; 0.0 s" in to_text(replace(EVALUATION, limit=7))


@pytest.mark.parametrize(
    ("table", "wanted"),
    [
        (text_table, "a       b\n──  ─────\nx       1\nyy  2,000"),
        (markdown_table, "| a | b |\n|---|---:|\n| x | 1 |\n| yy | 2,000 |"),
    ],
)
def test_tables_by_hand(table: object, wanted: str) -> None:
    assert callable(table) and table(("a", "b"), [("x", "1"), ("yy", "2,000")]) == wanted
