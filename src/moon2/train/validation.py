"""A part of the training log held out, to choose among checkpoints without a look at the test queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moon2.catalog.triplets import Triplet
from moon2.records import Interaction

GALLERY = 2_000
"""Products searched for a held-out query: enough to tell checkpoints apart, few enough to embed often."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What is left to train on, what to score, and the products to search.

    Attributes:
        training: triplets of the queries that stay.
        interactions: one for each held-out query; its purchases may be wrong as in the rest of the log.
        gallery_ids: the held-out queries' positives and negatives, and other products up to `GALLERY`.
    """

    training: list[Triplet]
    interactions: list[Interaction]
    gallery_ids: list[str]


def hold_out(triplets: Sequence[Triplet], product_ids: Sequence[str], queries: int, seed: int) -> HeldOut:
    """Holds `queries` queries out, with all triplets that ask the same; at most a tenth of the queries.

    Products of the gallery stay in training as other queries' products, so the scores compare checkpoints of one
    run; they are no measure of how well the encoder does on products that it never saw.

    Args:
        triplets: the whole training log.
        product_ids: the training products, from which the gallery is filled up.
        queries: how many to hold out.
        seed: the same seed holds out the same ones.
    """
    asked = [_asked(triplet) for triplet in triplets]
    ids = sorted(set(asked))
    random = np.random.default_rng((seed, 3))
    held = {ids[place] for place in random.permutation(len(ids))[: min(queries, len(ids) // 10)]}
    by_query: dict[tuple[str, str, str], list[Triplet]] = {}
    for key, triplet in zip(asked, triplets, strict=True):
        if key in held:
            by_query.setdefault(key, []).append(triplet)
    interactions = []
    for found in by_query.values():
        # Everything known to answer the query counts as right, not only what this row of the log bought.
        known = {id for triplet in found for id in (triplet.positive_id, *triplet.known_positive_ids)}
        positives = tuple(sorted(known - {found[0].query.product_id}))
        negatives = tuple(id for id in found[0].negative_ids if id not in known)
        if positives:
            interactions.append(Interaction(found[0].query, positives, negatives))
    gallery = dict.fromkeys(id for it in interactions for id in (*it.positive_ids, *it.negative_ids))
    for place in random.permutation(len(product_ids)):
        if len(gallery) >= GALLERY:
            break
        gallery.setdefault(product_ids[int(place)])
    kept = [triplet for key, triplet in zip(asked, triplets, strict=True) if key not in held]
    return HeldOut(kept, interactions, list(gallery))


def _asked(triplet: Triplet) -> tuple[str, str, str]:
    """Triplets of the same words and the same picture shown ask the same, whatever their ids."""
    query = triplet.query
    return " ".join(query.text.casefold().split()), query.product_id or "", "" if query.image is None else query.id
