"""The report of a run: one HTML file with nothing beside it, no script, readable on a phone and in print.

Everything in it comes from what evaluation and training wrote, so it can be written again without the model. The
example queries are drawn at random, the hard ones are the worst, and the report says so: a report that showed only
successes would be an advertisement.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from moon2.catalog.store import Catalog
from moon2.evaluate.format import (
    GRADED_HEAD,
    MEASURES,
    OWN_TITLE_HEAD,
    caution,
    graded_rows,
    keyword_rows,
    label_notes,
    length_rows,
    notes,
    own_title_rows,
    to_markdown,
)
from moon2.evaluate.per_query import KS
from moon2.evaluate.report.charts import Bar, BarChart, LineChart, Point, line_chart
from moon2.evaluate.report.examples import Card, example_cards
from moon2.evaluate.result import Evaluation
from moon2.evaluate.test_set import read_test_set
from moon2.files import write_text_atomic
from moon2.run_folder import RunError, RunFolder
from moon2.templates import templates
from moon2.views import DIRECTIONS

DIRECTION_WORDS = {
    "t→mm": "words find products",
    "i→mm": "a photo finds products",
    "mm→mm": "words and photo find products",
    "t→i": "words find photos",
    "i→t": "a photo finds texts",
}
VIEW_WORDS = {"mm": "text and photo", "i": "photo", "t": "text"}
TEMPLATES = templates("moon2.evaluate.report")


def report(run: Path, *, data: Path) -> Path:
    """Write RUN/report.html: scores, curves, and what example queries find.

    It is one file with nothing beside it, from what `moon2 train` and `moon2 evaluate` left in RUN. Its tables
    are also written to RUN/report.md.

    examples:
      moon2 report runs/shop --data data/shop

    Args:
        run: folder of a run that was evaluated
        data: folder of the catalog it was evaluated on, for the images

    Returns:
        The HTML file.

    Raises:
        RunError: there is no such run, it was not evaluated, or it was on other queries or products.
        CatalogError: there is no such catalog.
    """
    folder = RunFolder(run)
    if not run.is_dir():
        raise RunError(f"{run}: there is no such run; `moon2 train … --out {run}` makes one")
    # One of a sample only where there is no whole one; the page says which.
    file = next((file for file in (folder.evaluation, folder.quick_evaluation) if file.is_file()), None)
    if file is None:
        raise RunError(f"{run}: has no evaluation.json; run `moon2 evaluate {run} --data {data}` first")
    catalog = Catalog.open(data)
    evaluation = Evaluation.read(file)
    if evaluation.fingerprint != read_test_set(catalog, evaluation.limit).fingerprint:
        raise RunError(
            f"{data}: has other test queries or products than {run} was evaluated on (catalog "
            f"{evaluation.catalog!r}); give that catalog, or run `moon2 evaluate {run} --data {data}` first"
        )
    title = f"moon2: {run.resolve().name}"
    write_text_atomic(folder.report_markdown, f"# {title}\n\n{to_markdown(evaluation)}\n")
    return write_report(
        folder.report,
        evaluation,
        folder.read_history(),
        catalog,
        baseline=Evaluation.read(folder.baseline) if folder.baseline.is_file() else None,
        title=title,
        command=shlex.join(["moon2", "report", str(run), "--data", str(data)]),
    )


def write_report(
    path: str | Path,
    evaluation: Evaluation,
    history: Sequence[Mapping[str, float]],
    catalog: Catalog,
    *,
    baseline: Evaluation | None = None,
    searches: Sequence[Card] = (),
    title: str = "moon2 report",
    command: str = "",
) -> Path:
    """Writes the report of a trained encoder.

    Args:
        path: the HTML file to write; its folder is made.
        evaluation: of the trained encoder.
        history: the rows of RUN/history.jsonl, each a step's losses, weights, expert loads and filter; may be empty.
        catalog: the one evaluated, for the texts and images of the examples.
        baseline: of the same encoder before training, shown beside the scores.
        searches: searches of an index, of `search_card`; they come first.
        title: the page's title.
        command: the command that led here, shown at the top.

    Returns:
        The path.
    """
    html = TEMPLATES.get_template("report.html.j2").render(
        title=title,
        command=command,
        evaluation=evaluation,
        baseline=baseline,
        products=len(catalog),
        steps=max((int(row["step"]) for row in history if "step" in row), default=0),
        cutoffs=KS,
        measures=MEASURES,
        directions={str(direction): DIRECTION_WORDS[str(direction)] for direction in DIRECTIONS},
        views=VIEW_WORDS,
        notes=notes(evaluation),
        keywords=keyword_rows(evaluation),
        graded=[GRADED_HEAD, *graded_rows(evaluation)],
        cautions=caution(evaluation),
        own_titles=[OWN_TITLE_HEAD, *own_title_rows(evaluation)],
        lengths=length_rows(evaluation),
        label_notes=label_notes(evaluation),
        recall_chart=_recall_chart(evaluation),
        accuracy_chart=_accuracy_chart(evaluation),
        training_charts=_training_charts(history),
        expert_chart=_expert_chart(evaluation),
        searches=searches,
        examples=example_cards(evaluation.examples, catalog),
        hard=example_cards(evaluation.hard, catalog),
    )
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomic(target, html)
    return target


def _recall_chart(evaluation: Evaluation) -> BarChart:
    groups = {}
    for direction in map(str, DIRECTIONS):
        intervals = evaluation.intervals.get(direction, {})
        recalls = evaluation.recalls.get(direction, {})
        groups[direction] = {f"R@{k}": Bar(recall, *intervals.get(k, ())) for k, recall in recalls.items()}
    return BarChart("Recall, percent", groups)


def _accuracy_chart(evaluation: Evaluation) -> BarChart | None:
    if not evaluation.accuracy_intervals:
        return None
    groups = {}
    for task, scores in evaluation.zero_shot.items():
        intervals = evaluation.accuracy_intervals.get(task, {})
        groups[task.replace("_", " ")] = {
            words: Bar(scores[view]["accuracy"], *intervals.get(view, ()))
            for view, words in VIEW_WORDS.items()
            if view in scores
        }
    return BarChart("Accuracy, percent", groups)


def _training_charts(history: Sequence[Mapping[str, float]]) -> list[LineChart]:
    filtered = {
        "share weighted down": _lines(history, "filter/share").get("", []),
        "mean φ": _lines(history, "filter/phi").get("", []),
    }
    loads = _lines(history, "expert_load/", name="expert ")
    # Not one more expert, but the largest share that any expert has in any one layer.
    largest = {"largest share": loads.pop("expert largest", [])}
    charts = [
        line_chart("Loss of each objective, nats", _lines(history, "loss/"), low=0),
        line_chart("M·ω of each objective, as learned (1: an equal share)", _lines(history, "omega/"), low=0),
        line_chart("Weight of each objective, as used (1: an equal share)", _lines(history, "weight/"), low=0),
        line_chart("Triplets the filter doubts, share from 0 to 1", filtered, low=0, high=1),
        line_chart("Load of each expert, share of tokens", loads, low=0),
        line_chart("Busiest expert of any layer, share of its tokens", largest, low=0, high=1),
        line_chart("R@10 during training, percent", _lines(history, "eval/", " R@10"), low=0, high=100),
    ]
    return [chart for chart in charts if chart is not None]


def _lines(
    history: Sequence[Mapping[str, float]], prefix: str, suffix: str = "", name: str = ""
) -> dict[str, list[Point]]:
    """The values over steps of each key with that prefix and suffix, by what is between them, after `name`."""
    lines: dict[str, list[Point]] = {}
    for row in history:
        for key, value in row.items():
            if key.startswith(prefix) and key.endswith(suffix) and isinstance(value, (int, float)) and "step" in row:
                line = lines.setdefault(name + key.removeprefix(prefix).removesuffix(suffix), [])
                line.append((row["step"], float(value)))
    return lines


def _expert_chart(evaluation: Evaluation) -> BarChart | None:
    views = {
        VIEW_WORDS[view]: evaluation.expert_use[view] for view in ("t", "i", "mm") if view in evaluation.expert_use
    }
    number = max(map(len, views.values()), default=0)
    if not number:
        return None
    groups = {
        f"expert {expert}": {words: Bar(100 * shares[expert]) for words, shares in views.items()}
        for expert in range(number)
    }
    top = max(bar.value for bars in groups.values() for bar in bars.values())
    # The next of 20, 40, 60, 80, 100, whose quarters are round numbers.
    high = float(min(100, 20 * (int(top // 20) + 1)))
    return BarChart("Share of the routing, percent", groups, high=high, mark=("equal shares", 100 / number))
