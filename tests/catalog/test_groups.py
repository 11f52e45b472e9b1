"""Groups from pairs."""

from __future__ import annotations

from moon2.catalog.groups import UnionFind, group_pairs


def test_pairs_chain_into_groups_named_by_their_least_member() -> None:
    assert group_pairs(6, [(4, 3), (3, 1), (5, 5)]) == [0, 1, 2, 1, 1, 5]


def test_a_set_weighs_as_much_as_its_members() -> None:
    sets = UnionFind([1, 2, 3])
    assert sets.union(0, 1)
    assert not sets.union(1, 2, max_weight=5)
    assert sets.find(2) != sets.find(0)
    assert sets.weight[sets.find(1)] == 3
