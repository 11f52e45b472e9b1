"""Triplets (query, positive, negatives) to train on: from a search log, or mined from a catalog that has none.

In a log, a purchase is the positive, and products shown but not bought are the negatives. What is mined, `mining.py`
says.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from moon2.catalog.groups import group_by_keys
from moon2.catalog.mining import mine
from moon2.catalog.schema import CatalogError
from moon2.catalog.store import Catalog
from moon2.records import Interaction, Query

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Triplet:
    """One training example.

    Attributes:
        query: the search.
        positive_id: the product bought, or a product very similar to the query's own.
        negative_ids: products shown but not bought, or mined; none of them is a known positive; may be empty.
        known_positive_ids: every product known to answer this query, `positive_id` among them; they are never in-batch
            negatives of it.
    """

    query: Query
    positive_id: str
    negative_ids: tuple[str, ...]
    known_positive_ids: frozenset[str]


def training_triplets(catalog: Catalog, seed: int = 0) -> list[Triplet]:
    """The triplets of the training log if there is one, otherwise mined ones; the same for the same seed.

    Raises:
        CatalogError: there is no log, and nothing can be mined.
    """
    triplets = triplets_from_log(catalog.interactions("train"))
    if not triplets:
        logger.info(f"{catalog.folder}: no training log; queries are mined")
        triplets = mined_triplets(catalog, seed)
    if not triplets:
        raise CatalogError(
            f"{catalog.folder}: has no training log, no two products share a style or a title, and no title or "
            f"attribute gives a query; import a log, or attributes"
        )
    return triplets


def mined_triplets(catalog: Catalog, seed: int = 0, also_known: Collection[str] = ()) -> list[Triplet]:
    """What a catalog without a log would train on, see `mining.py`."""
    return [Triplet(*query) for query in mine(catalog, seed, also_known=also_known)]


def mined_beside(
    catalog: Catalog, logged: Sequence[Triplet], held_out: Iterable[Query], seed: int = 0
) -> list[Triplet]:
    """What is mined beside a log, with what the log knows: all positives of the same words, and no held-out words.

    Args:
        catalog: has the log.
        logged: all triplets of the log.
        held_out: queries that nothing may be learned of.
        seed: the same seed mines the same.
    """
    known: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    for triplet in logged:
        for key in same_query_keys(triplet.query):
            known[key].update(triplet.known_positive_ids)
    left_out = {key for query in held_out for key in same_query_keys(query)}
    # A log may name products of the test, which are then candidates of a batch.
    named = {id for triplet in logged for id in (*triplet.known_positive_ids, *triplet.negative_ids)}
    triplets = []
    for triplet in mined_triplets(catalog, seed, named):
        keys = same_query_keys(triplet.query)
        if left_out.isdisjoint(keys):
            positives = triplet.known_positive_ids.union(*(known.get(key, ()) for key in keys))
            negatives = tuple(id for id in triplet.negative_ids if id not in positives)
            triplets.append(replace(triplet, negative_ids=negatives, known_positive_ids=positives))
    return triplets


def triplets_from_log(interactions: Iterable[Interaction]) -> list[Triplet]:
    """One triplet for each positive of each interaction, in the order of the log.

    Known positives are the query's own product, and the positives of every interaction with the same query. That is one
    with the same id, or with the same words (without case, punctuation and spacing) and the same product. A known
    positive is removed from the negatives.
    """
    interactions = list(interactions)
    positives: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    for interaction in interactions:
        for key in same_query_keys(interaction.query):
            positives[key].update(interaction.positive_ids)
    triplets = []
    for interaction in interactions:
        query = interaction.query
        known = set().union(*(positives[key] for key in same_query_keys(query)))
        if query.product_id is not None:
            known.add(query.product_id)
        negatives = tuple(id for id in interaction.negative_ids if id not in known)
        known_positives = frozenset(known)
        triplets += [Triplet(query, positive, negatives, known_positives) for positive in interaction.positive_ids]
    return triplets


def same_queries(queries: Sequence[Query]) -> list[int]:
    """Of each query the number of the first that asks the same; see `same_query_keys`."""
    return group_by_keys([same_query_keys(query) for query in queries])


def same_query_keys(query: Query) -> list[tuple[str, ...]]:
    """Keys that equal queries share: the id, and the words together with the query's product."""
    keys: list[tuple[str, ...]] = [("id", query.id)]
    words = " ".join(re.findall(r"\w+", query.text.casefold()))
    # Behind the same words, shoppers may have different images of their own.
    if query.image is None and (words or query.product_id):
        keys.append(("words", words, query.product_id or ""))
    return keys
