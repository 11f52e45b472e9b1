"""What an evaluation is about: which queries, among which products, and a fingerprint of both.

Ids of queries and products repeat between shops, and a limit makes another gallery. So the figures of two models, or an
evaluation and a catalog, are put side by side only where the fingerprints are equal.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from moon2.catalog.schema import pairs_to_dict
from moon2.catalog.store import Catalog
from moon2.errors import UserError
from moon2.meant import did_you_mean
from moon2.records import Interaction
from moon2.vectors.label_tasks import colour_attribute

Item = TypeVar("Item")


class EvaluationError(UserError):
    """An evaluation cannot be made or read; one line with what, where and what to do."""


@dataclass(frozen=True)
class TestSet:
    """The ids of the gallery's products, and the queries with their relevant products."""

    __test__ = False  # pytest takes classes called Test… for tests

    gallery: list[str]
    interactions: list[Interaction]
    fingerprint: str


def read_test_set(catalog: Catalog, limit: int | None = None) -> TestSet:
    """The test queries of a catalog, perhaps none, among the products of its `test` split (of all where there is none).

    Images are not read. Co-augmentation leaves the test part as it is, and so the fingerprint too.

    Args:
        catalog: its interactions of split "test", if it has any, name all relevant products of the query.
        limit: at most this many queries and products, both evenly spaced.

    Returns:
        The set. Its fingerprint is a SHA-256 over ids, text, positives and grades of the queries, ids and titles of
        the products.

    Raises:
        EvaluationError: `limit` is below 1.
    """
    if limit is not None and limit < 1:
        raise EvaluationError(f"limit is {limit}; it must be 1 or more, or not given to use everything")
    split = "test" if "test" in catalog.splits else None
    gallery = _evenly(catalog.ids(split), limit)
    members = set(gallery)
    interactions = catalog.interactions("test")
    if limit is not None:
        # A query whose relevant products were not sampled would only be left out later.
        interactions = _evenly([it for it in interactions if members.intersection(it.positive_ids)], limit)
    digest = hashlib.sha256()

    def add(*values: object) -> None:
        digest.update(json.dumps(values).encode() + b"\n")

    for interaction in interactions:
        query = interaction.query
        add(query.id, query.text, query.product_id, interaction.positive_ids)
        if interaction.grades:
            add(sorted(interaction.grades.items()))
    for row in catalog.rows(split, ["id", "title"]):
        if row["id"] in members:
            add(row["id"], row["title"] or "")
    return TestSet(gallery, interactions, digest.hexdigest())


def require_attributes(names: Sequence[str], catalog: Catalog) -> None:
    """Refuses to predict an attribute that no product has, before the long work.

    Raises:
        EvaluationError: names the first, and those there are.
    """
    known = catalog.attribute_names() if names else set()
    for name in names:
        if name not in known:
            raise EvaluationError(
                f"{catalog.folder}: no product has the attribute {name!r}{did_you_mean(name, known) or ';'} there are "
                f"{', '.join(sorted(known))}"
            )


def require_labels_or_photos(catalog: Catalog, gallery: Collection[str], attributes: Sequence[str] | None) -> None:
    """Refuses a catalog without test queries that has nothing else to score, before the long work.

    Args:
        catalog: holds the products.
        gallery: ids of those that are scored.
        attributes: to be predicted; None: a colour attribute.

    Raises:
        EvaluationError: in the gallery there are no two leaves of categories, no two values of one of these attributes,
            and no product with both title and photo; names the attributes that could be predicted.
    """
    members, leaves = set(gallery), set[str]()
    values: defaultdict[str, set[str]] = defaultdict(set)
    for row in catalog.rows(None, ["id", "category", "attributes"]):
        if row["id"] in members:
            leaves.update(filter(None, (row["category"] or ())[-1:]))
            for name, value in pairs_to_dict(row["attributes"]).items():
                if value and len(values[name]) < 2:  # a code has as many values as there are products
                    values[name].add(value)
    several = {name for name, found in values.items() if len(found) > 1}
    if len(leaves) > 1 or several.intersection(colour_attribute(values) if attributes is None else attributes):
        return
    if not any(product.id in members and product.title and product.images for product in catalog.products()):
        remedy = f", or name an attribute with --attributes: {', '.join(sorted(several))}" if several else ""
        raise EvaluationError(
            f"catalog {catalog.folder}: has no test interactions, no product with both title and photo, and no labels "
            f"to predict, so there is nothing to score; import it with a log that has test queries{remedy}"
        )


def _evenly(items: Sequence[Item], limit: int | None) -> list[Item]:
    """At most `limit` items, evenly spaced, in order."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[round(position)] for position in np.linspace(0, len(items) - 1, limit)]
