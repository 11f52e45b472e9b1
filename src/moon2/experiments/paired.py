"""Variants against one of them, query by query: differences that many queries agree on, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from moon2.evaluate.format import markdown_table
from moon2.evaluate.per_query import QueryScores, query_scores_beside, read_query_scores
from moon2.evaluate.significance import Comparison, compare
from moon2.experiments.tables import Row, opponents
from moon2.experiments.variants import OURS
from moon2.run_folder import RunFolder
from moon2.views import DIRECTIONS

NAMES = tuple(map(str, DIRECTIONS))
JOINT = " (mm)"
"""What a task's name ends with where whole products were labelled."""


def paired_table(folder: Path, rows: Sequence[Row], base: str = OURS) -> str:
    """Markdown: the variant `base` less each other one, in points with 95 % bootstrap intervals; "" if none.

    What a query scored is first averaged over the seeds that both have. Queries are then drawn anew, so an interval
    says how far other queries would move the difference, not how far other seeds would.

    Args:
        folder: of the experiment; its runs keep what each query scored.
        rows: of its runs.
        base: the variant that the others are compared with.
    """
    found = {}
    for name, ours, theirs in opponents(rows, base):
        files = [(_file(folder, ours[seed]), _file(folder, theirs[seed])) for seed in ours]
        # Rows stay where somebody took a run's folder away.
        pairs = [(_scores(one), _scores(other)) for one, other in files if one.exists() and other.exists()]
        if pairs:
            found[name] = len(pairs), _compared(pairs)
    columns = dict.fromkeys(column for _, comparisons in found.values() for column in comparisons)
    lines = [
        (name, str(seeds), *(_cell(comparisons.get(column)) for column in columns))
        for name, (seeds, comparisons) in found.items()
    ]
    return markdown_table((f"{base} less …, query by query", "seeds", *columns), lines) if lines else ""


def _file(folder: Path, row: Row) -> Path:
    return query_scores_beside(RunFolder(folder / "runs" / row["run"]).evaluation)


def _scores(file: Path) -> dict[str, QueryScores]:
    return read_query_scores(file)[0]


def _compared(pairs: Sequence[tuple[Mapping[str, QueryScores], Mapping[str, QueryScores]]]) -> dict[str, Comparison]:
    """Column → the first of each pair against the second, by the mean over pairs of what each query scored."""
    found = {}
    for name in (*NAMES, *(name for name in pairs[0][0] if name.endswith(JOINT))):
        if not all(name in scores for pair in pairs for scores in pair):
            continue
        k = 10 if name in NAMES else 1
        # All runs of an experiment are scored on one test set, so their queries stand in one order.
        first, second = (np.mean([pair[i][name].hits[k] for pair in pairs], axis=0) for i in (0, 1))
        found[f"{name}, R@{k}" if name in NAMES else name.removesuffix(JOINT)] = compare(first, second)
    return found


def _cell(comparison: Comparison | None) -> str:
    if comparison is None:
        return "–"
    return f"{100 * comparison.difference:+.1f} ({100 * comparison.low:+.1f} to {100 * comparison.high:+.1f})"
