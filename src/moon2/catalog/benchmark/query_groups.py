"""The queries of a log: which rows ask the same, and whose own pictures are nearly a product's or one another's.

Queries that show the same picture with other words are two queries, but they belong on one side of a split. So do a
query and the product whose photo it shows, whether or not the log says whose photo it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from moon2.catalog.benchmark.near_duplicates import Fingerprint, alike_pictures, fingerprint
from moon2.catalog.benchmark.split import UnionFind
from moon2.catalog.schema import is_url
from moon2.catalog.triplets import same_query_keys
from moon2.records import Interaction, Query


def query_groups(log: Sequence[Interaction]) -> list[int]:
    """Numbers of the queries of a log's rows: the same id, or the same words and picture, make the same query."""
    node_of: dict[tuple[Any, ...], int] = {}
    keys = [[node_of.setdefault(key, len(node_of)) for key in _keys(row.query)] for row in log]
    sets = UnionFind([1] * len(node_of))
    for nodes in keys:
        for node in nodes[1:]:
            sets.union(nodes[0], node)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(sets.find(nodes[0]), len(numbers)) for nodes in keys]


def _keys(query: Query) -> list[tuple[Any, ...]]:
    # Triplets are made without the shopper's own picture: what was measured with them has to stay what it was.
    keys: list[tuple[Any, ...]] = [*same_query_keys(query)]
    if query.image is not None:
        keys.append(("pictured", query.image, " ".join(query.text.casefold().split()), query.product_id or ""))
    return keys


def picture_ties(
    log: Sequence[Interaction],
    groups: Sequence[int],
    first: int,
    prints: Iterable[tuple[int, Fingerprint]],
    urls: Iterable[tuple[int, str]],
) -> set[tuple[int, int]]:
    """Pairs of nodes, the second of them a query, whose pictures are the same or nearly so.

    Args:
        log: rows of a log, with pictures as bytes, paths or URLs.
        groups: the number of the query of each row.
        first: the node that stands for query 0; products are nodes 0 … first - 1.
        prints: number and fingerprint of every picture of a product.
        urls: number and address of pictures of products that are URLs, which compare only as they are written.
    """
    owner: dict[Any, int] = {}
    ties = set()
    for group, row in zip(groups, log, strict=True):
        picture, node = row.query.image, first + group
        if picture is not None and owner.setdefault(picture, node) != node:
            ties.add((owner[picture], node))
    ties.update((number, owner[url]) for number, url in urls if url in owner)
    opened = ((node, picture) for picture, node in owner.items() if not (isinstance(picture, str) and is_url(picture)))
    own = [(node, found) for node, picture in opened if (found := fingerprint(picture))]
    if own:
        ties.update(pair for pair in alike_pictures([*prints, *own]) if pair[1] >= first)
    return ties
