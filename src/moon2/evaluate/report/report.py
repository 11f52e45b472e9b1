"""The report of a run: one HTML file with nothing beside it, no script, readable on a phone and in print.

Everything in it comes from what evaluation and training wrote down, so it can be made again without the model. The
example queries are drawn at random, the hard ones are the worst there are, and the report says so: a report that
showed only what worked would be an advertisement.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from moon2.catalog.store import Catalog
from moon2.evaluate.report.bars import Bar, bar_chart
from moon2.evaluate.report.charts import line_chart
from moon2.evaluate.report.examples import example_cards
from moon2.evaluate.report.style import STYLE
from moon2.evaluate.result import DIRECTIONS, KS, MEASURES, VIEWS, Evaluation

IN_WORDS = {
    "t→mm": "words find products",
    "i→mm": "a photo finds products",
    "mm→mm": "words and photo find products",
    "t→i": "words find photos",
    "i→t": "a photo finds titles",
}
VIEW_IN_WORDS = {"mm": "title and photo", "i": "photo", "t": "title"}


def write_report(
    path: str | Path,
    evaluation: Evaluation,
    history: Sequence[Mapping[str, Any]],
    catalog: Catalog,
    *,
    baseline: Evaluation | None = None,
    title: str = "moon2 report",
    command: str = "",
) -> Path:
    """Writes the report of a trained encoder.

    Args:
        path: the HTML file to write; its folder is made.
        evaluation: of the trained encoder.
        history: the rows of RUN/history.jsonl, each a step's losses, weights, expert loads and filter; may be empty.
        catalog: the one evaluated, for the texts and pictures of the examples.
        baseline: of the same encoder before training, shown beside the figures.
        title: the page's title.
        command: what was typed to get here, shown at the top.

    Returns:
        The path.
    """
    sections = [
        _head(title, command, evaluation, history, catalog),
        _retrieval(evaluation, baseline),
        _zero_shot(evaluation, baseline),
        _curves(history),
        _expert_use(evaluation),
        _examples(evaluation, catalog),
        _hard(evaluation, catalog),
        _notes(evaluation),
    ]
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page, encoding="utf-8")
    return target


def _head(
    title: str, command: str, evaluation: Evaluation, history: Sequence[Mapping[str, Any]], catalog: Catalog
) -> str:
    steps = max((int(row["step"]) for row in history if "step" in row), default=0)
    facts = {
        "products": f"{len(catalog):,}",
        "in the gallery": f"{evaluation.gallery:,}",
        "test queries": f"{evaluation.queries:,}",
        "training steps": f"{steps:,}" if steps else "",
        "to evaluate": f"{evaluation.seconds:.0f} s",
    }
    tiles = "".join(f"<li><b>{value}</b> {name}</li>" for name, value in facts.items() if value)
    typed = f"<pre>{escape(command)}</pre>" if command else ""
    what = f"<p>{escape(evaluation.model)} on the catalog {escape(evaluation.catalog)}</p>"
    return f'<header><h1>{escape(title)}</h1>{what}<ul class="facts">{tiles}</ul>{typed}</header>'


def _retrieval(evaluation: Evaluation, baseline: Evaluation | None) -> str:
    rows = []
    for direction in DIRECTIONS:
        now, before = evaluation.recalls.get(direction, {}), baseline.recalls.get(direction, {}) if baseline else {}
        cells = "".join(_cell(now.get(k), before.get(k)) for k in KS)
        rows.append(f'<tr><th scope="row">{direction}<small>{IN_WORDS[direction]}</small></th>{cells}</tr>')
    explanation = (
        "R@k is the share of test queries, in percent, that find a relevant product among the first k. The query's own "
        "product is not in the gallery. Products that score the same are taken to be shuffled."
    )
    if evaluation.intervals:
        explanation += " Whiskers are 95 % bootstrap intervals over the queries."
    heads = "".join(_column(f"R@{k}", baseline) for k in KS)
    table = _table(f'<th scope="col">direction</th>{heads}', rows)
    bars = bar_chart("Recall, percent", _bars(evaluation))
    return _section("Retrieval", explanation + _beside(baseline), table + bars)


def _bars(evaluation: Evaluation) -> dict[str, dict[str, Bar]]:
    groups: dict[str, dict[str, Bar]] = {}
    for direction in DIRECTIONS:
        known = evaluation.intervals.get(direction, {})
        groups[direction] = {
            f"R@{k}": Bar(value, *known.get(k, ())) for k, value in evaluation.recalls.get(direction, {}).items()
        }
    return groups


def _zero_shot(evaluation: Evaluation, baseline: Evaluation | None) -> str:
    if not evaluation.zero_shot:
        return ""
    rows = []
    for task, views in evaluation.zero_shot.items():
        name = f"{escape(task.replace('_', ' '))} <small>one of {evaluation.labels.get(task, 0)}</small>"
        rows.append(f'<tr class="group"><th scope="rowgroup" colspan="{1 + len(MEASURES)}">{name}</th></tr>')
        for view in (view for view in VIEWS if view in views):
            before = baseline.zero_shot.get(task, {}).get(view, {}) if baseline else {}
            cells = "".join(_cell(views[view].get(measure), before.get(measure)) for measure in MEASURES)
            rows.append(f'<tr><th scope="row" class="view">{VIEW_IN_WORDS[view]}</th>{cells}</tr>')
    explanation = (
        "No classifier is trained: a product gets the label whose text is nearest to it. Precision, recall and F1 are "
        "plain means over labels; a label never predicted counts as 0."
    )
    heads = "".join(_column("F1" if measure == "f1" else measure, baseline) for measure in MEASURES)
    table = _table(f'<th scope="col">seen from</th>{heads}', rows)
    bars = ""
    if evaluation.accuracy_intervals:
        explanation += " Whiskers are 95 % bootstrap intervals over the products."
        bars = bar_chart("Accuracy, percent", _accuracy_bars(evaluation))
    return _section("Zero-shot labels", explanation + _beside(baseline), table + bars)


def _accuracy_bars(evaluation: Evaluation) -> dict[str, dict[str, Bar]]:
    return {
        task.replace("_", " "): {
            VIEW_IN_WORDS[view]: Bar(
                views[view]["accuracy"], *evaluation.accuracy_intervals.get(task, {}).get(view, ())
            )
            for view in VIEWS
            if view in views
        }
        for task, views in evaluation.zero_shot.items()
    }


def _curves(history: Sequence[Mapping[str, Any]]) -> str:
    def lines(prefix: str, suffix: str = "", name: str = "") -> dict[str, list[tuple[float, float]]]:
        found: dict[str, list[tuple[float, float]]] = {}
        for row in history:
            for key, value in row.items():
                if (
                    key.startswith(prefix)
                    and key.endswith(suffix)
                    and isinstance(value, (int, float))
                    and "step" in row
                ):
                    label = name + key.removeprefix(prefix).removesuffix(suffix)
                    found.setdefault(label, []).append((row["step"], float(value)))
        return found

    filtered = {"share weighted down": lines("filter/share").get("", []), "mean φ": lines("filter/phi").get("", [])}
    experts = lines("expert_load/", name="expert ")
    # Not one more expert, but the largest share that any expert has in any one layer.
    largest = {"largest share": experts.pop("expert largest")} if "expert largest" in experts else {}
    charts = [
        line_chart("Loss of each objective, nats", lines("loss/"), low=0),
        line_chart("M·ω of each objective, as learned (1: an equal share)", lines("omega/"), low=0),
        line_chart("Weight of each objective, as used (1: an equal share)", lines("weight/"), low=0),
        line_chart("Triplets the filter doubts, share from 0 to 1", filtered, low=0, high=1),
        line_chart("Load of each expert, share of tokens", experts, low=0),
        line_chart("Busiest expert of any layer, share of its tokens", largest, low=0, high=1),
        line_chart("R@10 during training, percent", lines("eval/", " R@10"), low=0, high=100),
    ]
    drawn = "".join(charts)
    if not drawn:
        return ""
    return _section(
        "Training", "Over optimiser steps; beside each name, its last value.", f'<div class="charts">{drawn}</div>'
    )


def _examples(evaluation: Evaluation, catalog: Catalog) -> str:
    cards = example_cards(evaluation.examples, catalog)
    if not cards:
        return ""
    explanation = (
        "The five nearest products of a few test queries, drawn at random and not chosen: they succeed and fail as "
        "they come. ✓ marks what the catalog lists as relevant. The same query is asked with its words, its "
        "photo, and both. Similarity is the cosine of query and product, at most 1."
    )
    return _section("What queries find", explanation, cards)


def _hard(evaluation: Evaluation, catalog: Catalog) -> str:
    cards = example_cards(evaluation.hard, catalog)
    if not cards:
        return ""
    explanation = (
        "Chosen as the worst: for each form of query, those whose best relevant product stands furthest below the "
        f"first results among {evaluation.gallery:,} products. That product is shown last in each row. Some are "
        "failures of the encoder; in others the words or the listed product are odd."
    )
    return _section("The hardest queries", explanation, cards)


def _expert_use(evaluation: Evaluation) -> str:
    views = {view: evaluation.expert_use[view] for view in ("t", "i", "mm") if view in evaluation.expert_use}
    number = max((len(shares) for shares in views.values()), default=0)
    groups = {
        f"expert {expert}": {VIEW_IN_WORDS[view]: Bar(100 * shares[expert]) for view, shares in views.items()}
        for expert in range(number)
    }
    if not groups:
        return ""
    explanation = (
        "The share of the routing that each expert has in a product's title, in its photo, and in both together: mean "
        f"over the tokens and layers of {evaluation.expert_use_products:,} products of the gallery that have both. "
        "Bars of different length within one expert show that the forms are served differently."
    )
    top = max(bar.value for bars in groups.values() for bar in bars.values())
    chart = bar_chart("Share of the routing, percent", groups, high=_round_up(top), mark=("equal shares", 100 / number))
    return _section("Experts by form", explanation, chart)


def _round_up(percent: float) -> float:
    """The next of 20, 40, 60, 80, 100: quarters of it are round numbers."""
    return float(min(100, 20 * (int(percent // 20) + 1)))


def _notes(evaluation: Evaluation) -> str:
    notes = evaluation.notes()
    if evaluation.limit is not None:
        notes.insert(0, f"a quick look: at most {evaluation.limit:,} products and queries, evenly spaced")
    if not notes:
        return ""
    return _section("What was left out", "", f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>")


def _column(name: str, baseline: Evaluation | None) -> str:
    return f'<th scope="col">{name}{"<small>before</small>" if baseline else ""}</th>'


def _beside(baseline: Evaluation | None) -> str:
    return " Small figures: the same encoder before training." if baseline else ""


def _cell(now: float | None, before: float | None) -> str:
    if now is None:
        return "<td>–</td>"
    return f"<td><b>{now:.1f}</b>{'' if before is None else f'<small>{before:.1f}</small>'}</td>"


def _table(head: str, rows: Iterable[str]) -> str:
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _section(title: str, explanation: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{f'<p>{explanation}</p>' if explanation else ''}{content}</section>"
