"""An evaluation as tables for people: plain text for a terminal, and Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from moon2.evaluate.per_query import GRADED, KS
from moon2.evaluate.result import Evaluation
from moon2.evaluate.significance import Comparison
from moon2.vectors.label_tasks import PHRASED, WEIGHED, form_of
from moon2.views import DIRECTIONS, View

SHOWN_VIEWS: tuple[View, ...] = ("mm", "i", "t")
"""The order of views in tables: what a shop searches first."""
MEASURES = ("accuracy", "precision", "recall", "f1")
RETRIEVAL_HEAD = ("retrieval", *(f"R@{k}" for k in KS), f"R@{KS[-1]} 95 %", "queries")
LABEL_NOTES = {
    PHRASED: "In phrases: each label is also said beside the commonest others of another kind, as in “black shirts”.",
    WEIGHED: "Weighed: each label also counts by how common it is among the products of training.",
}
ZERO_SHOT_HEAD = ("zero-shot", "view", "accuracy", "precision", "recall", "F1", "accuracy 95 %")
KEYWORD_HEAD = ("words and hybrid", *RETRIEVAL_HEAD[1:])
LENGTH_HEAD = (f"R@{KS[-1]} of vectors of length", *map(str, DIRECTIONS))
GRADED_HEAD = ("graded relevance", GRADED[0], "95 %", GRADED[1], "95 %", "graded only", "queries")
OWN_TITLE_HEAD = ("photo and own title, a check", *(f"R@{k}" for k in KS), "products")
OWN_TITLE_WORDS = {"i→t": "a photo finds its own title", "t→i": "a title finds its own photo"}
FEW_QUERIES = 100
"""Of fewer, one query moves a score by more than a point."""
HARD_HEAD = ("hardest", "query", "relevant product", "its rank", "first result")

COMPARISON_HEAD = ("", "measure", "points", "95 %", "p", "compared")

Row = tuple[str, ...]


def to_text(evaluation: Evaluation) -> str:
    """The tables for a terminal, at most 80 columns wide save for long labels."""
    parts = [summary(evaluation), *filter(None, [evaluation.contamination]), *caution(evaluation)]
    if evaluation.queries:
        parts += ["", text_table(RETRIEVAL_HEAD, retrieval_rows(evaluation))]
    if evaluation.keywords:
        parts += ["", text_table(KEYWORD_HEAD, keyword_rows(evaluation))]
    if evaluation.graded:
        parts += ["", text_table(GRADED_HEAD, graded_rows(evaluation))]
    if evaluation.own_titles:
        parts += ["", text_table(OWN_TITLE_HEAD, own_title_rows(evaluation))]
    if evaluation.recalls_by_dimension:
        parts += ["", text_table(LENGTH_HEAD, length_rows(evaluation))]
    if evaluation.zero_shot:
        parts += ["", text_table(ZERO_SHOT_HEAD, zero_shot_rows(evaluation), left=2)]
    return "\n".join([*parts, *(["", *notes(evaluation)] if notes(evaluation) else [])])


def to_markdown(evaluation: Evaluation) -> str:
    """The tables as Markdown."""
    parts = [summary(evaluation), *filter(None, [evaluation.contamination])]
    parts += [f"\n**{line}**" for line in caution(evaluation)]
    if evaluation.queries:
        parts += ["", markdown_table(RETRIEVAL_HEAD, retrieval_rows(evaluation))]
    if evaluation.keywords:
        parts += ["", markdown_table(KEYWORD_HEAD, keyword_rows(evaluation))]
    if evaluation.graded:
        parts += ["", markdown_table(GRADED_HEAD, graded_rows(evaluation))]
    if evaluation.own_titles:
        parts += ["", markdown_table(OWN_TITLE_HEAD, own_title_rows(evaluation))]
    if evaluation.recalls_by_dimension:
        parts += ["", markdown_table(LENGTH_HEAD, length_rows(evaluation))]
    if evaluation.zero_shot:
        parts += ["", markdown_table(ZERO_SHOT_HEAD, zero_shot_rows(evaluation), left=2)]
    if evaluation.expert_use:
        head = ("routing, percent", *(view for view in SHOWN_VIEWS if view in evaluation.expert_use))
        parts += ["", markdown_table(head, expert_rows(evaluation))]
    if evaluation.hard:
        parts += ["", markdown_table(HARD_HEAD, _hard_rows(evaluation), left=3)]
    return "\n".join([*parts, *(["", *(f"- {note}" for note in notes(evaluation))] if notes(evaluation) else [])])


def summary(evaluation: Evaluation) -> str:
    """One line that says what was scored."""
    read = f" (their text: {', '.join(evaluation.fields)})" if evaluation.fields not in ([], ["title"]) else ""
    limited = f", a sample of at most {evaluation.limit} of each" if evaluation.limit is not None else ""
    return (
        f"{evaluation.model} on {evaluation.catalog}: {evaluation.gallery:,} products in the gallery{read}, "
        f"{evaluation.queries:,} queries{limited}; {evaluation.seconds:.1f} s"
    )


def caution(evaluation: Evaluation) -> list[str]:
    """What must be known before the figures are read: that there are no test queries, or few; else empty."""
    if not evaluation.queries:
        return [
            "no test queries: search quality was not measured; give the log a split, or use `moon2 benchmark build`",
            "a photo that finds its own title only shows that the two are aligned",
        ]
    scored = max(evaluation.scored.values(), default=0)
    if scored < FEW_QUERIES:
        return [
            f"only {scored:,} test queries, under {FEW_QUERIES}: each moves R@k by {100 / max(scored, 1):.1f} points"
        ]
    return []


def own_title_rows(evaluation: Evaluation) -> list[Row]:
    """What looks for what, R@1, R@5, R@10, products."""
    return [
        (
            OWN_TITLE_WORDS[direction],
            *(_number(recalls.get(k)) for k in KS),
            f"{evaluation.own_titles_scored.get(direction, 0):,}",
        )
        for direction, recalls in evaluation.own_titles.items()
    ]


def retrieval_rows(evaluation: Evaluation) -> list[Row]:
    """Direction, R@1, R@5, R@10, its interval, queries scored; "–" where nothing could be scored."""
    return [
        (
            direction,
            *(_number(evaluation.recalls.get(direction, {}).get(k)) for k in KS),
            _interval(evaluation.intervals.get(direction, {}).get(KS[-1])),
            f"{evaluation.scored.get(direction, 0):,}",
        )
        for direction in map(str, DIRECTIONS)
    ]


def keyword_rows(evaluation: Evaluation) -> list[Row]:
    """Keyword search and hybrid: the row's name, R@1, R@5, R@10, its interval, queries scored."""
    return [
        (
            name,
            *(_number(recalls.get(k)) for k in KS),
            _interval(evaluation.keyword_intervals.get(name, {}).get(KS[-1])),
            f"{evaluation.keyword_queries.get(name, 0):,}",
        )
        for name, recalls in evaluation.keywords.items()
    ]


def graded_rows(evaluation: Evaluation) -> list[Row]:
    """Direction or row of keyword search, nDCG@10, its interval, MRR@10, its interval, nDCG of graded products alone,
    queries with grades."""
    return [
        (
            name,
            *(
                cell
                for measure in GRADED[:2]
                for cell in (
                    _number(values.get(measure)),
                    _interval(evaluation.graded_intervals.get(name, {}).get(measure)),
                )
            ),
            _number(values.get(GRADED[2])),
            f"{evaluation.graded_queries.get(name, 0):,}",
        )
        for name, values in evaluation.graded.items()
    ]


def length_rows(evaluation: Evaluation) -> list[Row]:
    """Length of the vectors, and the last R@k of each direction."""
    return [
        (str(length), *(_number(recalls.get(str(direction))) for direction in DIRECTIONS))
        for length, recalls in evaluation.recalls_by_dimension.items()
    ]


def label_notes(evaluation: Evaluation) -> list[str]:
    """What the forms of zero-shot tasks mean, of those there are."""
    return [note for form, note in LABEL_NOTES.items() if any(form_of(task) == form for task in evaluation.zero_shot)]


def zero_shot_rows(evaluation: Evaluation) -> list[Row]:
    """Task, view, accuracy, precision, recall, F1, the accuracy's interval."""
    return [
        (
            task if form_of(task) else f"{task} ({evaluation.labels.get(task, 0)} labels)",
            view,
            *(_number(views[view].get(name)) for name in MEASURES),
            _interval(evaluation.accuracy_intervals.get(task, {}).get(view)),
        )
        for task, views in evaluation.zero_shot.items()
        for view in SHOWN_VIEWS
        if view in views
    ]


def expert_rows(evaluation: Evaluation) -> list[Row]:
    """Expert, and its share of the routing in each view, in percent."""
    shares_by_view = [evaluation.expert_use[view] for view in SHOWN_VIEWS if view in evaluation.expert_use]
    return [
        (f"expert {number}", *(f"{100 * share:.1f}" for share in shares))
        for number, shares in enumerate(zip(*shares_by_view, strict=True))
    ]


def notes(evaluation: Evaluation) -> list[str]:
    """One sentence for every kind of item that was left out, directions with the same counts together."""
    directions: dict[str, list[str]] = {}
    for direction, reasons in evaluation.left_out.items():
        for reason, count in reasons.items():
            directions.setdefault(f"{count:,} {reason}", []).append(direction)
    lines = [f"left out of {', '.join(names)}: {items}" for items, names in directions.items()]
    if evaluation.graded:
        lines.append(
            "graded relevance: a grade is the gain of its product; “graded only” ranks those with a grade alone"
        )
    for task, name in evaluation.labels_read.items():
        lines.append(f"{task} is read, not predicted, in views mm and t: its label is in the field {name!r}")
    for task, views in evaluation.left_out_of_task.items():
        lines += [f"left out of {task} ({view}): {count:,} products" for view, count in views.items() if count]
    return lines


def comparison_text(comparisons: Mapping[str, Mapping[int | str, Comparison]], other: str) -> str:
    """A table for a terminal: differences in percentage points, with their 95 % intervals and p."""
    rows = []
    for name, by_k in comparisons.items():
        is_retrieval = "→" in name  # such as "t→mm, hybrid (titles)"; others are tasks, such as "class (mm)"
        for k, found in by_k.items():
            measure = k if isinstance(k, str) else f"R@{k}" if is_retrieval else "accuracy"
            bounds = f"{100 * found.low:+.1f} to {100 * found.high:+.1f}"
            difference = f"{100 * found.difference:+.1f}"
            rows.append((name, measure, difference, bounds, f"{found.p:.4f}", f"{found.queries:,}"))
    head = f"difference to {other}, in points, on the same queries and products"
    return f"{head}\n\n{text_table(COMPARISON_HEAD, rows, left=2)}"


def text_table(head: Row, rows: Sequence[Row], left: int = 1) -> str:
    """Columns under a rule; the first `left` of them are aligned left, the others right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(row: Row) -> str:
        cells = (
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return "\n".join([line(head), "  ".join("─" * width for width in widths), *map(line, rows)])


def markdown_table(head: Row, rows: Sequence[Row], left: int = 1) -> str:
    """The same as Markdown."""
    rule = "|".join("---" if column < left else "---:" for column in range(len(head)))
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def _hard_rows(evaluation: Evaluation) -> list[Row]:
    return [
        (direction, row["query"], row["relevant"], f"{row['rank']:,}", *row["results"][:1])
        for direction, rows in evaluation.hard.items()
        for row in rows
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _interval(bounds: Sequence[float] | None) -> str:
    return "–" if bounds is None else f"{bounds[0]:.1f}–{bounds[1]:.1f}"
