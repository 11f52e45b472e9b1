"""What an evaluation is about: which queries, among which products, and a fingerprint by which both are known again.

Ids of queries and products repeat between shops, and a limit makes the gallery another one. Figures of two models, and
an evaluation and the catalog it is shown with, are therefore put side by side only where the fingerprints are equal.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from moon2.catalog.store import Catalog
from moon2.records import Interaction

Item = TypeVar("Item")


def chosen(
    catalog: Catalog,
    limit: int | None = None,
    interactions: Sequence[Interaction] | None = None,
    gallery_ids: Sequence[str] | None = None,
) -> tuple[list[str], list[Interaction]]:
    """The ids of the gallery's products, and the queries with their relevant products.

    Args:
        catalog: the gallery is its `test` split, all of it where there is none; the queries are its test queries.
        limit: at most this many of each, evenly spaced.
        interactions: other queries than the catalog's.
        gallery_ids: another gallery.
    """
    ids = evenly(catalog.ids(_split(catalog)) if gallery_ids is None else gallery_ids, limit)
    found = catalog.interactions("test") if interactions is None else list(interactions)
    if limit is not None:
        # A query whose relevant products were not sampled would only be left out later.
        there = set(ids)
        found = evenly([it for it in found if there.intersection(it.positive_ids)], limit)
    return ids, found


def fingerprint(catalog: Catalog, limit: int | None = None) -> str:
    """SHA-256 over what `chosen` gives: ids, words and positives of the queries, ids and titles of the products.

    Pictures are not read. Co-augmentation leaves the test part as it is, and so the fingerprint too.
    """
    ids, interactions = chosen(catalog, limit)
    digest = hashlib.sha256()

    def add(*values: object) -> None:
        digest.update(json.dumps(values).encode() + b"\n")

    for interaction in interactions:
        query = interaction.query
        add(query.id, query.text, query.product_id, interaction.positive_ids)
    there = set(ids)
    for row in catalog.rows(_split(catalog), ["id", "title"]):
        if row["id"] in there:
            add(row["id"], row["title"] or "")
    return digest.hexdigest()


def evenly(items: Sequence[Item], limit: int | None) -> list[Item]:
    """At most `limit` items, evenly spaced, in order."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[round(position)] for position in np.linspace(0, len(items) - 1, limit)]


def _split(catalog: Catalog) -> str | None:
    return "test" if "test" in catalog.splits else None
