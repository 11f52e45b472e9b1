"""Labels by vectors: by the nearest label text, by a vote of labelled neighbours, or by both; no network is trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from moon2.vectors.nearest import finite_matrix

CELLS = 2**24
"""Of the items labelled at a time: their cosines, or the numbers of their vectors, whichever are more; 64 MiB."""
SHARPNESS = (2.5, 5.0, 10.0, 20.0, 40.0, 80.0)
WEIGHTS = tuple(step / 10 for step in range(11))
MOST_FITTED = 5_000
"""Items that a sharpness or a rule is fitted to: more change nothing."""
LEAST_CHANCE = 1e-4
"""What a label counts that no neighbour has, where predictions are compared by the logarithms of their chances."""


def label_cosines(items: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """How near each item is to each label.

    It is the cosine with the label alone. Where there are phrases, it is the mean of that and of the cosine with the
    nearest phrase.

    Args:
        items: [n, D] float32, unit length.
        texts: [1 + P, L, D] float32, unit length: each label alone, then in P phrases, as of `encode_labels`.

    Returns:
        [n, L] float32.

    Raises:
        ValueError: a vector is not finite.
    """
    vectors = finite_matrix(items, "item")
    alone, *phrases = texts
    cosines = vectors @ finite_matrix(alone, "label").T
    if phrases:
        nearest = torch.full_like(cosines, -1)
        for phrase in phrases:
            torch.maximum(nearest, vectors @ finite_matrix(phrase, "label").T, out=nearest)
        cosines = (cosines + nearest) / 2
    result: np.ndarray = cosines.cpu().numpy()
    return result


def nearest_label(
    items: np.ndarray, texts: np.ndarray, rows: np.ndarray | None = None, added: np.ndarray | None = None
) -> np.ndarray:
    """The nearest label of each item; of equally near ones the first.

    Args:
        items: [n, D] float32, unit length.
        texts: as of `label_cosines`.
        rows: [m] int64, which items; all when not given.
        added: [L] float32, what is added to `label_cosines`; nothing when not given.

    Returns:
        [m] int64, numbers of labels; empty where there is no item or no label.

    Raises:
        ValueError: a vector is not finite.
    """
    chosen = np.arange(len(items)) if rows is None else np.asarray(rows, dtype=np.int64)
    if not len(chosen) or not texts.shape[1]:
        return np.zeros(0, np.int64)
    nearest, size = np.zeros(len(chosen), np.int64), max(1, CELLS // max(texts.shape[1:]))
    for start in range(0, len(chosen), size):
        cosines = label_cosines(items[chosen[start : start + size]], texts)
        nearest[start : start + size] = (cosines if added is None else cosines + added).argmax(axis=1)
    return nearest


def weighed_label(
    items: np.ndarray, texts: np.ndarray, shares: np.ndarray, truth: np.ndarray, rows: np.ndarray | None = None
) -> np.ndarray:
    """The likeliest label of each item by its texts and by how common it is, as `label_chances` has it.

    The sharpness of cosines differs from model to model. Every second item gets the one that suits the other half, so
    that no item's own label has a say.

    Args:
        items, texts, rows: as of `nearest_label`.
        shares: [L] float32, of `label_shares`.
        truth: [m] int64, the right labels of the chosen items.

    Returns:
        [m] int64, numbers of labels.
    """
    chosen = np.arange(len(items)) if rows is None else np.asarray(rows, dtype=np.int64)
    predicted = np.zeros(len(chosen), np.int64)
    for half in (0, 1):
        other = np.arange(1 - half, len(chosen), 2)
        fitted = other[:: max(1, -(-len(other) // MOST_FITTED))]
        sharpness = _text_sharpness(label_cosines(items[chosen[fitted]], texts), shares, truth[fitted])
        predicted[half::2] = nearest_label(items, texts, chosen[half::2], np.log(shares) / sharpness)
    return predicted


def label_shares(counts: np.ndarray) -> np.ndarray:
    """How common each label is, by how many items have it: [L] int64 → [L] float32, adding up to 1.

    Each label counts half an item more than it has: one that none of these has may yet be right.
    """
    return ((counts + 0.5) / (counts + 0.5).sum()).astype(np.float32)


def label_chances(cosines: np.ndarray, shares: np.ndarray, sharpness: float) -> np.ndarray:
    """What the label texts say: the softmax of an item's cosines with them, times how common the labels are.

    A contrastive loss learns how much likelier an item is under a text than among all items (van den Oord et al.,
    2018, arXiv 1807.03748). By Bayes' rule that is how likely the text is, divided by how common it is. Without the
    shares, rare labels such as "Charcoal" take the items of common ones such as "Black".

    Args:
        cosines: [n, L] float32, of `label_cosines`.
        shares: [L] float32, of `label_shares`.
        sharpness: factor of the cosines, an inverse temperature.

    Returns:
        [n, L] float32; each row adds up to 1.
    """
    scores = sharpness * cosines + np.log(shares)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def neighbour_votes(cosines: np.ndarray, labels: np.ndarray, count: int, sharpness: float) -> np.ndarray:
    """What the neighbours say: the share of each label among them, the nearer neighbour counting more.

    Args:
        cosines: [n, k] float32, of items and their neighbours, best first; -inf is no neighbour.
        labels: [n, k] int64, of the neighbours; -1 is none, and has no vote.
        count: L, how many labels there are.
        sharpness: a neighbour counts exp(sharpness · cosine).

    Returns:
        [n, L] float32; a row adds up to 1, or is 0 where no neighbour has a label.
    """
    has_vote = (labels >= 0) & np.isfinite(cosines)
    best = np.where(has_vote, cosines, -1).max(axis=1, keepdims=True, initial=-1)
    weights = np.where(has_vote, np.exp(sharpness * np.where(has_vote, cosines - best, 0)), 0)
    votes = np.zeros((len(labels), count), np.float32)
    np.add.at(votes, (np.arange(len(labels))[:, None], np.maximum(labels, 0)), weights)
    return votes / np.maximum(votes.sum(axis=1, keepdims=True), 1e-12)


@dataclass(frozen=True)
class LabelRule:
    """How an item's label is told from label texts and neighbours.

    Attributes:
        text_sharpness: see `label_chances`.
        vote_sharpness: see `neighbour_votes`.
        weight: of the vote; label texts have the rest.
    """

    text_sharpness: float
    vote_sharpness: float
    weight: float

    def chances(
        self, text_cosines: np.ndarray, shares: np.ndarray, cosines: np.ndarray, labels: np.ndarray
    ) -> np.ndarray:
        """[n, L] float32: how likely each label is. Arguments as of `label_chances` and `neighbour_votes`."""
        texts = label_chances(text_cosines, shares, self.text_sharpness)
        votes = neighbour_votes(cosines, labels, text_cosines.shape[1], self.vote_sharpness)
        return self.weight * votes + (1 - self.weight) * texts


def fit_label_rule(
    text_cosines: np.ndarray, shares: np.ndarray, cosines: np.ndarray, labels: np.ndarray, truth: np.ndarray
) -> LabelRule:
    """The rule under which the right labels of some items are likeliest, by the mean logarithm of their chances.

    Args:
        text_cosines, shares, cosines, labels: as of `LabelRule.chances`.
        truth: [n] int64, the right labels.
    """
    count = text_cosines.shape[1]
    text = _text_sharpness(text_cosines, shares, truth)
    votes = [_of_truth(neighbour_votes(cosines, labels, count, sharpness), truth) for sharpness in SHARPNESS]
    vote = int(np.argmax([_likelihood(one) for one in votes]))
    texts = _of_truth(label_chances(text_cosines, shares, text), truth)
    mixed = [_likelihood(weight * votes[vote] + (1 - weight) * texts) for weight in WEIGHTS]
    return LabelRule(text, SHARPNESS[vote], WEIGHTS[int(np.argmax(mixed))])


def _text_sharpness(cosines: np.ndarray, shares: np.ndarray, truth: np.ndarray) -> float:
    """The sharpness of `label_chances` under which the right labels are likeliest."""
    texts = (_of_truth(label_chances(cosines, shares, sharpness), truth) for sharpness in SHARPNESS)
    return SHARPNESS[int(np.argmax([_likelihood(one) for one in texts]))]


def _of_truth(chances: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return chances[np.arange(len(truth)), truth]


def _likelihood(chances: np.ndarray) -> float:
    return float(np.log(np.maximum(chances, LEAST_CHANCE)).mean()) if len(chances) else 0.0
