"""Hybrid search on products whose cosines and words are chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moon2.vectors.fusion import (
    CANDIDATES,
    FEW,
    UNSCALED,
    Fusion,
    FusionError,
    Hits,
    default_fusion,
    fit_fusion,
    fuse,
    read_fusions,
    scale_of,
    write_fusions,
)
from moon2.vectors.lexical import LexicalIndex, ProductText, Scored, best

HALF = Fusion(mean=0.5, spread=0.1, weight=2.0)


def search(
    cosines: list[float], index: LexicalIndex, query: str, fusion: Fusion = HALF, limit: int = CANDIDATES
) -> Hits:
    """The hits among products with these cosines, of which `limit` are candidates by vector."""
    values = np.array(cosines, np.float32)
    nearest = best(values, limit)
    return fuse(nearest, index.scores(query), lambda rows: values[rows], fusion, index.exact(query))


@pytest.fixture(scope="module")
def index() -> LexicalIndex:
    titles = ["red shirt", "red shoes", "shoe", "blue bag", "SKU-7"]
    return LexicalIndex.build(ProductText(f"id-{row}", title, title) for row, title in enumerate(titles))


def test_both_scores_are_added_and_both_ranks_kept(index: LexicalIndex) -> None:
    hits = search([0.6, 0.5, 0.7, 0.9, 0.1], index, "red trousers", limit=2)
    bm25 = index.scores("red trousers")
    expected = {3: 4.0, 2: 2.0, 0: 1 + 2 * bm25[0], 1: 0 + 2 * bm25[1]}
    assert dict(zip(hits.rows.tolist(), hits.scores.tolist(), strict=True)) == pytest.approx(expected)
    assert hits.scores.tolist() == sorted(hits.scores, reverse=True)
    ranks = {row: (v, w) for row, v, w in zip(hits.rows, hits.vector_ranks, hits.word_ranks, strict=True)}
    assert ranks == {3: (1, 0), 2: (2, 0), 0: (0, 1), 1: (0, 2)}


def test_what_has_none_of_the_words_counts_zero_not_less(index: LexicalIndex) -> None:
    hits = search([0.6, 0.5, 0.7, 0.9, 0.1], index, "unheard of")
    assert hits.rows.tolist() == [3, 2, 0, 1, 4]
    assert hits.scores[0] == pytest.approx((0.9 - 0.5) / 0.1)


def test_an_exact_id_comes_first_then_an_exact_title(index: LexicalIndex) -> None:
    twice = LexicalIndex.build(
        [ProductText("shoe", "boots", "boots"), *(ProductText(id, "shoe", "shoe") for id in "ab")]
    )
    hits = search([0.1, 0.2, 0.9], twice, "Shoe", Fusion(0.5, 0.1, 0.0), limit=1)
    assert (hits.rows.tolist(), hits.exact.tolist()) == ([0, 2, 1], [2, 1, 1])
    hits = search([0.9, 0.9, 0.9, 0.9, -0.5], index, "sku-7")
    assert hits.rows[0] == 4


def test_a_filter_holds_for_words_and_exact_ids_too(index: LexicalIndex) -> None:
    allowed = np.array([False, True, True, True, True])
    cosines = np.array([0.9, 0.1, 0.2, 0.3, 0.4], np.float32)
    nearest = best(np.where(allowed, cosines, 0), CANDIDATES)
    for query in ("red shirt", "id-0"):
        hits = fuse(nearest, index.scores(query), lambda rows: cosines[rows], HALF, index.exact(query), allowed)
        assert 0 not in hits.rows and len(hits.rows) == 4


def test_equal_products_stand_in_the_order_of_their_rows() -> None:
    index = LexicalIndex.build(ProductText(str(row), "red shirt", "red shirt") for row in range(9))
    hits = search([0.5] * 9, index, "red")
    assert hits.rows.tolist() == list(range(9))


def test_no_candidate_by_vector_leaves_words_alone(index: LexicalIndex) -> None:
    nothing = Scored(np.zeros(0, np.int64), np.zeros(0, np.float32))
    hits = fuse(nothing, index.scores("red"), lambda rows: np.zeros(len(rows), np.float32), HALF)
    assert sorted(hits.rows.tolist()) == [0, 1] and not hits.vector_ranks.any()


def test_mean_and_spread_are_those_of_random_pairs() -> None:
    angles = np.linspace(0, np.pi, 500)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    mean, spread = scale_of(vectors, vectors)
    cosines = vectors @ vectors.T
    assert mean == pytest.approx(cosines.mean(), abs=0.01) and spread == pytest.approx(cosines.std(), abs=0.01)
    assert scale_of(vectors, vectors) == (mean, spread)


def test_a_few_products_do_not_tell_how_cosines_spread() -> None:
    vectors = np.random.default_rng(0).normal(size=(FEW, 4)).astype(np.float32)
    assert default_fusion(vectors, vectors[: FEW - 1]) == UNSCALED
    assert default_fusion(vectors[:0], vectors) == UNSCALED
    assert default_fusion(vectors, vectors).spread == scale_of(vectors, vectors)[1]


def test_the_weight_follows_the_way_that_finds_more() -> None:
    """Where words are right and vectors are noise it is high, the other way round it is none."""
    random = np.random.default_rng(0)
    products, queries = (random.standard_normal((200, 8)).astype(np.float32) for _ in range(2))
    right = [[row] for row in range(200)]
    known = [np.eye(200, dtype=np.float32)[row] * 4 for row in range(200)]
    noise = [random.random(200).astype(np.float32) * 4 for _ in range(200)]
    nobody = [None] * 200
    assert fit_fusion(queries, products, known, right, nobody).weight >= 1
    assert fit_fusion(products, products, noise, right, nobody).weight <= 0.1
    own = list(range(200))  # the product that the query shows is no answer, so nothing can be said
    assert fit_fusion(queries, products, known, right, own).weight == 0.4


def test_weights_are_read_as_written(tmp_path: Path) -> None:
    fusions = {"title": {"t": HALF, "mm": Fusion(0.1, 0.2, 0.3)}}
    write_fusions(tmp_path / "fusion.json", fusions)
    assert read_fusions(tmp_path / "fusion.json") == fusions
    assert read_fusions(tmp_path / "none.json") == {}
    (tmp_path / "fusion.json").write_text('{"title": {"t": {"mean": 1}}}')
    with pytest.raises(FusionError, match="cannot be read"):
        read_fusions(tmp_path / "fusion.json")
