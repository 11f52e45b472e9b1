"""Groups of what belongs together, from pairs, by union and find."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class UnionFind:
    """Disjoint sets over 0 … count − 1 with weights; union by weight, with path halving.

    Attributes:
        weight: of each set, at the node that `find` returns.
    """

    def __init__(self, weights: Sequence[int]) -> None:
        self._parent = list(range(len(weights)))
        self.weight = list(weights)

    def find(self, node: int) -> int:
        """The node that represents the set of `node`."""
        parent = self._parent
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def union(self, first: int, second: int, max_weight: int | None = None) -> bool:
        """Merges two sets unless the weight would exceed `max_weight`; returns whether they are one set now."""
        a, b = self.find(first), self.find(second)
        if a == b:
            return True
        if max_weight is not None and self.weight[a] + self.weight[b] > max_weight:
            return False
        if self.weight[a] < self.weight[b]:
            a, b = b, a
        self._parent[b] = a
        self.weight[a] += self.weight[b]
        return True


def group_pairs(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """The least member of each number's group, for the numbers 0 … count − 1; pairs are in one group."""
    sets = UnionFind([1] * count)
    for first, second in pairs:
        sets.union(first, second)
    least: dict[int, int] = {}
    return [least.setdefault(sets.find(number), number) for number in range(count)]
