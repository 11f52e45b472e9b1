"""The report stands alone, shows the figures it was given, and lets no product's text become markup."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from test_benchmark import ColourAndKindEncoder, shop, written

from moon2.catalog.store import Catalog
from moon2.evaluate.evaluate import evaluate
from moon2.evaluate.report.charts import line_chart
from moon2.evaluate.report.report import write_report
from moon2.evaluate.result import Evaluation

OBJECTIVES = ("t→mm", "i→mm", "mm→mm", "i→t", "t→i")
HISTORY: list[dict[str, Any]] = [
    {
        "step": step,
        **{f"loss/{name}": 4 - step / 100 for name in OBJECTIVES},
        **{f"weight/{name}": 1.0 for name in OBJECTIVES},
        **{f"expert_load/{expert}": 0.25 for expert in range(4)},
        "filter/phi": 0.5 + step / 1000,
        "filter/share": 0.4 - step / 1000,
    }
    for step in range(10, 301, 10)
]


@pytest.fixture
def evaluated(tmp_path: Path) -> tuple[Catalog, Evaluation]:
    products, interactions = shop()
    products[1] = replace(products[1], title="red shirt <script>alert('1')</script> & \"co\"")
    products[3] = replace(products[3], images=(b"not a picture",))
    interactions[0] = replace(interactions[0], query=replace(interactions[0].query, text="red <b>shirt</b>"))
    catalog = written(tmp_path, products, interactions)
    return catalog, evaluate(ColourAndKindEncoder(), catalog)


def page(tmp_path: Path, evaluated: tuple[Catalog, Evaluation], **options: Any) -> str:
    catalog, evaluation = evaluated
    return write_report(tmp_path / "out" / "report.html", evaluation, HISTORY, catalog, **options).read_text()


class Tags(HTMLParser):
    """Collects tags and attributes, and checks that what opens is closed in order."""

    VOID = ("meta", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path, evaluated: tuple[Catalog, Evaluation]) -> None:
    text = page(tmp_path, evaluated)
    tags = Tags(text)
    assert not tags.open
    pictures = [attributes["src"] or "" for tag, attributes in tags.seen if tag == "img"]
    assert pictures and all(source.startswith("data:image/webp;base64,") for source in pictures)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in tags.seen}
    assert not re.search(r"https?://|url\(|@import", text)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]
    assert len(text) < 3_000_000


def test_product_and_query_text_is_escaped(tmp_path: Path, evaluated: tuple[Catalog, Evaluation]) -> None:
    text = page(tmp_path, evaluated, title="<i>report</i>", command="moon2 demo > log && echo '<done>'")
    assert "<script" not in text and "red <b>shirt</b>" not in text and "<i>report" not in text and "<done>" not in text
    assert "&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt; &amp; &quot;co&quot;" in text
    assert "red &lt;b&gt;shirt&lt;/b&gt;" in text


def test_the_figures_stand_beside_those_before_training(tmp_path: Path, evaluated: tuple[Catalog, Evaluation]) -> None:
    before = replace(evaluated[1], recalls={"t→mm": {1: 1.25, 5: 6.25, 10: 12.5}})
    after = replace(evaluated[1], recalls={"t→mm": {1: 50.04, 5: 75.0, 10: 98.7}})
    text = page(tmp_path, (evaluated[0], after), baseline=before)
    assert "<b>98.7</b><small>12.5</small>" in text
    assert text.count("<td>–</td>") == 12  # four directions without figures
    assert "8</b> products" in text and "300</b> training steps" in text
    assert "before training" not in page(tmp_path, (evaluated[0], after))


def test_examples_mark_what_is_relevant(tmp_path: Path, evaluated: tuple[Catalog, Evaluation]) -> None:
    text = page(tmp_path, evaluated)
    assert text.count("<article>") == 4
    assert (
        text.count('<li class="right">') == text.count("✓ relevant") == 12
    )  # four queries, three forms, one twin each
    assert "drawn at random" in text
    assert "photo cannot be read" in text


def test_a_run_without_history_has_a_report_too(tmp_path: Path, evaluated: tuple[Catalog, Evaluation]) -> None:
    text = write_report(tmp_path / "r.html", evaluated[1], [], evaluated[0]).read_text()
    assert "Retrieval" in text and "<h2>Training" not in text


def test_a_chart_is_well_formed_and_shows_its_bounds() -> None:
    line = [(float(step), 2.0 + step % 7) for step in range(1000)] + [(1000.0, float("nan"))]
    chart = ElementTree.fromstring(line_chart("Loss <of> x", {"a & b": line, "one": [(5.0, 3.0)]}, low=0))
    points = [point.split(",") for point in next(chart.iter("polyline")).attrib["points"].split()]
    assert 100 <= len(points) <= 150
    assert all(0 <= float(x) <= 440 and 0 <= float(y) <= 230 for x, y in points)
    assert {"0", "5", "750"} <= {text.text for text in chart.iter("text")}
    assert len(list(chart.iter("circle"))) == 1
    assert line_chart("empty", {"a": [(1.0, float("nan"))]}) == ""


def test_a_hard_query_is_shown_with_the_product_it_should_have_found(
    tmp_path: Path, evaluated: tuple[Catalog, Evaluation]
) -> None:
    catalog, evaluation = evaluated
    assert "hardest" not in page(tmp_path, evaluated)
    worst = {
        "query": "q-shirt-red",
        "results": ["bag-blue-1", "gone"],
        "right": [False, False],
        "similarities": [0.71, 0.6],
        "relevant": "shirt-red-2",
        "rank": 1234,
        "similarity": -0.05,
    }
    text = page(tmp_path, (catalog, replace(evaluation, examples={}, hard={"t→mm": [worst]})))
    assert not Tags(text).open
    card = text[text.index("The hardest queries") :]
    assert card.count("<article>") == 1 and card.count('<li class="wrong">') == 1
    assert "rank 1,234" in card and "similarity -0.05" in card and "similarity 0.71" in card
    assert "red &lt;b&gt;shirt&lt;/b&gt;" in card and "&lt;script&gt;" in card
    assert card.count("<img") == 3  # the query's photo, the one product found that is still there, the wanted one


def test_shares_of_experts_are_drawn_and_the_busiest_is_no_expert(
    tmp_path: Path, evaluated: tuple[Catalog, Evaluation]
) -> None:
    assert "Experts by form" not in page(tmp_path, evaluated)
    use = {"mm": [0.3, 0.7], "i": [0.1, 0.9], "t": [0.62, 0.38]}
    history = [{**row, "expert_load/largest": 0.5} for row in HISTORY]
    text = write_report(
        tmp_path / "r.html", replace(evaluated[1], expert_use=use, expert_use_products=64), history, evaluated[0]
    ).read_text()
    assert "expert 0: title 62.0, photo 10.0, title and photo 30.0" in text
    assert "64 products" in text and "equal shares, 50 %" in text
    load = next(figure for figure in text.split("<figure") if "Load of each expert" in figure)
    assert load.count("<polyline") == 4 and "largest" not in load
    assert "Busiest expert of any layer" in text


def test_examples_kept_without_similarities_are_shown_without(
    tmp_path: Path, evaluated: tuple[Catalog, Evaluation]
) -> None:
    old = {
        direction: [{name: row[name] for name in ("query", "results", "right")} for row in rows]
        for direction, rows in evaluated[1].examples.items()
    }
    text = page(tmp_path, (evaluated[0], replace(evaluated[1], examples=old)))
    assert text.count("✓ relevant") == 12 and 'class="mark">similarity' not in text


def test_paper_stays_white_where_the_screen_is_dark(tmp_path: Path, evaluated: tuple[Catalog, Evaluation]) -> None:
    text = page(tmp_path, evaluated)
    assert "@media screen and (prefers-color-scheme: dark)" in text
    named = set(re.findall(r"var\((--[\w-]+)", text))
    defined = set(re.findall(r"(--[\w-]+):", text))
    assert named and named <= defined  # a misspelt colour would fall back in silence
