"""What an evaluation found: counts, recalls, zero-shot scores; as JSON, as Markdown, and as a table for a terminal."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from moon2.errors import UserError

DIRECTIONS = ("t→mm", "i→mm", "mm→mm", "t→i", "i→t")
"""Retrieval directions: the query's form → the gallery's view."""
KS = (1, 5, 10)
VIEWS = ("mm", "i", "t")
"""Views of a product in which its labels are predicted."""
MEASURES = ("accuracy", "precision", "recall", "f1")


class EvaluationError(UserError):
    """An evaluation cannot be made or read; one line with what, where and what to do."""


@dataclass(frozen=True)
class Evaluation:
    """One encoder on one catalog; every score is in percent.

    Attributes:
        model: which encoder it was.
        catalog: on what.
        gallery: products in the gallery.
        queries: test queries.
        recalls: direction → k → R@k; a direction in which nothing could be scored is missing.
        scored: direction → queries scored, of `queries`.
        left_out: direction → reason → how many queries or products that direction went without.
        zero_shot: task ("class" or an attribute's name) → view → accuracy, precision, recall, f1.
        labels: task → how many labels there are to choose from.
        left_out_of_task: task → view → products without a label or without that view.
        seconds: wall-clock time of encoding and scoring.
        examples: direction (those into mm) → a few queries drawn at random, each {"query": its id, "results": ids of
            the nearest products, best first, "right": for each of them whether it is relevant, "similarities": their
            cosines to the query}.
        hard: direction (those into mm) → the few queries whose best relevant product stands furthest below the first
            results, hardest first; as in `examples`, and "relevant": that product's id, "rank": its place, from 1
            (ties shuffled), "similarity": its cosine.
        expert_use: view → mean share of the routing that each expert has, summing to 1; empty without experts.
        expert_use_products: products that mean is over.
        intervals: direction → k → the 95 % bootstrap interval of R@k over the queries, [low, high].
        accuracy_intervals: task → view → the 95 % bootstrap interval of the accuracy over the products, [low, high].
        limit: the most queries and the most products used, when they were limited for a quick look.
        fingerprint: of the queries and products used, as `moon2.evaluate.test_set.fingerprint`; empty in evaluations
            of the first versions, and of other queries than the catalog's.
    """

    model: str
    catalog: str
    gallery: int
    queries: int
    recalls: dict[str, dict[int, float]]
    scored: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)
    zero_shot: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    left_out_of_task: dict[str, dict[str, int]] = field(default_factory=dict)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    seconds: float = 0.0
    intervals: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    accuracy_intervals: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    limit: int | None = None
    hard: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    expert_use: dict[str, list[float]] = field(default_factory=dict)
    expert_use_products: int = 0
    fingerprint: str = ""

    def to_json(self) -> str:
        """All of it as indented JSON that `from_json` reads back to an equal evaluation."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=2)

    @classmethod
    def from_json(cls, text: str) -> Evaluation:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: the text is not such JSON.
        """
        try:
            values = json.loads(text)
            values["recalls"] = {
                direction: {int(k): float(recall) for k, recall in row.items()}
                for direction, row in values["recalls"].items()
            }
            values["intervals"] = {
                direction: {int(k): [float(low), float(high)] for k, (low, high) in row.items()}
                for direction, row in values.get("intervals", {}).items()
            }
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise EvaluationError(f"not an evaluation written by moon2 ({error}); run `moon2 evaluate` again") from None

    def summary(self) -> str:
        """One line that says what was run."""
        limited = f", a sample of at most {self.limit} of each" if self.limit is not None else ""
        return (
            f"{self.model} on {self.catalog}: {self.gallery:,} products in the gallery, {self.queries:,} queries"
            f"{limited}; {self.seconds:.1f} s"
        )

    def retrieval_rows(self) -> list[tuple[str, ...]]:
        """Direction, R@1, R@5, R@10, its interval, queries scored, as text; "–" where nothing could be scored."""
        return [
            (
                direction,
                *(_score(self.recalls.get(direction, {}).get(k)) for k in KS),
                _interval(self.intervals.get(direction, {}).get(KS[-1])),
                f"{self.scored.get(direction, 0):,}",
            )
            for direction in DIRECTIONS
        ]

    def zero_shot_rows(self) -> list[tuple[str, ...]]:
        """Task, view, accuracy, precision, recall, F1, the accuracy's interval, as text."""
        return [
            (
                f"{task} ({self.labels.get(task, 0)} labels)",
                view,
                *(_score(views[view].get(name)) for name in MEASURES),
                _interval(self.accuracy_intervals.get(task, {}).get(view)),
            )
            for task, views in self.zero_shot.items()
            for view in VIEWS
            if view in views
        ]

    def expert_rows(self) -> list[tuple[str, ...]]:
        """Expert, and its share of the routing in each view, in percent, as text."""
        views = [self.expert_use[view] for view in VIEWS if view in self.expert_use]
        return [
            (f"expert {number}", *(f"{100 * share:.1f}" for share in shares))
            for number, shares in enumerate(zip(*views, strict=True))
        ]

    def hard_rows(self) -> list[tuple[str, ...]]:
        """Direction, query, best relevant product, its rank, the product found first, as text."""
        return [
            (direction, row["query"], row["relevant"], f"{row['rank']:,}", *row["results"][:1])
            for direction, rows in self.hard.items()
            for row in rows
        ]

    def notes(self) -> list[str]:
        """One sentence for every kind of item that was left out, directions with the same counts together."""
        directions: dict[str, list[str]] = {}
        for direction, reasons in self.left_out.items():
            for reason, count in reasons.items():
                directions.setdefault(f"{count:,} {reason}", []).append(direction)
        notes = [f"left out of {', '.join(names)}: {what}" for what, names in directions.items()]
        for task, views in self.left_out_of_task.items():
            notes += [f"left out of {task} ({view}): {count:,} products" for view, count in views.items() if count]
        return notes

    def to_text(self) -> str:
        """The tables for a terminal, at most 80 columns wide save for long labels."""
        parts = [self.summary(), "", *_text_table(RETRIEVAL_HEAD, self.retrieval_rows())]
        if self.zero_shot:
            parts += ["", *_text_table(ZERO_SHOT_HEAD, self.zero_shot_rows(), left=2)]
        return "\n".join([*parts, *(["", *self.notes()] if self.notes() else [])])

    def to_markdown(self) -> str:
        """The tables as Markdown."""
        parts = [self.summary(), "", *_markdown_table(RETRIEVAL_HEAD, self.retrieval_rows())]
        if self.zero_shot:
            parts += ["", *_markdown_table(ZERO_SHOT_HEAD, self.zero_shot_rows(), left=2)]
        if self.expert_use:
            head = ("routing, percent", *(view for view in VIEWS if view in self.expert_use))
            parts += ["", *_markdown_table(head, self.expert_rows())]
        if self.hard:
            parts += ["", *_markdown_table(HARD_HEAD, self.hard_rows(), left=3)]
        return "\n".join([*parts, *([""] + [f"- {note}" for note in self.notes()] if self.notes() else [])])


RETRIEVAL_HEAD = ("retrieval", *(f"R@{k}" for k in KS), f"R@{KS[-1]} 95 %", "queries")
ZERO_SHOT_HEAD = ("zero-shot", "view", "accuracy", "precision", "recall", "F1", "accuracy 95 %")
HARD_HEAD = ("hardest", "query", "relevant product", "its rank", "found first")


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _interval(bounds: list[float] | None) -> str:
    return "–" if bounds is None else f"{bounds[0]:.1f}–{bounds[1]:.1f}"


def _text_table(head: tuple[str, ...], rows: list[tuple[str, ...]], left: int = 1) -> list[str]:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(row: tuple[str, ...]) -> str:
        cells = (
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return [line(head), "  ".join("─" * width for width in widths), *map(line, rows)]


def _markdown_table(head: tuple[str, ...], rows: list[tuple[str, ...]], left: int = 1) -> list[str]:
    rule = "|".join("---" if column < left else "---:" for column in range(len(head)))
    return [_markdown_row(head), f"|{rule}|", *map(_markdown_row, rows)]


def _markdown_row(row: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
