"""Two variants on four queries, by hand: the seeds' mean of each query, and what noise is compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from moon2.evaluate.per_query import QueryScores, query_scores_beside, write_query_scores
from moon2.experiments.paired import paired_table
from moon2.run_folder import RunFolder


def run(
    folder: Path, variant: str, seed: int, found: list[int], right: list[int], log_noise: float | None = None
) -> dict[str, Any]:
    """A run by which queries it found among the first ten, and of which products it told the class."""
    name = f"{variant}-{seed}"
    file = query_scores_beside(RunFolder(folder / "runs" / name).evaluation)
    file.parent.mkdir(parents=True)
    ids = [f"q{number}" for number in range(len(found))]
    hits = {k: np.array(found, np.float64) for k in (1, 5, 10)}
    labels = {1: np.array(right, np.float64)}
    scores = {
        "i→mm": QueryScores(ids, [0] * len(ids), hits),
        "i→mm, hybrid (titles)": QueryScores(ids, [0] * len(ids), hits),
        "class (t)": QueryScores(ids, [0] * len(ids), labels),
        "class (mm)": QueryScores(ids, [0] * len(ids), labels),
    }
    write_query_scores(file, scores, "fingerprint")
    return {"run": name, "variant": variant, "seed": seed, "log_noise": log_noise}


def test_a_query_counts_by_its_mean_over_the_seeds_that_both_have(tmp_path: Path) -> None:
    rows = [
        run(tmp_path, "MOON2.0", 0, [1, 1, 1, 0], [1, 1, 1, 1]),
        run(tmp_path, "MOON2.0", 1, [1, 0, 1, 0], [1, 1, 1, 1]),
        run(tmp_path, "MOON2.0", 2, [0, 0, 0, 0], [0, 0, 0, 0]),
        run(tmp_path, "peer", 0, [1, 1, 0, 0], [1, 1, 1, 1]),
        run(tmp_path, "peer", 1, [1, 0, 0, 0], [0, 0, 0, 0]),
    ]
    head, _, line = paired_table(tmp_path, rows).splitlines()
    assert head == "| MOON2.0 less …, query by query | seeds | i→mm, R@10 | class |"
    # The third query alone is found by the one and not by the other, in both seeds: +1/4, and of four queries drawn
    # anew none may be it, or three. Class: half a point of each product, whichever are drawn.
    assert line == "| peer | 2 | +25.0 (+0.0 to +75.0) | +50.0 (+50.0 to +50.0) |"


def test_noise_is_compared_on_the_same_log(tmp_path: Path) -> None:
    rows = [
        run(tmp_path, "MOON2.0", 0, [1, 1], [1, 1]),
        run(tmp_path, "peer", 0, [0, 0], [0, 0]),
        run(tmp_path, "MOON2.0, 30% noise", 0, [0, 0], [1, 1], 0.3),
        run(tmp_path, "peer, 30% noise", 0, [1, 1], [1, 1], 0.3),
    ]
    table = paired_table(tmp_path, rows)
    assert "| peer | 1 | +100.0 (+100.0 to +100.0) |" in table
    assert "| MOON2.0, 30% noise | 1 | +100.0 (+100.0 to +100.0) |" in table
    assert "| peer, 30% noise | 1 | -100.0 (-100.0 to -100.0) |" in table


def test_a_single_variant_has_no_table(tmp_path: Path) -> None:
    assert paired_table(tmp_path, [run(tmp_path, "MOON2.0", 0, [1], [1])]) == ""
