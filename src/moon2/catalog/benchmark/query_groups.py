"""The queries of a log: which rows are the same query, and which queries and products have nearly the same image.

Queries with the same image and other words are two queries, but they belong on one side of a split. So do a query and
the product whose photo it has, whether or not the log names that product.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from moon2.catalog.groups import group_by_keys
from moon2.catalog.near_duplicates import Fingerprint, fingerprint, image_pairs
from moon2.catalog.schema import is_url
from moon2.catalog.triplets import same_query_keys
from moon2.records import Interaction, Query


def query_groups(log: Sequence[Interaction]) -> list[int]:
    """The number of each row's query: the same id, or the same words and image, make the same query."""
    numbers: dict[int, int] = {}
    return [numbers.setdefault(first, len(numbers)) for first in group_by_keys([_keys(row.query) for row in log])]


def _keys(query: Query) -> list[tuple[Hashable, ...]]:
    # Training triplets do not compare the shoppers' images, so this key is added here only.
    keys: list[tuple[Hashable, ...]] = [*same_query_keys(query)]
    if (image := _stored_image(query)) is not None:
        keys.append(("image", image, " ".join(query.text.casefold().split()), query.product_id or ""))
    return keys


def _stored_image(query: Query) -> bytes | str | None:
    """The image of a query from a catalog, which is bytes, a path or a URL."""
    assert query.image is None or isinstance(query.image, (bytes, str))
    return query.image


def image_ties(
    log: Sequence[Interaction],
    groups: Sequence[int],
    first: int,
    prints: Iterable[tuple[int, Fingerprint]],
    urls: Iterable[tuple[int, str]],
) -> set[tuple[int, int]]:
    """Pairs of nodes, the second of them a query, whose images are the same or nearly so.

    Args:
        log: rows of a log, with images as bytes, paths or URLs.
        groups: the number of each row's query.
        first: the node of query 0; products are the nodes 0 … first - 1.
        prints: number and fingerprint of every image of a product.
        urls: number and address of the products' images that are URLs; these are compared as text.
    """
    owner: dict[bytes | str, int] = {}
    ties = set()
    for group, row in zip(groups, log, strict=True):
        image, node = _stored_image(row.query), first + group
        if image is not None and owner.setdefault(image, node) != node:
            ties.add((owner[image], node))
    ties.update((number, owner[url]) for number, url in urls if url in owner)
    files = ((node, image) for image, node in owner.items() if not is_url(image))
    query_prints = [(node, print) for node, image in files if (print := fingerprint(image))]
    if query_prints:
        ties.update(pair for pair in image_pairs([*prints, *query_prints]) if pair[1] >= first)
    return ties
