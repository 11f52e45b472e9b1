"""Rows of an experiment as tables: mean ± standard deviation over seeds, differences seed by seed, and who is first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from moon2.evaluate.format import markdown_table
from moon2.experiments.variants import OURS, SAME_BUDGET, Variant, name_with_noise
from moon2.vectors.label_tasks import PHRASED, WEIGHED, form_of
from moon2.views import DIRECTIONS

Row = Mapping[str, Any]
MEAN = "mean"
"""Of R@10 over the five directions."""
NAMES = tuple(map(str, DIRECTIONS))
LABELS = ("class", "attribute")
COLUMNS = (*NAMES, MEAN, *(name + form for form in ("", PHRASED, WEIGHED) for name in LABELS))
PUBLISHED: dict[str, tuple[float, ...]] = {
    "MOON2.0": (63.09, 91.08, 94.21, 73.12, 64.91, 68.08, 84.29),
    "without MoE": (51.29, 74.59, 78.45, 62.16, 56.21, 62.55, 75.62),
    "without dual-level alignment": (37.99, 65.72, 67.45, 31.45, 23.35, 57.12, 67.24),
    "without co-augmentation": (59.69, 78.17, 80.62, 64.79, 58.68, 66.21, 77.77),
    "without filtering": (60.63, 83.40, 80.00, 70.40, 63.21, 67.99, 84.04),
    "MOON (predecessor)": (float("nan"), 78.11, 80.78, 44.02, float("nan"), 59.70, 63.55),
}
"""The authors' figures on MBE2.0 (arXiv 2511.12449) by direction, class and attribute: another set, other sizes, one
seed."""


def scores(row: Row) -> dict[str, float]:
    """One run, in percent: R@10 by direction and their mean, the accuracy of class and the mean of attributes."""
    columns = {direction: recall["10"] for direction, recall in row["recall"].items()}
    if len(columns) == len(DIRECTIONS):
        columns[MEAN] = mean(columns.values())
    for form in ("", PHRASED, WEIGHED):
        tasks = {
            task.removesuffix(form): accuracy for task, accuracy in row["accuracy"].items() if form_of(task) == form
        }
        if "class" in tasks:
            columns["class" + form] = tasks.pop("class")
        if tasks:
            columns["attribute" + form] = mean(tasks.values())
    return columns


def by_variant(rows: Sequence[Row]) -> dict[str, dict[int, Row]]:
    """Rows by variant and seed, in the order of the rows."""
    groups: dict[str, dict[int, Row]] = {}
    for row in rows:
        groups.setdefault(row["variant"], {})[row["seed"]] = row
    return groups


def means_table(rows: Sequence[Row]) -> str:
    """Markdown: by variant the mean ± standard deviation over seeds.

    The best mean of each column is bold, among the runs that learned from the log as it is: a cleaner or a noisier one
    is another task.
    """
    groups = by_variant(rows)
    shown = _shown_columns(rows)
    values = {name: _columns(seeds) for name, seeds in groups.items()}
    comparable = {name: columns for name, columns in values.items() if _noise(groups[name]) is None}
    best = {
        column: max((mean(columns[column].values()) for columns in comparable.values() if column in columns), default=0)
        for column in shown
    }
    lines = []
    for name, seeds in groups.items():
        cells = []
        for column in shown:
            scored = list(values[name].get(column, {}).values())
            is_best = name in comparable and scored and mean(scored) == best[column]
            cells.append((f"**{spread(scored)}**" if is_best else spread(scored)) if scored else "–")
        size = mean(row["parameters"] for row in seeds.values()) / 1e6
        tokens = [row["tokens"] for row in seeds.values() if row["tokens"]]
        millions = f"{mean(tokens) / 1e6:.2f}M" if tokens else "–"
        seconds = mean(row["seconds"] for row in seeds.values())
        lines.append((name, str(len(seeds)), *cells, f"{size:.1f}M", millions, f"{seconds:.0f}"))
    return markdown_table(("R@10 and accuracy, %", "seeds", *shown, "parameters", "tokens", "seconds"), lines)


def differences_table(rows: Sequence[Row], base: str = OURS) -> str:
    """Markdown: the variant `base` less each other one, seed by seed, as mean ± standard deviation; "" if none."""
    lines, shown = [], _shown_columns(rows)
    for name, ours, theirs in opponents(rows, base):
        own, other = _columns(ours), _columns(theirs)
        cells = [_difference(own.get(column, {}), other.get(column, {})) for column in shown]
        lines.append((name, str(len(ours)), *cells))
    return markdown_table((f"{base} less …", "seeds", *shown), lines) if lines else ""


def opponents(rows: Sequence[Row], base: str) -> Iterator[tuple[str, dict[int, Row], dict[int, Row]]]:
    """Each other variant, with the runs of `base` and its own by the seeds that both have.

    What learned from a log with a chosen share of noise is set against `base` on that same log, and that in turn
    against `base` on the log as it is.
    """
    groups = by_variant(rows)
    for name, theirs in groups.items():
        same_log = name_with_noise(base, _noise(theirs))
        ours = groups.get(base if name == same_log else same_log, {})
        seeds = sorted(ours.keys() & theirs.keys())
        if name != base and seeds:
            yield name, {seed: ours[seed] for seed in seeds}, {seed: theirs[seed] for seed in seeds}


def words_table(rows: Sequence[Row]) -> str:
    """Markdown: recalls of keyword search, which no variant changes, and of each variant's hybrid; "" if none.

    Mean ± standard deviation over seeds. Rows of an experiment that an older moon2 began have no such figures.
    """
    lines: dict[tuple[str, str], list[Mapping[str, float]]] = {}
    for row in rows:
        for name, recalls in row.get("keywords", {}).items():
            # The words are the same whoever is trained: one line, of one run.
            if "BM25" in name:
                lines[name, ""] = [recalls]
            else:
                lines.setdefault((name, row["variant"]), []).append(recalls)
    cells = [
        (name, variant or "–", *(spread([recalls[k] for recalls in several]) for k in ("1", "5", "10")))
        for (name, variant), several in sorted(lines.items(), key=lambda line: ("BM25" not in line[0][0], line[0][0]))
    ]
    return markdown_table(("words and hybrid, %", "with", "R@1", "R@5", "R@10"), cells, left=2) if cells else ""


def published_table(variants: Sequence[Variant]) -> str:
    """Markdown: the rows of the published table that the variants repeat, to be read beside ours."""
    names = dict.fromkeys(variant.published for variant in variants if variant.published)
    lines = [(name, *("–" if value != value else f"{value:.1f}" for value in PUBLISHED[name])) for name in names]
    return markdown_table(("published, on MBE2.0", *NAMES, "class", "attribute"), lines)


def verdict(rows: Sequence[Row]) -> str:
    """In words: in which columns MOON2.0 has the best mean, where it has not, and where the lead is within the spread.

    A lead is called clear when MOON2.0 is ahead of every other variant in every seed, and all have run with the same
    seeds. What learned from a log with a chosen share of noise is left out.
    """
    groups = {name: _columns(seeds) for name, seeds in by_variant(rows).items() if _noise(seeds) is None}
    if OURS not in groups or len(groups) < 2:
        return ""
    clear, unclear, behind = [], [], []
    for column in COLUMNS:
        others = {name: columns[column] for name, columns in groups.items() if name != OURS and column in columns}
        own = groups[OURS].get(column)
        if not own or not others:
            continue
        name = max(others, key=lambda other: mean(others[other].values()))
        ours, theirs = list(own.values()), list(others[name].values())
        if mean(ours) < mean(theirs):
            behind.append(f"{column} ({name} {spread(theirs)}, {OURS} {spread(ours)})")
        elif all(own.keys() == other.keys() and all(own[s] > other[s] for s in own) for other in others.values()):
            clear.append(column)
        else:
            unclear.append(f"{column} (next: {name})")
    parts = [f"{OURS} is first in every seed in {', '.join(clear) or 'no column'}."]
    if unclear:
        parts.append(f"First in the mean only: {', '.join(unclear)}.")
    if behind:
        parts.append(f"Not first: {'; '.join(behind)}.")
    return " ".join(parts)


def timing_notes(rows: Sequence[Row]) -> str:
    """In words, what makes seconds hard to compare: some runs timed beside others, or a budget that was missed."""
    notes = []
    if len({row.get("at_once") for row in rows}) > 1:
        notes.append("Some runs were timed with others beside them and some without, so their seconds do not compare.")
    seconds = {name: mean(row["seconds"] for row in seeds.values()) for name, seeds in by_variant(rows).items()}
    for name, taken in seconds.items():
        if OURS in seconds and abs(share := taken / seconds[OURS] - 1) > SAME_BUDGET:
            notes.append(f"{name} had {abs(share):.0%} {'more' if share > 0 else 'less'} time than {OURS}.")
    return " ".join(notes)


def spread(values: Sequence[float], sign: str = "") -> str:
    """Mean ± sample standard deviation; of one value the value alone."""
    shown = f"{mean(values):{sign}.1f}"
    return f"{shown} ± {stdev(values):.1f}" if len(values) > 1 else shown


def _shown_columns(rows: Sequence[Row]) -> list[str]:
    """`COLUMNS`, but those of labels in phrases and of weighed ones only where some run has them."""
    scored = {column for row in rows for column in scores(row)}
    return [column for column in COLUMNS if column in scored or not form_of(column)]


def _columns(seeds: Mapping[int, Row]) -> dict[str, dict[int, float]]:
    """By column and seed, what each run that has it scored, in the order of seeds."""
    columns: dict[str, dict[int, float]] = {}
    for seed in sorted(seeds):
        for column, value in scores(seeds[seed]).items():
            columns.setdefault(column, {})[seed] = value
    return columns


def _noise(seeds: Mapping[int, Row]) -> float | None:
    """Share of false purchases that a variant's log was given; None: the log as it is."""
    return next(iter(seeds.values()))["log_noise"]


def _difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> str:
    both = sorted(ours.keys() & theirs.keys())
    return spread([ours[seed] - theirs[seed] for seed in both], "+") if both else "–"
