"""A part of the training log held out, to choose among checkpoints without a look at the test queries."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np
from tqdm import tqdm

from moon2.catalog.store import Catalog
from moon2.catalog.triplets import Triplet, same_queries
from moon2.model.encoder import Encoder
from moon2.records import Interaction, Query
from moon2.vectors.embed import embed_products, embed_queries
from moon2.vectors.fit_fusions import fit_fusions
from moon2.vectors.fusion import Fusion
from moon2.vectors.retrieval import rank_directions, recalls

GALLERY = 2_000
"""Products searched for a held-out query: enough to tell checkpoints apart, few enough to embed often."""
BATCH_SIZE = 64
FEW_QUERIES = 100
"""Of fewer, one query moves a score by more than a point."""

logger = logging.getLogger(__name__)


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

    def announce(self) -> None:
        """Logs how many queries are held out, and warns where they are few or none."""
        count = len(self.interactions)
        if count >= FEW_QUERIES:
            logger.info(f"validation: {count:,} queries are held out")
        elif count:
            logger.warning(
                f"validation: only {count:,} queries are held out, under {FEW_QUERIES}; each moves R@10 by "
                f"{100 / count:.1f} points, so the best checkpoint is chosen by little"
            )
        else:
            asked = len(set(same_queries([triplet.query for triplet in self.training])))
            logger.warning(
                f"training.evaluate_every: no query can be held out of {asked:,} (training.validation_queries, and at "
                "most a tenth); the last weights are kept"
            )


def hold_out(triplets: Sequence[Triplet], product_ids: Sequence[str], queries: int, seed: int) -> HeldOut:
    """Holds `queries` queries out, with all triplets that ask the same; at most a tenth of the queries.

    Products of the gallery stay in training as other queries' products, so the scores compare checkpoints of one run.
    They do not measure how well the encoder does on products that it never saw.

    Args:
        triplets: the whole training log.
        product_ids: the training products, from which the gallery is filled up.
        queries: how many to hold out.
        seed: the same seed holds out the same ones.
    """
    asked = same_queries([triplet.query for triplet in triplets])
    # By their words, so that other rows in the log change little of what is drawn.
    distinct = sorted(set(asked), key=lambda number: (_words(triplets[number].query), number))
    random = np.random.default_rng((seed, 3))
    held = {distinct[index] for index in random.permutation(len(distinct))[: min(queries, len(distinct) // 10)]}
    by_query: dict[int, list[Triplet]] = {}
    for number, triplet in zip(asked, triplets, strict=True):
        if number in held:
            by_query.setdefault(number, []).append(triplet)
    interactions = []
    for group in by_query.values():
        # Everything known to answer the query counts as right, not only what this row of the log bought.
        known = {id for triplet in group for id in (triplet.positive_id, *triplet.known_positive_ids)}
        positives = tuple(sorted(known - {group[0].query.product_id}))
        negatives = tuple(id for id in group[0].negative_ids if id not in known)
        if positives:
            interactions.append(Interaction(group[0].query, positives, negatives))
    gallery = dict.fromkeys(id for it in interactions for id in (*it.positive_ids, *it.negative_ids))
    for index in random.permutation(len(product_ids)):
        if len(gallery) >= GALLERY:
            break
        gallery.setdefault(product_ids[int(index)])
    training = [triplet for number, triplet in zip(asked, triplets, strict=True) if number not in held]
    return HeldOut(training, interactions, list(gallery))


def validate(
    encoder: Encoder, catalog: Catalog, held_out: HeldOut
) -> tuple[dict[str, float], dict[str, dict[str, Fusion]]]:
    """R@10 of each direction on the held-out queries, in percent, and their mean as "score".

    Of vectors that are cut to the lengths which were trained, the mean alone, such as "score@64". Second,
    how hybrid search is to weigh words, see `fit_fusions`.
    """
    bar: tqdm[None] = tqdm(disable=True)
    products, _ = embed_products(encoder, catalog, held_out.gallery_ids, BATCH_SIZE, bar)
    asked = [interaction.query for interaction in held_out.interactions]
    queries = embed_queries(encoder, catalog, asked, BATCH_SIZE, bar)
    scores: dict[str, float] = {}
    for length in encoder.dimensions:
        found = recalls(rank_directions(queries, products, held_out.interactions, held_out.gallery_ids, length), 10)
        score = mean(found.values()) if found else 0.0
        if length < encoder.dimension:
            scores[f"score@{length}"] = score
        else:
            scores |= {"score": score} | {f"{direction} R@10": recall for direction, recall in found.items()}
    return scores, fit_fusions(catalog, products, queries, held_out.interactions, held_out.gallery_ids)


def _words(query: Query) -> tuple[str, str, str]:
    return " ".join(query.text.casefold().split()), query.product_id or "", "" if query.image is None else query.id
