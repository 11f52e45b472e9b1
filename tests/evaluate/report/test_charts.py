"""Charts: points, bars and whiskers are drawn where their numbers are, and every text is escaped."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from moon2.evaluate.report.charts import Bar, BarChart, bar_chart, line_chart
from moon2.evaluate.report.report import TEMPLATES


def drawn(kind: str, chart: Any) -> ElementTree.Element:
    """The chart as its template draws it."""
    return ElementTree.fromstring(getattr(TEMPLATES.get_template("charts.html.j2").module, kind)(chart))


def bars_of(groups: dict[str, dict[str, Bar]], **options: Any) -> BarChart:
    chart = bar_chart("Recall", groups, **options)
    assert chart is not None
    return chart


def test_lines_are_well_formed_and_inside_the_drawing() -> None:
    line = [(float(step), 2.0 + step % 7) for step in range(1000)] + [(1000.0, float("nan"))]
    chart = line_chart("Loss <of> x", {"a & b": line, "one": [(5.0, 3.0)]}, low=0)
    assert chart is not None
    figure = drawn("line_chart", chart)
    points = [point.split(",") for point in next(figure.iter("polyline")).attrib["points"].split()]
    assert 100 <= len(points) <= 150
    assert all(0 <= float(x) <= 440 and 0 <= float(y) <= 230 for x, y in points)
    assert {"0", "5", "750"} <= {text.text for text in figure.iter("text")}
    assert len(list(figure.iter("circle"))) == 1
    assert figure[0].text == "Loss <of> x"
    assert line_chart("empty", {"a": [(1.0, float("nan"))]}) is None


def test_a_bars_length_is_its_share_and_its_whisker_reaches_from_low_to_high() -> None:
    chart = bars_of({"t→mm": {"R@1": Bar(100.0)}, "i→mm": {"R@1": Bar(50.0, 40.0, 60.0)}})
    whole, half = chart.bars
    length = whole.end - chart.left
    assert half.end - chart.left == pytest.approx(length / 2)
    assert half.low is not None and half.high is not None and whole.low is None
    assert (half.low - chart.left) / length == pytest.approx(0.4)
    assert (half.high - chart.left) / length == pytest.approx(0.6)
    figure = drawn("bar_chart", chart)
    assert [path.attrib["class"] for path in figure.iter("path")].count("whisker") == 1
    assert [float(bar.attrib["width"]) for bar in figure.iter("rect")][1:] == pytest.approx([length, length / 2])


def test_the_description_has_the_numbers_and_long_names_are_cut_in_the_drawing_alone() -> None:
    chart = bars_of({"country of manufacture": {"<title>": Bar(12.34)}})
    figure = drawn("bar_chart", chart)
    assert "country of …" in {text.text for text in figure.iter("text")}
    assert figure[-1].attrib["aria-label"] == "country of manufacture: <title> 12.3"
    assert bar_chart("nothing", {"t→mm": {}}) is None


def test_an_axis_ends_at_the_given_value_and_the_mark_stands_at_its_own() -> None:
    chart = bars_of({"expert 0": {"title": Bar(25.0)}}, high=40, mark=("equal <shares>", 25.0))
    assert [label.text for label in chart.labels if label.anchor == "middle"] == ["0", "10", "20", "30", "40 %"]
    assert chart.mark == ("equal <shares>", 25.0, chart.bars[0].end)
    assert "equal <shares>, 25 %" in "".join(drawn("bar_chart", chart).itertext())
