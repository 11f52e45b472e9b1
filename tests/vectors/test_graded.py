"""nDCG with ties and without, beside scikit-learn's and trec_eval's."""

from __future__ import annotations

import numpy as np
import pytest
import pytrec_eval
from sklearn.metrics import ndcg_score

from moon2.vectors.graded import GradedPlaces, gains_by_row, graded_places
from moon2.vectors.nearest import places, ranks

ESCI = (1.0, 0.1, 0.01, 0.0)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def drawn(ties: bool) -> tuple[np.ndarray, np.ndarray, list[dict[int, float]]]:
    """20 queries, 50 products and their gains; with ties, each product has three equal ones or so."""
    random = np.random.default_rng(0)
    gallery = unit(random.standard_normal((15 if ties else 50, 8)))
    gallery = gallery[random.integers(0, 15, 50)] if ties else gallery
    gains = [{int(row): ESCI[random.integers(4)] for row in random.permutation(50)[:12]} | {0: 1.0} for _ in range(20)]
    return unit(random.standard_normal((20, 8))), gallery, gains


def of_all(places: GradedPlaces) -> np.ndarray:
    return np.stack([places.ndcg(10), places.ndcg_of_graded()])


@pytest.mark.parametrize("ties", [False, True])
def test_it_is_scikit_learns_with_ties_and_without(ties: bool) -> None:
    queries, gallery, gains = drawn(ties)
    # Rounded, so that scikit-learn sees the ties that differ by a rounding of float32.
    cosines = np.round(queries.astype(np.float64) @ gallery.T.astype(np.float64), 6)
    truth = np.array([[rows.get(row, 0.0) for row in range(50)] for rows in gains])
    found = graded_places(queries, gallery, gains, [None] * 20)
    theirs = [ndcg_score(truth[[n]], cosines[[n]], k=10) for n in range(20)]
    assert found.ndcg(10) == pytest.approx(theirs, abs=1e-9)
    alone = [ndcg_score(truth[[n]][:, [*gains[n]]], cosines[[n]][:, [*gains[n]]]) for n in range(20)]
    assert found.ndcg_of_graded() == pytest.approx(alone, abs=1e-9)


def test_it_is_trec_evals_without_ties() -> None:
    queries, gallery, gains = drawn(ties=False)
    hundredfold = {str(n): {str(row): round(100 * gain) for row, gain in rows.items()} for n, rows in enumerate(gains)}
    run = {str(n): {str(row): float(score) for row, score in enumerate(q @ gallery.T)} for n, q in enumerate(queries)}
    judged = {number: {row: run[number][row] for row in rows} for number, rows in hundredfold.items()}
    evaluator = pytrec_eval.RelevanceEvaluator(hundredfold, {"ndcg_cut.10", "ndcg", "recip_rank"})
    found = graded_places(queries, gallery, gains, [None] * 20)
    theirs = evaluator.evaluate(run)
    assert found.ndcg(10) == pytest.approx([theirs[str(n)]["ndcg_cut_10"] for n in range(20)])
    theirs = evaluator.evaluate(judged)
    assert found.ndcg_of_graded() == pytest.approx([theirs[str(n)]["ndcg"] for n in range(20)])


def test_a_tie_is_the_mean_over_its_orders() -> None:
    """Two products tie for places 2 and 3, one of them with gain 1: by hand (1/log2(3) + 1/log2(4)) / 2."""
    gallery = unit(np.array([[1, 0], [0.8, 0.6], [0.8, 0.6], [0, 1]]))
    found = graded_places(gallery[:1], gallery, [{1: 1.0}], [None])
    assert found.ndcg(10)[0] == pytest.approx((1 / np.log2(3) + 1 / np.log2(4)) / 2)
    # A tie across the cut: the product is within the first two in half of the orders.
    assert found.ndcg(2)[0] == pytest.approx(1 / np.log2(3) / 2)


def test_the_querys_own_product_takes_no_place() -> None:
    gallery = unit(np.array([[1, 0], [0.8, 0.6], [0, 1]]))
    place = {"own": 0, "near": 1, "far": 2}
    gains = gains_by_row({"own": 3.0, "near": 2.0, "gone": 1.0, "far": -1.0}, place, 0)
    assert gains == {1: 2.0, 2: 0.0}, "a grade below 0 gains nothing"
    found = graded_places(gallery[:1], gallery, [gains], [0])
    assert (found.above.tolist(), found.ndcg(10).tolist()) == ([0, 1], [1.0])


def test_a_query_without_a_gain_is_not_scored() -> None:
    gallery = unit(np.eye(3))
    found = graded_places(gallery, gallery, [{}, {0: 0.0}, {2: 2.0}], [None] * 3)
    for measure in of_all(found):
        assert np.isnan(measure).tolist() == [True, True, False]
    assert of_all(graded_places(gallery[:0], gallery, [], [])).shape == (2, 0)


def test_blocks_change_nothing() -> None:
    queries, gallery, gains = drawn(ties=True)
    excluded = [n if n % 3 else None for n in range(20)]
    rows = [[row for row in gains[n] if row != excluded[n]] for n in range(20)]
    whole = places(queries, gallery, rows, excluded)
    in_blocks = places(queries, gallery, rows, excluded, query_block=3, gallery_block=7)
    for one, other in zip(whole[1:], in_blocks[1:], strict=True):
        assert one.tolist() == other.tolist()


def test_the_reciprocal_rank_is_trec_evals_and_the_mean_over_orders() -> None:
    queries, gallery, gains = drawn(ties=False)
    relevant = [[row for row, gain in rows.items() if gain == 1] for rows in gains]
    found = ranks(queries, gallery, relevant, [None] * 20).reciprocal_ranks(50)
    run = {str(n): {str(row): float(score) for row, score in enumerate(q @ gallery.T)} for n, q in enumerate(queries)}
    qrels = {str(n): {str(row): 1 for row in rows} for n, rows in enumerate(relevant)}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(run)
    assert found == pytest.approx([theirs[str(n)]["recip_rank"] for n in range(20)])
    # One relevant product among three equal ones: ranks 1, 2 and 3 are as likely; beyond the cut it counts nothing.
    same = ranks(unit(np.ones((1, 2))), unit(np.ones((3, 2))), [[0]], [None])
    assert same.reciprocal_ranks(10)[0] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert same.reciprocal_ranks(2)[0] == pytest.approx((1 + 1 / 2) / 3)
