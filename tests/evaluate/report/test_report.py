"""The report stands alone, shows the scores it was given, and lets no product's text become markup."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from moon2.catalog.store import Catalog, write_catalog
from moon2.cli import main
from moon2.evaluate.report.report import write_report
from moon2.evaluate.result import Evaluation
from moon2.evaluate.test_set import read_test_set
from moon2.records import Interaction, Product, Query
from moon2.views import DIRECTIONS, OBJECTIVES

HISTORY: list[dict[str, Any]] = [
    {
        "step": step,
        **{f"loss/{objective}": 4 - step / 100 for objective in OBJECTIVES},
        **{f"weight/{objective}": 1.0 for objective in OBJECTIVES},
        **{f"expert_load/{expert}": 0.25 for expert in range(4)},
        "expert_load/largest": 0.5,
        "filter/phi": 0.5 + step / 1000,
        "filter/share": 0.4 - step / 1000,
    }
    for step in range(10, 301, 10)
]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """Three products, one of which has an unreadable image, and one query with words and a photo."""

    def photo(colour: str) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (20, 30), colour).save(file, "PNG")
        return file.getvalue()

    products = [
        Product("shirt-1", "red shirt", images=(photo("red"),)),
        Product("shirt-2", "red shirt <script>alert('1')</script> & \"co\"", images=(photo("red"),)),
        Product("bag-1", "blue bag", images=(b"not an image",)),
    ]
    log = [Interaction(Query("q", "red <b>shirt</b>", product_id="shirt-1"), ("shirt-2",))]
    return write_catalog(tmp_path / "shop", {"test": products}, {"test": log}, title="Shop")


@pytest.fixture
def evaluation(catalog: Catalog) -> Evaluation:
    example = {"query": "q", "results": ["shirt-2", "bag-1"], "right": [True, False], "similarities": [0.9, 0.1]}
    scores = {"accuracy": 75.0, "precision": 70.0, "recall": 65.0, "f1": 60.0}
    return Evaluation(
        model="a model",
        catalog="Shop",
        gallery=3,
        queries=1,
        recalls={str(direction): {1: 50.0, 5: 75.0, 10: 98.7} for direction in DIRECTIONS},
        zero_shot={"base_colour": {"mm": scores, "t": scores}},
        labels={"base_colour": 7},
        examples={"t→mm": [example], "i→mm": [example]},
        fingerprint=read_test_set(catalog).fingerprint,
    )


def page(catalog: Catalog, evaluation: Evaluation, **options: Any) -> str:
    return write_report(
        catalog.folder.parent / "out" / "report.html", evaluation, HISTORY, catalog, **options
    ).read_text()


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


def test_nothing_is_loaded_from_elsewhere(catalog: Catalog, evaluation: Evaluation) -> None:
    text = page(catalog, evaluation)
    tags = Tags(text)
    assert not tags.open
    images = [attributes["src"] or "" for tag, attributes in tags.seen if tag == "img"]
    assert images and all(source.startswith("data:image/webp;base64,") for source in images)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in tags.seen}
    assert not re.search(r"https?://|url\(|@import", text)
    assert [path.name for path in (catalog.folder.parent / "out").iterdir()] == ["report.html"]


def test_product_and_query_text_is_escaped(catalog: Catalog, evaluation: Evaluation) -> None:
    text = page(catalog, evaluation, title="<i>report</i>", command="moon2 demo > log && echo '<done>'")
    assert not re.search("<script|red <b>shirt</b>|<i>report|<done>", text)
    assert "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &#34;co&#34;" in text
    assert "red &lt;b&gt;shirt&lt;/b&gt;" in text


def test_the_scores_stand_beside_those_before_training(catalog: Catalog, evaluation: Evaluation) -> None:
    before = replace(evaluation, recalls={"t→mm": {1: 1.25, 5: 6.25, 10: 12.5}}, zero_shot={})
    after = replace(evaluation, recalls={"t→mm": {1: 50.04, 5: 75.0, 10: 98.7}})
    text = page(catalog, after, baseline=before)
    assert "<b>98.7</b><small>12.5</small>" in text
    assert text.count("<td>–</td>") == 12  # four directions without scores
    assert "3</b> products" in text and "300</b> training steps" in text
    assert "before training" not in page(catalog, after)


def test_vectors_cut_to_a_length_have_a_table(catalog: Catalog, evaluation: Evaluation) -> None:
    assert "vectors that are cut" not in page(catalog, evaluation)
    text = page(catalog, replace(evaluation, recalls_by_dimension={64: {"t→mm": 91.23}, 192: {"t→mm": 98.7}}))
    assert not Tags(text).open
    assert '<tr><th scope="row">64</th><td>91.2</td><td>–</td>' in text


def test_intervals_are_drawn_as_whiskers(catalog: Catalog, evaluation: Evaluation) -> None:
    text = page(catalog, evaluation)
    assert "whisker" not in text.partition("</style>")[2] and "Accuracy, percent" not in text
    intervals = {"t→mm": {10: [40.0, 60.0]}}
    accuracies = {"base_colour": {"mm": [70.0, 80.0]}}
    text = page(catalog, replace(evaluation, intervals=intervals, accuracy_intervals=accuracies))
    assert text.count('class="whisker"') == 2
    assert "over the queries" in text and "over the products" in text
    assert "base colour: text and photo 75.0, text 75.0" in text


def test_examples_mark_what_is_relevant(catalog: Catalog, evaluation: Evaluation) -> None:
    text = page(catalog, evaluation)
    assert text.count("<article>") == 1  # one card for both views of the query
    assert text.count('<li class="right">') == text.count("✓ relevant") == 2
    assert "Words only <small>1 of 2 relevant" in text and "Photo only" in text
    assert "drawn at random" in text and "photo cannot be read" in text


def test_a_hard_query_is_shown_with_the_product_it_should_have_found(catalog: Catalog, evaluation: Evaluation) -> None:
    assert "hardest" not in page(catalog, evaluation)
    worst = {
        "query": "q",
        "results": ["shirt-1", "gone"],
        "right": [False, False],
        "similarities": [0.71, 0.6],
        "relevant": "shirt-2",
        "rank": 1234,
        "similarity": -0.05,
    }
    text = page(catalog, replace(evaluation, examples={}, hard={"t→mm": [worst]}))
    assert not Tags(text).open
    card = text[text.index("The hardest queries") :]
    assert card.count("<article>") == 1 and card.count('<li class="wrong">') == 1  # one product is gone
    assert "rank 1,234" in card and "similarity -0.05" in card and "similarity 0.71" in card
    assert card.count("<img") == 3  # the query's photo, the one product that is still there, the wanted one


def test_shares_of_experts_are_drawn_and_the_busiest_is_no_expert(catalog: Catalog, evaluation: Evaluation) -> None:
    assert "Experts by view" not in page(catalog, evaluation)
    use = {"mm": [0.3, 0.7], "i": [0.1, 0.9], "t": [0.62, 0.38]}
    text = page(catalog, replace(evaluation, expert_use=use, expert_use_products=64))
    assert "expert 0: text 62.0, photo 10.0, text and photo 30.0" in text
    assert "64 products" in text and "equal shares, 50 %" in text
    load = next(figure for figure in text.split("<figure") if "Load of each expert" in figure)
    assert load.count("<polyline") == 4 and "largest" not in load
    assert "Busiest expert of any layer" in text


def test_without_test_queries_the_page_says_that_search_quality_was_not_measured(
    catalog: Catalog, evaluation: Evaluation
) -> None:
    check = {"i→t": {1: 12.3, 5: 20.0, 10: 30.0}}
    alone = replace(evaluation, queries=0, recalls={}, examples={}, own_titles=check, own_titles_scored={"i→t": 2})
    html = page(catalog, alone)
    assert "No test queries: search quality was not measured" in html
    assert "Photo and title of one product" in html and "12.3" in html
    assert "Retrieval" not in html
    few = page(catalog, replace(evaluation, scored={"t→mm": 1}))
    assert "Only 1 test queries, under 100" in few and "Retrieval" in few


def test_what_was_left_out_is_listed(catalog: Catalog, evaluation: Evaluation) -> None:
    assert "left out" not in page(catalog, evaluation)
    text = page(catalog, replace(evaluation, limit=1000, left_out={"i→mm": {"queries without a readable image": 3}}))
    assert "at most 1,000 products" in text and "3 queries without a readable image" in text


def test_a_run_without_history_has_a_report_too(catalog: Catalog, evaluation: Evaluation, tmp_path: Path) -> None:
    text = write_report(tmp_path / "r.html", evaluation, [], catalog).read_text()
    assert "Retrieval" in text and "<h2>Training" not in text


def test_paper_stays_white_where_the_screen_is_dark(catalog: Catalog, evaluation: Evaluation) -> None:
    text = page(catalog, evaluation)
    assert "@media screen and (prefers-color-scheme: dark)" in text
    named = set(re.findall(r"var\((--[\w-]+)", text))
    defined = set(re.findall(r"(--[\w-]+):", text))
    assert named and named <= defined  # a misspelt colour would be dropped without a word


def test_the_command_writes_a_page_and_tables(
    catalog: Catalog, evaluation: Evaluation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    args = ["report", str(run), "--data", str(catalog.folder)]
    assert main(args) == 2 and "there is no such run" in capsys.readouterr().err
    run.mkdir()
    assert main(args) == 2 and "moon2 evaluate" in capsys.readouterr().err

    evaluation.write(run / "evaluation.json")
    replace(evaluation, recalls={}).write(run / "baseline.json")
    (run / "history.jsonl").write_text("\n".join(map(json.dumps, HISTORY)))
    assert main(args) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    text = (run / "report.html").read_text()
    assert "moon2: run" in text and "Loss of each objective" in text and "before training" in text
    assert (run / "report.md").read_text().startswith("# moon2: run\n") and "98.7" in (run / "report.md").read_text()

    (run / "baseline.json").write_text("{")
    assert main(args) == 2 and "baseline.json" in capsys.readouterr().err
    replace(evaluation, fingerprint="of another catalog").write(run / "evaluation.json")
    assert main(args) == 2 and "other test queries or products" in capsys.readouterr().err
