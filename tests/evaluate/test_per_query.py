"""What each query scored, written, read back, and compared between two models query by query."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from moon2.evaluate.format import comparison_text
from moon2.evaluate.per_query import (
    QueryScores,
    compare_query_scores,
    occurrences,
    read_query_scores,
    write_query_scores,
)
from moon2.evaluate.test_set import EvaluationError


def scores_of(ids: list[str], *values: float) -> QueryScores:
    """The same score at every k."""
    return QueryScores(ids, occurrences(ids), {k: np.array(values, np.float64) for k in (1, 5, 10)})


# A log of one session with three purchases, and a task that has a label for each of two products.
SCORES = {
    "t→mm": scores_of(["session", "session", "session"], 1, 0.25, 0),
    "colour (mm)": QueryScores(["p1", "p2"], [0, 0], {1: np.array([1.0, 0.0])}),
}


def test_scores_are_written_and_read_back(tmp_path: Path) -> None:
    write_query_scores(tmp_path / "scores.parquet", SCORES, "fingerprint of the test set")
    scores, fingerprint = read_query_scores(tmp_path / "scores.parquet")
    assert fingerprint == "fingerprint of the test set"
    assert scores.keys() == SCORES.keys()
    for name, wanted in SCORES.items():
        assert (scores[name].ids, scores[name].occurrences) == (wanted.ids, wanted.occurrences)
        assert {k: hits.tolist() for k, hits in scores[name].hits.items()} == {
            k: hits.tolist() for k, hits in wanted.hits.items()
        }
    assert [path.name for path in tmp_path.iterdir()] == ["scores.parquet"]


def test_rows_that_share_an_id_are_compared_each_with_itself() -> None:
    assert SCORES["t→mm"].keys == [("session", 0), ("session", 1), ("session", 2)]
    for comparisons in compare_query_scores(SCORES, SCORES).values():
        assert {comparison.difference for comparison in comparisons.values()} == {0.0}


def test_only_queries_that_both_were_scored_on_are_compared() -> None:
    ours = {"t→mm": scores_of(["a", "b", "c"], 1, 1, 0), "i→mm": scores_of(["a"], 1)}
    theirs = {"t→mm": scores_of(["c", "a"], 1, 0)}
    comparisons = compare_query_scores(ours, theirs)
    assert list(comparisons) == ["t→mm"]
    assert (comparisons["t→mm"][1].difference, comparisons["t→mm"][1].queries) == (0.0, 2)
    assert compare_query_scores(theirs, {"t→mm": scores_of(["a", "c"], 0, 0)})["t→mm"][10].difference == 0.5


def test_the_table_has_every_measure_and_counts_queries_and_products() -> None:
    others = {
        "t→mm": scores_of(["session"] * 3, 0, 0, 0),
        "colour (mm)": QueryScores(["p2", "p1"], [0, 0], {1: np.zeros(2)}),
    }
    head, _, *table = comparison_text(compare_query_scores(SCORES, others), "the other").splitlines()
    assert head == "difference to the other, in points, on the same queries and products"
    assert [line.split()[0] for line in table[2:]] == ["t→mm", "t→mm", "t→mm", "colour"]
    assert [line.split()[1] for line in table[2:5]] == ["R@1", "R@5", "R@10"]
    assert "+41.7" in table[4] and table[4].endswith("  3")
    assert "accuracy" in table[5] and "+50.0" in table[5] and table[5].endswith("  2")
    assert max(map(len, table)) <= 80


def test_searches_by_words_are_measured_as_retrieval() -> None:
    words = {"t→mm, BM25 (titles)": scores_of(["query"], 1)}
    lines = comparison_text(compare_query_scores(words, words), "the other").splitlines()
    assert [line.split()[3] for line in lines[-3:]] == ["R@1", "R@5", "R@10"]


def test_scores_of_other_queries_cannot_be_compared() -> None:
    with pytest.raises(EvaluationError, match="different queries; evaluate both on the same catalog") as error:
        compare_query_scores({"t→mm": scores_of(["a"], 1)}, {"t→mm": scores_of(["b"], 1)})
    assert "\n" not in str(error.value)


def test_a_file_that_is_missing_or_something_else_is_one_line(tmp_path: Path) -> None:
    write_query_scores(tmp_path / "scores.parquet", SCORES, "")
    table = pq.read_table(tmp_path / "scores.parquet").drop_columns("hit_5")
    pq.write_table(table, tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("text")
    for name, reason in (
        ("other", "no column hit_5"),
        ("text", "cannot be read"),
        ("missing", "there are no scores of that model yet"),
    ):
        with pytest.raises(EvaluationError, match=f"{name}.parquet: .*{reason}.*run `moon2 evaluate`") as error:
            read_query_scores(tmp_path / f"{name}.parquet")
        assert "\n" not in str(error.value)
