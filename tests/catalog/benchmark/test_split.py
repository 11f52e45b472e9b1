"""The split: a required link is never cut, whatever the graph; the test split gets the components that fit."""

from __future__ import annotations

import random

import numpy as np
import pytest

from moon2.catalog.benchmark.split import split_nodes


def components_by_search(count: int, pairs: list[tuple[int, int]]) -> list[set[int]]:
    """Connected components by another method: breadth-first over adjacency sets."""
    near: list[set[int]] = [set() for _ in range(count)]
    for a, b in pairs:
        near[a].add(b)
        near[b].add(a)
    left, components = set(range(count)), []
    while left:
        reached, front = set(), {left.pop()}
        while front:
            reached |= front
            front = set().union(*(near[node] for node in front)) - reached
        left -= reached
        components.append(reached)
    return components


@pytest.mark.parametrize("seed", range(25))
def test_no_component_of_a_random_graph_is_parted(seed: int) -> None:
    rng = random.Random(seed)
    count = rng.randint(2, 80)
    pairs = [(rng.randrange(count), rng.randrange(count)) for _ in range(rng.randint(0, count))]
    preferred = [(rng.randrange(count), rng.randrange(count)) for _ in range(rng.randint(0, count))]
    names = [f"p{number}" for number in range(count)]
    weights = [rng.randint(0, 2) for _ in range(count)]
    share = rng.choice([0.1, 0.3, 0.5])
    split = split_nodes(names, weights, pairs, preferred, share=share, seed=seed)
    for component in components_by_search(count, pairs):
        assert len({bool(split.in_test[node]) for node in component}) == 1
    assert sum(w for w, test in zip(weights, split.in_test, strict=True) if test) <= round(share * sum(weights))
    again = split_nodes(names, weights, pairs[::-1], preferred, share=share, seed=seed)
    assert np.array_equal(split.in_test, again.in_test)


def test_a_case_worked_by_hand() -> None:
    # a–b–c are linked, d and e are not. Two fifths are for testing: the three never fit, so d and e are taken.
    split = split_nodes(list("abcde"), [1] * 5, [(0, 1), (1, 2)], share=0.4)
    assert split.in_test.tolist() == [False, False, False, True, True]
    assert (split.components, split.largest) == (3, 3)


def test_the_seed_decides_and_the_order_does_not() -> None:
    names = [f"p{number}" for number in range(200)]
    drawn = [split_nodes(names, [1] * 200, [], share=0.2, seed=seed).in_test for seed in (0, 0, 1)]
    assert drawn[0].sum() == 40
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    turned = split_nodes(names[::-1], [1] * 200, [], share=0.2, seed=0).in_test[::-1]
    assert np.array_equal(drawn[0], turned)


def test_preferred_links_are_followed_until_a_component_is_too_large() -> None:
    chain = [(node, node + 1) for node in range(99)]
    names = [f"p{number:02}" for number in range(100)]
    assert split_nodes(names, [1] * 100, [], chain, share=0.2).largest == 8
    assert split_nodes(names, [1] * 100, chain, share=0.2).largest == 100
