"""The split: what is bound is never parted, whatever the graph; the test part gets what fits."""

from __future__ import annotations

import random

import numpy as np
import pytest

from moon2.catalog.benchmark.split import UnionFind, split_nodes


def components_by_search(count: int, pairs: list[tuple[int, int]]) -> list[set[int]]:
    """Connected components found another way: breadth-first over adjacency sets."""
    near: list[set[int]] = [set() for _ in range(count)]
    for a, b in pairs:
        near[a].add(b)
        near[b].add(a)
    left, found = set(range(count)), []
    while left:
        reached, front = set(), {left.pop()}
        while front:
            reached |= front
            front = set().union(*(near[node] for node in front)) - reached
        left -= reached
        found.append(reached)
    return found


@pytest.mark.parametrize("seed", range(25))
def test_no_component_of_a_random_graph_is_parted(seed: int) -> None:
    rng = random.Random(seed)
    count = rng.randint(2, 80)
    pairs = [(rng.randrange(count), rng.randrange(count)) for _ in range(rng.randint(0, count))]
    wished = [(rng.randrange(count), rng.randrange(count)) for _ in range(rng.randint(0, count))]
    names = [f"p{number}" for number in range(count)]
    weights = [rng.randint(0, 2) for _ in range(count)]
    share = rng.choice([0.1, 0.3, 0.5])
    split = split_nodes(names, weights, pairs, wished, share=share, seed=seed)
    for component in components_by_search(count, pairs):
        assert len({bool(split.in_test[node]) for node in component}) == 1
    assert sum(w for w, test in zip(weights, split.in_test, strict=True) if test) <= round(share * sum(weights))
    again = split_nodes(names, weights, pairs[::-1], wished, share=share, seed=seed)
    assert np.array_equal(split.in_test, again.in_test)


def test_a_case_worked_by_hand() -> None:
    # a–b–c are bound, d and e are not; two fifths for testing: the three never fit, so it is d and e.
    split = split_nodes(list("abcde"), [1] * 5, [(0, 1), (1, 2)], share=0.4)
    assert split.in_test.tolist() == [False, False, False, True, True]
    assert (split.components, split.largest) == (3, 3)


def test_the_seed_draws_and_the_order_does_not() -> None:
    names = [f"p{number}" for number in range(200)]
    drawn = [split_nodes(names, [1] * 200, [], share=0.2, seed=seed).in_test for seed in (0, 0, 1)]
    assert drawn[0].sum() == 40
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    turned = split_nodes(names[::-1], [1] * 200, [], share=0.2, seed=0).in_test[::-1]
    assert np.array_equal(drawn[0], turned)


def test_a_wish_is_followed_until_a_component_is_too_large() -> None:
    chain = [(node, node + 1) for node in range(99)]
    names = [f"p{number:02}" for number in range(100)]
    assert split_nodes(names, [1] * 100, [], chain, share=0.2).largest == 8
    assert split_nodes(names, [1] * 100, chain, share=0.2).largest == 100


def test_sets_are_as_heavy_as_their_members() -> None:
    sets = UnionFind([1, 2, 3])
    assert sets.union(0, 1)
    assert not sets.union(1, 2, most=5)
    assert sets.find(2) != sets.find(0)
    assert sets.weight[sets.find(1)] == 3
