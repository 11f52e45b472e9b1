"""What is held out is out of training, the same each time, and can be scored."""

import pytest

from moon2.catalog.triplets import Triplet
from moon2.records import Query
from moon2.train.validation import hold_out


def log(queries: int) -> list[Triplet]:
    return [
        Triplet(Query(f"q{number}", f"words {number}"), f"p{number}-{bought}", (f"n{number}",), frozenset())
        for number in range(queries)
        for bought in range(2)
    ]


def test_all_triplets_of_a_held_out_query_leave_training_together():
    held = hold_out(log(100), [f"p{number}-0" for number in range(100)], queries=7, seed=0)
    out = {interaction.query.id for interaction in held.interactions}
    assert len(out) == 7
    assert len(held.training) == 2 * 93
    assert out.isdisjoint(triplet.query.id for triplet in held.training)
    assert all(len(interaction.positive_ids) == 2 for interaction in held.interactions)


def test_every_positive_and_negative_can_be_found_in_the_gallery():
    held = hold_out(log(100), [f"p{number}-0" for number in range(100)], queries=5, seed=1)
    wanted = {id for it in held.interactions for id in (*it.positive_ids, *it.negative_ids)}
    assert wanted <= set(held.gallery_ids)
    assert len(held.gallery_ids) == len(set(held.gallery_ids)) > len(wanted)


def test_the_seed_decides_and_a_short_log_keeps_nine_tenths():
    assert hold_out(log(50), [], 5, seed=3) == hold_out(log(50), [], 5, seed=3)
    assert hold_out(log(50), [], 5, seed=3) != hold_out(log(50), [], 5, seed=4)
    assert len(hold_out(log(30), [], 300, seed=0).interactions) == 3


def test_the_same_words_under_another_id_are_held_out_too():
    twice = [
        Triplet(Query(f"{name}{number}", f"words {number}"), f"p{number}", (), frozenset({f"p{number}", f"s{number}"}))
        for number in range(50)
        for name in ("a", "b")
    ]
    held = hold_out(twice, [], queries=5, seed=0)
    asked = {interaction.query.text for interaction in held.interactions}
    assert len(asked) == 5
    assert asked.isdisjoint(triplet.query.text for triplet in held.training)
    assert all(len(interaction.positive_ids) == 2 for interaction in held.interactions)  # all that is known to answer


def test_one_query_in_two_spellings_is_held_out_as_one() -> None:
    spelt = [
        Triplet(Query(f"{name}{number}", f"words {number}{end}"), f"{name}{number}", (), frozenset({f"{name}{number}"}))
        for number in range(50)
        for name, end in (("a", ""), ("b", " !"))
    ]
    held = hold_out(spelt, [], queries=5, seed=0)
    numbers = {interaction.query.id[1:] for interaction in held.interactions}
    assert len(numbers) == 5 and len(held.training) == 90
    assert numbers.isdisjoint(triplet.query.id[1:] for triplet in held.training)
    assert all(set(it.positive_ids) == {f"a{it.query.id[1:]}", f"b{it.query.id[1:]}"} for it in held.interactions)


def test_few_held_out_queries_are_cautioned_against(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "moon2"):
        hold_out(log(1000), [], queries=100, seed=0).announce()
        assert "100 queries are held out" in caplog.text and "only" not in caplog.text
        hold_out(log(100), [], queries=7, seed=0).announce()
    assert "only 7 queries are held out, under 100; each moves R@10 by 14.3 points" in caplog.text


@pytest.mark.parametrize(("asked", "wanted"), [(9, 300), (50, 0)])
def test_evaluation_without_a_held_out_query_is_said_to_be_left_out(
    asked: int, wanted: int, caplog: pytest.LogCaptureFixture
) -> None:
    hold_out(log(asked), [], queries=wanted, seed=0).announce()
    assert f"training.evaluate_every: no query can be held out of {asked} " in caplog.text
    assert "the last weights are kept" in caplog.text
