"""Ranks and nearest rows, on cases small enough to count by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from moon2.catalog.groups import group_pairs
from moon2.vectors import nearest
from moon2.vectors.nearest import near_pairs, ranks, top_k


def unit(*rows: list[float]) -> np.ndarray:
    vectors = np.array(rows, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def recall(
    queries: np.ndarray,
    gallery: np.ndarray,
    relevant: Sequence[Sequence[int]],
    excluded: Sequence[int | None],
    ks: Sequence[int] = (1, 5, 10),
) -> dict[int, float]:
    """R@k in percent."""
    result = ranks(queries, gallery, relevant, excluded)
    return {k: 100 * float(result.hits(k).mean()) for k in ks}


# Four products at 0°, 30°, 60° and 90°; a query at 10° ranks them 0, 1, 2, 3.
GALLERY = unit(*([np.cos(a), np.sin(a)] for a in np.radians([0, 30, 60, 90])))
QUERY = unit([np.cos(np.radians(10)), np.sin(np.radians(10))])


def test_recall_counts_queries_with_a_relevant_product_among_the_first_k() -> None:
    queries = np.repeat(QUERY, 2, axis=0)
    # The first query's nearest product is right, the second's only right ones stand third and fourth.
    assert recall(queries, GALLERY, [[0], [2, 3]], [None, None], ks=(1, 2, 3)) == {1: 50.0, 2: 50.0, 3: 100.0}


def test_a_querys_own_product_is_neither_right_nor_wrong() -> None:
    assert recall(QUERY, GALLERY, [[1]], [None], ks=(1,)) == {1: 0.0}
    assert recall(QUERY, GALLERY, [[1]], [0], ks=(1,)) == {1: 100.0}  # product 0 no longer stands before it
    assert recall(QUERY, GALLERY, [[0, 3]], [0], ks=(1, 3)) == {1: 0.0, 3: 100.0}  # the own product is no success


def test_a_query_without_relevant_products_is_not_scored() -> None:
    queries = np.repeat(QUERY, 3, axis=0)
    result = ranks(queries, GALLERY, [[0], [], [2]], [None, None, 2])
    assert result.scored.tolist() == [True, False, False]
    assert result.hits(1).tolist() == [1.0]


def test_a_constant_encoder_scores_as_guessing_does() -> None:
    same = np.repeat(unit([1.0, 1.0]), 20, axis=0)
    # One right product in 20: among the first k of a shuffled gallery with probability k / 20.
    assert recall(same[:1], same, [[0]], [None]) == pytest.approx({1: 5.0, 5: 25.0, 10: 50.0})
    # Two right in 19 (one is the query's own): 1 − (17/19)(16/18) at k = 2.
    assert recall(same[:1], same, [[0, 7]], [3], ks=(2,))[2] == pytest.approx(100 * (1 - 17 / 19 * 16 / 18))


def test_ties_below_a_better_product_share_the_places_that_remain() -> None:
    # Product 0 is wrong and nearest; 1 and 2 tie for second place, one of them is right.
    gallery = GALLERY[[0, 1, 1, 3]]
    assert recall(QUERY, gallery, [[2]], [None], ks=(1, 2, 3)) == pytest.approx({1: 0.0, 2: 50.0, 3: 100.0})


def test_the_order_of_the_gallery_does_not_matter() -> None:
    random = np.random.default_rng(0)
    gallery, queries = unit(*random.integers(-2, 3, (60, 3)) + 0.1), unit(*random.integers(-2, 3, (20, 3)) + 0.1)
    relevant = [random.choice(60, 4, replace=False).tolist() for _ in queries]
    order = random.permutation(60)
    new_row = np.argsort(order)
    moved = [[int(new_row[row]) for row in rows] for rows in relevant]
    nobody = [None] * 20
    assert recall(queries, gallery[order], moved, nobody) == pytest.approx(recall(queries, gallery, relevant, nobody))


def test_blocks_change_nothing() -> None:
    random = np.random.default_rng(1)
    gallery, queries = unit(*random.normal(size=(50, 8))), unit(*random.normal(size=(17, 8)))
    relevant = [random.choice(50, 3, replace=False).tolist() for _ in queries]
    excluded = [int(row) if row % 2 else None for row in random.integers(0, 50, 17)]
    whole = ranks(queries, gallery, relevant, excluded)
    blocks = ranks(queries, gallery, relevant, excluded, query_block=5, gallery_block=7)
    assert whole.above.tolist() == blocks.above.tolist()
    assert whole.tied_relevant.tolist() == blocks.tied_relevant.tolist()
    # And both are what a plain sort says.
    scores = queries @ gallery.T
    for row, (right, out) in enumerate(zip(relevant, excluded, strict=True)):
        order = [column for column in np.argsort(-scores[row]) if column != out]
        assert whole.above[row] == min(order.index(column) for column in right if column != out)


def test_top_k_is_sorted_and_breaks_ties_by_row() -> None:
    rows, scores = top_k(QUERY, GALLERY[[3, 1, 0, 1]], 3)
    assert rows.tolist() == [[2, 1, 3]]
    assert scores[0] == pytest.approx(np.cos(np.radians([10, 20, 20])), abs=1e-6)
    assert top_k(QUERY, GALLERY, 2, excluded=[0])[0].tolist() == [[1, 2]]


def test_top_k_leaves_out_what_is_above_each_querys_ceiling() -> None:
    queries, ceilings = np.repeat(QUERY, 2, axis=0), np.cos(np.radians([15, 45])).astype(np.float32)
    rows, scores = top_k(queries, GALLERY, 3, ceilings=ceilings)
    assert (rows[0].tolist(), rows[1, :2].tolist()) == ([1, 2, 3], [2, 3])
    assert scores[1, 2] == -np.inf, "no third row is below"
    many, some = np.random.default_rng(2).normal(size=(5000, 8)), np.random.default_rng(3).normal(size=(1030, 8))
    gallery, queries = unit(*many), unit(*some)
    highest = np.full(1030, 0.5, np.float32)
    below = np.where(queries @ gallery.T > 0.5, -np.inf, queries @ gallery.T)
    assert np.array_equal(top_k(queries, gallery, 4, ceilings=highest)[0], np.argsort(-below, axis=1)[:, :4])


def test_vectors_that_are_not_finite_are_refused() -> None:
    broken = np.array([[1.0, 0.0], [np.nan, 0.0]], dtype=np.float32)
    with pytest.raises(ValueError, match="gallery vector 1 is not finite"):
        recall(QUERY, broken, [[0]], [None])


@pytest.mark.parametrize(
    ("queries", "gallery", "relevant", "message"),
    [
        (QUERY[0], GALLERY, [[0]], r"query vectors must be \(rows, dimension\)"),
        (QUERY, GALLERY[:, :1], [[0]], "query vectors have 2 dimensions, gallery vectors 1"),
        (QUERY, GALLERY, [[0], [1]], r"1 queries need as many relevant \(2\)"),
    ],
)
def test_shapes_that_do_not_agree_are_refused(
    queries: np.ndarray, gallery: np.ndarray, relevant: list[list[int]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ranks(queries, gallery, relevant, [None])


def test_rows_of_a_querys_own_group_are_left_out() -> None:
    groups = np.array([0]), np.array([7, 0, 0, 7])
    rows, cosines = top_k(QUERY, GALLERY, 4, groups=groups)
    assert rows[0, :2].tolist() == [0, 3] and np.isneginf(cosines[0, 2:]).all()


def test_of_equal_rows_the_first_come_wherever_blocks_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "GALLERY_BLOCK", 3)
    gallery = np.concatenate([GALLERY[[1, 0, 1, 0, 1, 0, 0]]])
    assert top_k(QUERY, gallery, 3)[0].tolist() == [[1, 3, 5]]
    assert top_k(QUERY, gallery, 6)[0].tolist() == [[1, 3, 5, 6, 0, 2]]


def test_near_pairs_are_those_that_comparing_all_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "QUERY_BLOCK", 7)
    monkeypatch.setattr(nearest, "GALLERY_BLOCK", 5)
    generator = np.random.default_rng(0)
    tables = [unit(*generator.normal(size=(40, width)).tolist()) for width in (3, 2)]
    both = np.minimum(tables[0] @ tables[0].T, np.where(tables[1] @ tables[1].T >= 0.2, 1, -1))
    done: list[int] = []
    pairs, scores = near_pairs(tables, [0.5, 0.2], on_rows=done.append)
    wanted = [(i, j) for i in range(40) for j in range(i + 1, 40) if both[i, j] >= 0.5]
    assert sorted(map(tuple, pairs.tolist())) == wanted and len(wanted) > 20
    lowest = np.minimum(*(table @ table.T for table in tables))
    np.testing.assert_allclose(scores, lowest[pairs[:, 0], pairs[:, 1]], atol=1e-6)
    assert sum(done) == 40


def test_many_equal_rows_hang_together_by_few_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "QUERY_BLOCK", 16)
    monkeypatch.setattr(nearest, "GALLERY_BLOCK", 16)
    pairs, _ = near_pairs([np.repeat(unit([1.0, 1.0]), 100, axis=0)], [0.99], most=3)
    assert len(pairs) == 97 * 3 + 2 + 1
    assert set(group_pairs(100, map(tuple, pairs.tolist()))) == {0}
