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
    """Holds `queries` queries out, all triplets of a query together; at most a tenth of the queries.

    Args:
        triplets: the whole training log.
        product_ids: the training products, from which the gallery is filled up.
        queries: how many to hold out.
        seed: the same seed holds out the same ones.
    """
    ids = sorted({triplet.query.id for triplet in triplets})
    random = np.random.default_rng((seed, 3))
    held = {ids[place] for place in random.permutation(len(ids))[: min(queries, len(ids) // 10)]}
    by_query: dict[str, list[Triplet]] = {}
    for triplet in triplets:
        if triplet.query.id in held:
            by_query.setdefault(triplet.query.id, []).append(triplet)
    interactions = []
    for found in by_query.values():
        positives = tuple(dict.fromkeys(triplet.positive_id for triplet in found))
        interactions.append(Interaction(found[0].query, positives, found[0].negative_ids))
    gallery = dict.fromkeys(id for it in interactions for id in (*it.positive_ids, *it.negative_ids))
    for place in random.permutation(len(product_ids)):
        if len(gallery) >= GALLERY:
            break
        gallery.setdefault(product_ids[int(place)])
    return HeldOut([triplet for triplet in triplets if triplet.query.id not in held], interactions, list(gallery))
