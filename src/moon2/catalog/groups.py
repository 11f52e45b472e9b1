"""Groups of what belongs together, from pairs, by union and find."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass


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


def group_by_keys(keys_of: Sequence[Iterable[Hashable]]) -> list[int]:
    """The least member of each number's group; those that share a key are in one group."""
    first: dict[Hashable, int] = {}
    pairs = [(first.setdefault(key, number), number) for number, keys in enumerate(keys_of) for key in keys]
    return group_pairs(len(keys_of), pairs)


@dataclass(frozen=True, slots=True)
class Group:
    """Numbers that pairs hold together.

    Attributes:
        members: two or more, ascending.
        nearest: of each member the highest score of a pair that it is in.
        score: of the weakest pair that is needed to hold the group together.
    """

    members: tuple[int, ...]
    nearest: tuple[float, ...]
    score: float


def scored_groups(count: int, pairs: Iterable[tuple[int, int]], scores: Iterable[float]) -> list[Group]:
    """The groups of two and more among 0 … count − 1, the highest score first.

    Args:
        count: of numbers.
        pairs: of two different numbers, in any order.
        scores: of the pairs; more is nearer.
    """
    sets = UnionFind([1] * count)
    nearest: dict[int, float] = {}
    weakest: dict[int, float] = {}
    for (first, second), score in sorted(zip(pairs, scores, strict=True), key=lambda pair: -pair[1]):
        nearest.setdefault(first, score)
        nearest.setdefault(second, score)
        if sets.find(first) != sets.find(second):
            sets.union(first, second)
            weakest[sets.find(first)] = score  # the pairs come best first, so the last that joins is the weakest
    members: dict[int, list[int]] = {}
    for number in sorted(nearest):
        members.setdefault(sets.find(number), []).append(number)
    groups = [Group(tuple(of), tuple(nearest[n] for n in of), weakest[root]) for root, of in members.items()]
    return sorted(groups, key=lambda group: (-group.score, group.members))
