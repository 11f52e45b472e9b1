"""A split into train and test by connected components, so that linked nodes stay together.

Some links are required: two near-duplicates, two products of one style. Others are preferred: a query and the products
bought after it. Popular queries would chain half a shop into one component. So a preferred link is not followed where
the component would become too large; the caller counts the links that the split cuts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moon2.catalog.groups import UnionFind

# Preferred links grow a component to at most this share of the whole, so that a test split can be filled.
MAX_COMPONENT_SHARE = 0.02
MIN_COMPONENT_LIMIT = 8


@dataclass(frozen=True)
class Split:
    """The side of each node.

    Attributes:
        in_test: (nodes,) bool.
        components: number of connected components with a weight above 0.
        largest: weight of the largest.
    """

    in_test: NDArray[np.bool_]
    components: int
    largest: int


def split_nodes(
    names: Sequence[str],
    weights: Sequence[int],
    required: Iterable[tuple[int, int]],
    preferred: Iterable[tuple[int, int]] = (),
    *,
    share: float,
    seed: int = 0,
) -> Split:
    """Puts whole components into the test split, in an order drawn by seed, while they fit.

    Args:
        names: of the nodes; the draw depends on them and on the seed, not on the order of the nodes.
        weights: how much of the test split a node fills; 0 for a node that only links others.
        required: pairs of nodes that are never separated.
        preferred: pairs that stay together unless the component becomes too large.
        share: of the whole weight for the test split; it gets less where components do not fit.
        seed: of the draw.
    """
    sets = UnionFind(weights)
    for first, second in required:
        sets.union(first, second)
    total = sum(weights)
    limit = max(MIN_COMPONENT_LIMIT, int(MAX_COMPONENT_SHARE * total))
    for first, second in preferred:
        sets.union(first, second, limit)
    roots = [sets.find(node) for node in range(len(names))]
    # A component draws with its least name, whichever node represents the set.
    least: dict[int, str] = {}
    for name, root in zip(names, roots, strict=True):
        least[root] = min(name, least.get(root, name))
    room = round(share * total)
    test: set[int] = set()
    for root in sorted(least, key=lambda root: draw(seed, least[root])):
        if 0 < sets.weight[root] <= room:
            test.add(root)
            room -= sets.weight[root]
    weighted = [sets.weight[root] for root in least if sets.weight[root]]
    return Split(np.array([root in test for root in roots], bool), len(weighted), max(weighted, default=0))


def draw(seed: int, name: str) -> int:
    """A number of 64 bits that depends on the seed and the name only."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest())
