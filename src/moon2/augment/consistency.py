"""The consistency filter: does this picture show what this title says?

The judge is any encoder of words and pictures: one that moon2 trained, or a CLIP or SigLIP checkpoint. Its cosines mean
something only beside each other, so the threshold is found on the catalog itself: its own pictures with their own
titles, against the same pictures with others' titles.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from moon2.augment.settings import AugmentationError
from moon2.catalog.store import Catalog
from moon2.images import ImageError, open_image

PAIRS = 2_000
KEPT = 0.95
"""Share of the catalog's own pairs that the calibrated threshold keeps: an addition is dropped that fits its product
worse than all but the worst twentieth of the shop's own pictures fit theirs."""

Pair = tuple[Image.Image, str]


class Scorer(Protocol):
    """The judge; `name` goes into messages."""

    name: str

    def similarities(self, pictures: Sequence[Image.Image], texts: Sequence[str]) -> np.ndarray:
        """(n,) float32 cosines of each picture and its text."""
        ...


@dataclass(frozen=True)
class Calibration:
    """What matched and mismatched pairs look like to a scorer.

    Attributes:
        threshold: keeps `KEPT` of the matched pairs.
        auroc: the chance that a matched pair scores above a mismatched one.
        matched, shuffled: (pairs,) float32 similarities.
    """

    threshold: float
    auroc: float
    matched: np.ndarray
    shuffled: np.ndarray


class MoonScorer:
    """A moon2 encoder: view i of the picture against view t of the text."""

    def __init__(self, checkpoint: str) -> None:
        from moon2.model.encoder import Encoder

        self.encoder = Encoder.from_pretrained(checkpoint)
        self.name = checkpoint

    def similarities(self, pictures: Sequence[Image.Image], texts: Sequence[str]) -> np.ndarray:
        """(n,) float32."""
        seen = self.encoder.encode(list(pictures), view="i")
        words = self.encoder.encode(list(texts), view="t")
        return (seen * words).sum(axis=1)


class DualScorer:
    """A CLIP- or SigLIP-style encoder."""

    def __init__(self, checkpoint: str) -> None:
        from moon2.encoders.dual import DualEncoder

        self.encoder = DualEncoder.from_pretrained(checkpoint)
        self.name = checkpoint

    def similarities(self, pictures: Sequence[Image.Image], texts: Sequence[str]) -> np.ndarray:
        """(n,) float32."""
        return (self.encoder.encode_pictures(pictures) * self.encoder.encode_texts(texts)).sum(axis=1)


def load_scorer(checkpoint: str) -> Scorer:
    """The judge that a folder or hub id holds.

    Raises:
        AugmentationError: it holds none.
    """
    for config in (Path(checkpoint) / "config.json", Path(checkpoint) / "model" / "config.json"):
        if config.is_file() and json.loads(config.read_text()).get("model_type") == "moon2":
            return MoonScorer(checkpoint)
    try:
        return DualScorer(checkpoint)
    except ValueError as error:
        raise AugmentationError(f"consistency.checkpoint: {error}") from None


def pairs_of(catalog: Catalog, split: str, seed: int, number: int = PAIRS) -> list[Pair]:
    """Pictures and titles of `number` products drawn at random, fewer where there are fewer.

    Raises:
        AugmentationError: the split has fewer than two products with a title and a readable picture.
    """
    ids = [row["id"] for row in catalog.rows(split, ["id", "title"]) if (row["title"] or "").strip()]
    order = np.random.default_rng(seed).permutation(len(ids))
    pairs: list[Pair] = []
    for place in order[: 2 * number]:
        product = catalog.product(ids[place])
        if product.images and len(pairs) < number:
            try:
                pairs.append((open_image(product.images[0]), product.title))
            except ImageError:
                continue
    if len({title for _, title in pairs}) < 2:
        raise AugmentationError(
            f"{catalog.folder}: has too few products with title and picture to find a threshold; "
            f"set consistency.threshold"
        )
    return pairs


def calibrate(scorer: Scorer, pairs: Sequence[Pair], seed: int) -> Calibration:
    """Scores pairs as they are and with their titles shuffled, and finds the threshold between.

    Args:
        scorer: the judge.
        pairs: matched pictures and titles.
        seed: of the shuffling.
    """
    pictures, titles = [picture for picture, _ in pairs], [title for _, title in pairs]
    others = [titles[place] for place in shuffled(titles, seed)]
    matched, mismatched = scorer.similarities(pictures, titles), scorer.similarities(pictures, others)
    threshold = float(np.quantile(matched, 1 - KEPT))
    return Calibration(threshold, auroc(matched, mismatched), matched, mismatched)


def shuffled(titles: Sequence[str], seed: int) -> list[int]:
    """For each title the place of another's, never one with the same words where that can be helped."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(titles))
    # A rotation of a random order gives nobody his own.
    other = np.empty(len(titles), np.int64)
    other[order] = np.roll(order, 1)
    same = [place for place in range(len(titles)) if titles[place].casefold() == titles[other[place]].casefold()]
    for place in same:
        for candidate in random.permutation(len(titles)):
            if titles[candidate].casefold() != titles[place].casefold():
                other[place] = candidate
                break
    return [int(place) for place in other]


def auroc(above: np.ndarray, below: np.ndarray) -> float:
    """The chance that a number of the first array is larger than one of the second, ties counting half."""
    both = np.concatenate([above, below])
    _, place, counts = np.unique(both, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[place]
    hits = len(above)
    return float((ranks[:hits].sum() - hits * (hits + 1) / 2) / (hits * len(below)))
