"""Graded relevance in an evaluation: the table, the files, and the comparison of two models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.coloured_shop import ColourAndKindEncoder, twins, write_test_catalog

from moon2.catalog.store import Catalog
from moon2.evaluate.format import comparison_text, to_markdown, to_text
from moon2.evaluate.per_query import GRADED, compare_query_scores, read_query_scores, write_query_scores
from moon2.evaluate.report.report import write_report
from moon2.evaluate.result import Evaluation
from moon2.evaluate.score import score
from moon2.evaluate.test_set import read_test_set
from moon2.views import DIRECTIONS

NDCG, MRR, ALONE = GRADED
# The twin is an exact answer, the same kind in the other colour a substitute. The last query has no grades.
GRADES = [
    {"shirt-red-2": 1.0, "shirt-blue-1": 0.1, "bag-red-1": 0.0},
    {"shirt-blue-2": 1.0, "shirt-red-1": 0.1},
    {"bag-red-2": 1.0, "bag-blue-1": 0.1},
    {},
]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    products, interactions = twins()
    graded = [replace(it, grades=grades) for it, grades in zip(interactions, GRADES, strict=True)]
    return write_test_catalog(tmp_path, products, graded)


def test_graded_queries_are_scored_in_every_direction_and_by_words(catalog: Catalog) -> None:
    evaluation, per_query = score(ColourAndKindEncoder(), catalog)
    assert [name for name in evaluation.graded if "," not in name] == [str(direction) for direction in DIRECTIONS]
    assert evaluation.graded.keys() - {str(direction) for direction in DIRECTIONS} == evaluation.keywords.keys()
    assert evaluation.graded_queries["i→mm"] == 3
    # By hand: the twin is first; the six others tie in two blocks by their colour or kind, of five and of one.
    low, high = evaluation.graded_intervals["i→mm"][NDCG]
    assert low <= evaluation.graded["i→mm"][NDCG] <= high
    assert evaluation.graded["i→mm"][MRR] == 100
    assert evaluation.graded["i→mm"][ALONE] == pytest.approx(100, abs=3)
    assert np.isnan(per_query["i→mm"].graded[NDCG]).tolist() == [False, False, False, True]


def test_the_table_is_in_text_markdown_report_and_file(catalog: Catalog, tmp_path: Path) -> None:
    evaluation, _ = score(ColourAndKindEncoder(), catalog)
    html = write_report(tmp_path / "report.html", evaluation, [], catalog).read_text()
    for text in (to_text(evaluation), to_markdown(evaluation), html):
        assert "nDCG@10" in text and "MRR@10" in text and "graded only" in text
    assert max(map(len, to_text(evaluation).split("graded relevance  ")[1].split("\n\n")[0].splitlines())) <= 92
    evaluation.write(tmp_path / "evaluation.json")
    assert Evaluation.read(tmp_path / "evaluation.json") == evaluation


def test_a_log_without_grades_shows_nothing_new(tmp_path: Path) -> None:
    catalog = write_test_catalog(tmp_path, *twins())
    evaluation, per_query = score(ColourAndKindEncoder(), catalog)
    assert (evaluation.graded, evaluation.graded_intervals, evaluation.graded_queries) == ({}, {}, {})
    html = write_report(tmp_path / "report.html", evaluation, [], catalog).read_text()
    for text in (to_text(evaluation), to_markdown(evaluation), html):
        assert "nDCG" not in text and "MRR" not in text
    write_query_scores(tmp_path / "scores.parquet", per_query, "")
    scores, _ = read_query_scores(tmp_path / "scores.parquet")
    assert scores["t→mm"].graded == {}


def test_two_models_are_compared_on_the_graded_queries(catalog: Catalog, tmp_path: Path) -> None:
    _, ours = score(ColourAndKindEncoder(), catalog)
    _, theirs = score(ColourAndKindEncoder(sees_colours=False), catalog)
    write_query_scores(tmp_path / "scores.parquet", theirs, "")
    others, _ = read_query_scores(tmp_path / "scores.parquet")
    found = compare_query_scores(ours, others)["i→mm"]
    assert (found[10].queries, found[NDCG].queries) == (4, 3)
    assert found[NDCG].low > 0 and found[MRR].difference == pytest.approx(1 - (1 + 1 / 2 + 1 / 3) / 3)
    assert "nDCG@10" in comparison_text({"i→mm": found}, "the blind one")


def test_other_grades_are_another_test_set(catalog: Catalog, tmp_path: Path) -> None:
    without = write_test_catalog(tmp_path / "other", *twins())
    assert read_test_set(catalog).fingerprint != read_test_set(without).fingerprint
