"""Figures by hand: means, spreads, who is first, and in every seed or only in the mean."""

from __future__ import annotations

from typing import Any

import pytest

from moon2.experiments.tables import differences_table, means_table, published_table, scores, timing_notes, verdict
from moon2.experiments.variants import Variant


def row(
    variant: str, seed: int, words: float, photo: float, tokens: int | None = 2_000_000, log_noise: float | None = None
) -> dict[str, Any]:
    """A run by its R@10 of t→mm and i→mm."""
    recall = {"t→mm": {"1": 0.0, "5": 0.0, "10": words}, "i→mm": {"1": 0.0, "5": 0.0, "10": photo}}
    accuracy = {"class": 50.0, "colour": 60.0, "gender": 80.0}
    return {
        "variant": variant,
        "seed": seed,
        "recall": recall,
        "accuracy": accuracy,
        "parameters": 5_100_000,
        "tokens": tokens,
        "log_noise": log_noise,
        "seconds": 100.0,
    }


ROWS = [
    row("MOON2.0", 0, 80, 50),
    row("MOON2.0", 1, 84, 50),
    row("peer", 0, 70, 48, None),
    row("peer", 1, 72, 51, None),
]


def test_scores_of_a_run() -> None:
    assert scores(ROWS[0]) == {"t→mm": 80, "i→mm": 50, "class": 50, "attribute": 70}


def test_weighed_labels_have_columns_of_their_own_where_a_run_has_them() -> None:
    weighed = {"class, in phrases": 85.0, "class, weighed": 90.0, "colour, weighed": 70.0, "gender, weighed": 80.0}
    more = {**ROWS[0], "accuracy": ROWS[0]["accuracy"] | weighed}
    assert scores(more) == {**scores(ROWS[0]), "class, in phrases": 85, "class, weighed": 90, "attribute, weighed": 75}
    assert "| class | attribute | parameters |" in means_table(ROWS)
    head, _, first, *_ = means_table([more, *ROWS[1:]]).splitlines()
    assert "| class | attribute | class, in phrases | class, weighed | attribute, weighed | parameters |" in head
    assert "| **90.0** | **75.0** |" in first


def test_means_have_their_spread_and_the_best_is_bold() -> None:
    lines = means_table(ROWS).splitlines()
    assert "| **82.0 ± 2.8** | **50.0 ± 0.0** | – | – | – |" in lines[2]
    assert lines[2].endswith("| 5.1M | 2.00M | 100 |")
    assert "| peer | 2 | 71.0 ± 1.4 | 49.5 ± 2.1 |" in lines[3]
    assert lines[3].endswith("| 5.1M | – | 100 |")


def test_differences_are_taken_seed_by_seed() -> None:
    # 10 and 12 for words, 2 and −1 for photos.
    assert "| peer | 2 | +11.0 ± 1.4 | +0.5 ± 2.1 |" in differences_table(ROWS)


def test_the_verdict_tells_a_clear_lead_from_one_in_the_mean_and_names_what_is_better() -> None:
    text = verdict(ROWS)
    assert text.startswith("MOON2.0 is first in every seed in t→mm.")
    assert "First in the mean only: i→mm (next: peer)" in text
    behind = verdict([*ROWS, row("other", 0, 90, 10), row("other", 1, 92, 10)])
    assert "Not first: t→mm (other 91.0 ± 1.4, MOON2.0 82.0 ± 2.8)." in behind


def test_a_lead_over_the_runner_up_alone_is_not_first_in_every_seed() -> None:
    ours = [row("MOON2.0", 0, 80, 50), row("MOON2.0", 1, 90, 50)]
    next_best = [row("steady", 0, 79, 0), row("steady", 1, 89, 0)]
    uneven = [row("uneven", 0, 85, 0), row("uneven", 1, 60, 0)]
    assert "first in every seed in t→mm" in verdict([*ours, *next_best])
    assert "First in the mean only: t→mm (next: steady)" in verdict([*ours, *next_best, *uneven])


def test_notes_say_what_makes_seconds_hard_to_compare() -> None:
    timed = [{**one, "at_once": 1} for one in ROWS]
    assert timing_notes(timed) == ""
    slow = [{**one, "seconds": 125.0} if one["variant"] == "peer" else one for one in timed]
    assert timing_notes(slow) == "peer had 25% more time than MOON2.0."
    assert "Some runs were timed with others beside them" in timing_notes([*timed[:3], {**timed[3], "at_once": 2}])


def test_a_lead_over_other_seeds_is_not_called_clear() -> None:
    # Seed 0 of the peer failed: paired by position, its only run would be compared with the wrong one of ours.
    assert "in no column" in verdict([*ROWS[:2], row("peer", 1, 70, 48)])
    assert "| peer | 1 | +14.0 | +2.0 |" in differences_table([*ROWS[:2], row("peer", 1, 70, 48)])


def test_runs_on_another_log_are_compared_on_that_log() -> None:
    clean = [
        row("MOON2.0, 0% noise", 0, 90, 60, log_noise=0.0),
        row("without filtering, 0% noise", 0, 89, 57, log_noise=0.0),
    ]
    means, differences = means_table([*ROWS, *clean]), differences_table([*ROWS, *clean])
    assert "**82.0" in means and "**9" not in means
    assert verdict([*ROWS, *clean]) == verdict(ROWS)
    assert "| MOON2.0, 0% noise | 1 | -10.0 | -10.0 |" in differences
    assert "| without filtering, 0% noise | 1 | +1.0 | +3.0 |" in differences


def test_without_ours_there_are_no_differences() -> None:
    assert differences_table(ROWS[2:]) == ""


def test_without_a_peer_there_is_no_verdict() -> None:
    assert verdict(ROWS[:2]) == ""


def test_each_published_row_is_shown_once() -> None:
    some = [Variant("a", published="without MoE"), Variant("b", published="without MoE"), Variant("c")]
    lines = published_table(some).splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("| without MoE | 51.3 | 74.6 |")
    assert "| – | 78.1 | 80.8 | 44.0 | – |" in published_table([Variant("m", published="MOON (predecessor)")])


@pytest.mark.parametrize("values", [[70.0], [70.0, 70.0]])
def test_one_seed_has_no_spread(values: list[float]) -> None:
    rows = [row("MOON2.0", seed, value, value) for seed, value in enumerate(values)]
    assert (" ± " in means_table(rows)) == (len(values) > 1)
