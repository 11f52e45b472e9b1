"""A split into train and test that what belongs together never crosses: connected components by union and find.

Some links are binding (two near-duplicates, two products of one style). Others are wished for (a query and what was
bought after it): popular queries would chain half a shop into one component, so a wished link that would make too large
a component is not followed, and whoever asked for it is told which links the split cut.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

# A component grown by wished links holds at most this share of what is split, so that a test part can be filled.
LARGEST_SHARE = 0.02
LEAST_LARGEST = 8


class UnionFind:
    """Disjoint sets over 0 … count − 1 with weights; union by weight, paths halved."""

    def __init__(self, weights: Sequence[int]) -> None:
        self.parent = list(range(len(weights)))
        self.weight = list(weights)

    def find(self, node: int) -> int:
        """The node that stands for the set of `node`."""
        parent = self.parent
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def union(self, first: int, second: int, most: int | None = None) -> bool:
        """Makes one set of two unless its weight would exceed `most`; whether they are one now."""
        a, b = self.find(first), self.find(second)
        if a == b:
            return True
        if most is not None and self.weight[a] + self.weight[b] > most:
            return False
        if self.weight[a] < self.weight[b]:
            a, b = b, a
        self.parent[b] = a
        self.weight[a] += self.weight[b]
        return True


@dataclass(frozen=True)
class Split:
    """Which side each node is on.

    Attributes:
        in_test: (nodes,) bool.
        components: how many connected components there are among nodes that weigh something.
        largest: weight of the largest.
    """

    in_test: np.ndarray
    components: int
    largest: int


def split_nodes(
    names: Sequence[str],
    weights: Sequence[int],
    bound: Iterable[tuple[int, int]],
    wished: Iterable[tuple[int, int]] = (),
    *,
    share: float,
    seed: int = 0,
) -> Split:
    """Puts whole components into the test part, in an order drawn by seed, while they fit.

    Args:
        names: of the nodes; the draw depends on them and on the seed, not on the nodes' order.
        weights: how much of the test part a node fills; 0 for a node that only ties others together.
        bound: pairs of nodes that must not be parted.
        wished: pairs that are kept together where no component becomes too large by it.
        share: of the whole weight that the test part is to have; it gets that, or less where components do not fit.
        seed: of the draw.
    """
    sets = UnionFind(weights)
    for first, second in bound:
        sets.union(first, second)
    total = sum(weights)
    most = max(LEAST_LARGEST, int(LARGEST_SHARE * total))
    for first, second in wished:
        sets.union(first, second, most)
    roots = [sets.find(node) for node in range(len(names))]
    # A component draws with its least name, so that it is the same draw whatever stands for the set.
    least: dict[int, str] = {}
    for name, root in zip(names, roots, strict=True):
        least[root] = min(name, least.get(root, name))
    room = round(share * total)
    test: set[int] = set()
    for root in sorted(least, key=lambda root: draw(seed, least[root])):
        if 0 < sets.weight[root] <= room:
            test.add(root)
            room -= sets.weight[root]
    heavy = [sets.weight[root] for root in least if sets.weight[root]]
    return Split(np.array([root in test for root in roots], bool), len(heavy), max(heavy, default=0))


def draw(seed: int, name: str) -> int:
    """A number of 64 bits that only the seed and the name decide."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest())
