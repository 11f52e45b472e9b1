"""Groups from pairs."""

from __future__ import annotations

from moon2.catalog.groups import UnionFind, group_pairs, scored_groups


def test_pairs_chain_into_groups_named_by_their_least_member() -> None:
    assert group_pairs(6, [(4, 3), (3, 1), (5, 5)]) == [0, 1, 2, 1, 1, 5]


def test_a_set_weighs_as_much_as_its_members() -> None:
    sets = UnionFind([1, 2, 3])
    assert sets.union(0, 1)
    assert not sets.union(1, 2, max_weight=5)
    assert sets.find(2) != sets.find(0)
    assert sets.weight[sets.find(1)] == 3


def test_a_groups_score_is_that_of_the_weakest_pair_it_needs() -> None:
    pairs = [(0, 1), (1, 2), (0, 2), (5, 4)]
    groups = scored_groups(6, pairs, [0.9, 0.7, 0.8, 0.95])
    assert [group.members for group in groups] == [(4, 5), (0, 1, 2)]  # the most alike first
    assert [group.score for group in groups] == [0.95, 0.8]  # (1, 2) at 0.7 is not needed
    assert groups[1].nearest == (0.9, 0.9, 0.8)
    assert scored_groups(3, [], []) == []
