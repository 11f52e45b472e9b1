"""The label of an item is the one whose vector is nearest."""

from __future__ import annotations

import numpy as np
import pytest

from moon2.vectors import labels as labels_module
from moon2.vectors.labels import (
    fit_label_rule,
    label_chances,
    label_cosines,
    label_shares,
    nearest_label,
    neighbour_votes,
    weighed_label,
)

LABELS = np.eye(3, dtype=np.float32)
TEXTS = LABELS[None]
"""One text of each label."""


def test_each_item_gets_its_nearest_label_and_of_equal_ones_the_first() -> None:
    items = np.array([[0, 0.6, 0.8], [1, 0, 0], [0, 0.6, 0.6]], np.float32)
    assert nearest_label(items, TEXTS).tolist() == [2, 0, 1]


def test_chosen_rows_are_labelled_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels_module, "CELLS", 6)
    items = LABELS[[0, 1, 2, 1, 0, 2]]
    assert nearest_label(items, TEXTS, np.array([1, 2, 3, 5])).tolist() == [1, 2, 1, 2]


@pytest.mark.parametrize(("labels", "width"), [(2, 4), (4, 2)])
def test_few_labels_and_many_take_little_memory(labels: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the rows taken of a large table nor their cosines are more than `CELLS` numbers."""
    taken = []

    def recorded(items: np.ndarray, texts: np.ndarray) -> np.ndarray:
        taken.append(len(items))
        return label_cosines(items, texts)

    monkeypatch.setattr(labels_module, "CELLS", 8)
    monkeypatch.setattr(labels_module, "label_cosines", recorded)
    nearest_label(np.ones((5, width), np.float32), np.ones((1, labels, width), np.float32))
    assert taken == [2, 2, 1]


def test_a_label_is_as_near_as_it_is_alone_and_in_its_nearest_phrase() -> None:
    """Two labels, each alone and in two phrases."""
    alone, bag, shirt = [[1, 0, 0], [0, 1, 0]], [[0.6, 0, 0.8], [0, 0.6, 0.8]], [[1, 0, 0], [0, 0, 1]]
    texts = np.array([alone, bag, shirt], np.float32)
    items = np.array([[0.6, 0, 0.8], [0, 0, 1]], np.float32)
    expected = [[(0.6 + 1) / 2, (0 + 0.8) / 2], [(0 + 0.8) / 2, (0 + 1) / 2]]
    np.testing.assert_allclose(label_cosines(items, texts), expected, rtol=1e-6)
    assert nearest_label(items, texts).tolist() == [0, 1]
    assert nearest_label(items, texts[:1]).tolist() == [0, 0], "alone, both labels are as far from the second item"
    assert nearest_label(items, texts, added=np.array([0.2, 0], np.float32)).tolist() == [0, 0]
    shares = np.array([0.5, 0.5], np.float32)
    assert weighed_label(items, texts, shares, np.array([0, 1])).tolist() == [0, 1]


def test_what_is_not_finite_is_no_label() -> None:
    with pytest.raises(ValueError, match="not finite"):
        nearest_label(LABELS, np.full((1, 3, 3), np.nan, np.float32))


def test_without_items_or_labels_there_is_no_answer() -> None:
    assert nearest_label(LABELS[:0], TEXTS).tolist() == []
    assert nearest_label(LABELS, TEXTS[:, :0]).tolist() == []


def test_label_texts_speak_by_their_cosines_and_common_labels_louder() -> None:
    cosines, sharpness = np.array([[0.5, 0.5, 0.4]], np.float32), np.log(2) / 0.1
    chances = label_chances(cosines, np.full(3, 1 / 3), sharpness)
    np.testing.assert_allclose(chances, [[0.4, 0.4, 0.2]], rtol=1e-5)
    chances = label_chances(cosines, np.array([0.2, 0.2, 0.6]), sharpness)
    np.testing.assert_allclose(chances, [[2 / 7, 2 / 7, 3 / 7]], rtol=1e-5)


def test_a_label_that_no_item_has_is_rare_but_possible() -> None:
    shares = label_shares(np.array([3, 0, 1]))
    np.testing.assert_allclose(shares, np.array([3.5, 0.5, 1.5]) / 5.5, rtol=1e-6)


def test_a_rare_label_that_looks_alike_takes_nothing_from_a_common_one() -> None:
    """Texts as an ideal contrastive loss places them: cosines are log p(item | label) / p(item), divided by 10."""
    generator = np.random.default_rng(0)
    truth = generator.choice(2, 4000, p=[0.97, 0.03])
    is_dark = generator.random(4000) < np.where(truth == 0, 0.5, 0.9)  # black or charcoal, in a dark photo or not
    of_dark, of_light = np.array([0.5, 0.9]), np.array([0.5, 0.1])
    ratios = np.where(is_dark[:, None], of_dark, of_light) / np.where(is_dark, 0.512, 0.488)[:, None]
    cosines = (np.log(ratios) / 10).astype(np.float32)
    nearest = (cosines.argmax(axis=1) == truth).mean()
    shares = label_shares(np.bincount(truth))
    weighed = (label_chances(cosines, shares, 10).argmax(axis=1) == truth).mean()
    assert nearest < 0.6 and weighed > 0.95
    # With a sharpness that the other half of the items chose.
    items, texts = cosines, np.eye(2, dtype=np.float32)[None]
    assert (weighed_label(items, texts, shares, truth) == truth).mean() == pytest.approx(weighed, abs=0.01)


def test_no_item_has_a_say_in_how_sharply_it_is_told_itself() -> None:
    """The even items are told by their texts, the odd ones only by what is common."""
    texts = np.eye(2, dtype=np.float32)[None]
    truth = np.array([1, 0] * 50)
    items = texts[0, np.ones(100, np.int64)]  # every text says 1, and is right about the even ones
    shares = np.array([0.97, 0.03], np.float32)
    predicted = weighed_label(items, texts, shares, truth)
    assert predicted[::2].tolist() == [0] * 50, "the odd ones found that texts say nothing"
    assert predicted[1::2].tolist() == [1] * 50, "the even ones found that texts say all"


def test_chosen_rows_are_weighed_alone() -> None:
    rows = np.array([5, 2, 0])
    items, shares = LABELS[[0, 1, 2, 1, 0, 2]], label_shares(np.array([4, 4, 4]))
    assert weighed_label(items, TEXTS, shares, np.array([2, 2, 0]), rows).tolist() == [2, 2, 0]
    assert weighed_label(items, TEXTS, shares, np.zeros(0, np.int64), rows[:0]).tolist() == []


def test_the_nearer_neighbour_counts_more_and_who_has_no_label_has_no_vote() -> None:
    cosines = np.array([[0.9, 0.8, 0.8, 0.1], [0.9, -np.inf, -np.inf, -np.inf], [-np.inf] * 4], np.float32)
    labels = np.array([[-1, 2, 0, 0], [1, 2, 2, 2], [0, 0, 0, 0]])
    even = neighbour_votes(cosines, labels, 3, sharpness=0)
    np.testing.assert_allclose(even, [[2 / 3, 0, 1 / 3], [0, 1, 0], [0, 0, 0]], atol=1e-6)
    sharp = neighbour_votes(cosines, labels, 3, sharpness=np.log(2) / 0.7)
    np.testing.assert_allclose(sharp[0], [0.6, 0, 0.4], atol=1e-5)


def test_the_rule_believes_whoever_is_right() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 300)
    right, wrong = np.eye(3, dtype=np.float32)[truth], generator.random((300, 3), np.float32)
    near = np.ones((300, 5), np.float32)
    voters, others = np.repeat(truth[:, None], 5, axis=1), generator.integers(0, 3, (300, 5))
    shares = label_shares(np.bincount(truth))
    assert fit_label_rule(wrong, shares, near, voters, truth).weight == 1
    assert fit_label_rule(right, shares, near, others, truth).weight < 0.5
    # Each is wrong where the other is right: together they know more.
    half = np.arange(300) % 2 == 0
    texts, votes = np.where(half[:, None], right, wrong), np.where(half[:, None], others, voters)
    rule = fit_label_rule(texts, shares, near, votes, truth)
    assert 0 < rule.weight < 1
    assert (rule.chances(texts, shares, near, votes).argmax(axis=1) == truth).mean() > 0.7
