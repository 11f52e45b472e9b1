"""Charts: points, bars and whiskers are drawn where their numbers are, and every text is escaped."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

from moon2.evaluate.report.charts import Bar, BarChart, line_chart
from moon2.evaluate.report.report import TEMPLATES


def drawn(kind: str, chart: Any) -> ElementTree.Element:
    """The chart as its template draws it."""
    return ElementTree.fromstring(getattr(TEMPLATES.get_template("charts.html.j2").module, kind)(chart).strip())


def texts(figure: ElementTree.Element) -> list[str | None]:
    return [text.text for text in figure.iter("text")]


def test_lines_are_well_formed_and_inside_the_drawing() -> None:
    line = [(float(step), 2.0 + step % 7) for step in range(1000)] + [(1000.0, float("nan"))]
    chart = line_chart("Loss <of> x", {"a & b": line, "one": [(5.0, 3.0)]}, low=0)
    assert chart is not None
    figure = drawn("line_chart", chart)
    points = [point.split(",") for point in next(figure.iter("polyline")).attrib["points"].split()]
    assert 100 <= len(points) <= 150
    assert all(0 <= float(x) <= 440 and 0 <= float(y) <= 230 for x, y in points)
    assert {"0", "5", "750"} <= set(texts(figure))
    assert len(list(figure.iter("circle"))) == 1
    assert figure[0].text == "Loss <of> x"
    assert line_chart("empty", {"a": [(1.0, float("nan"))]}) is None


def test_a_bars_length_is_its_share_and_its_whisker_reaches_from_low_to_high() -> None:
    figure = drawn("bar_chart", BarChart("", {"t→mm": {"R@1": Bar(100.0)}, "i→mm": {"R@1": Bar(50.0, 40.0, 60.0)}}))
    assert [bar.attrib["width"] for bar in figure.iter("rect")][1:] == ["100.0%", "50.0%"]
    [whisker] = [group for group in figure.iter("g") if group.attrib["class"] == "whisker"]
    assert [(line.attrib["x1"], line.attrib["x2"]) for line in whisker] == [
        ("40.0%", "60.0%"),
        ("40.0%", "40.0%"),
        ("60.0%", "60.0%"),
    ]


def test_every_measure_keeps_its_colour_and_a_group_without_bars_is_left_out() -> None:
    groups = {"both": {"title": Bar(1.0), "photo": Bar(2.0)}, "none": {}, "one": {"photo": Bar(3.0)}}
    figure = drawn("bar_chart", BarChart("", groups))
    assert [group.attrib["class"] for group in figure.iter("g")] == ["series-0", "series-1", "series-1"]
    assert "one" in texts(figure) and "none" not in texts(figure)


def test_the_description_has_the_numbers_and_long_names_are_cut_in_the_drawing_alone() -> None:
    figure = drawn("bar_chart", BarChart("", {"country of manufacture": {"<title>": Bar(12.34)}}))
    assert "country of …" in texts(figure)
    assert figure[-1].attrib["aria-label"] == "country of manufacture: <title> 12.3"


def test_an_axis_ends_at_the_given_value_and_the_mark_stands_at_its_own() -> None:
    chart = BarChart("Shares", {"expert 0": {"title": Bar(25.0)}}, high=40, mark=("equal <shares>", 25.0))
    figure = drawn("bar_chart", chart)
    assert [text for text in texts(figure) if text and text[0].isdigit()] == ["0", "10", "20", "30", "40 %", "25.0"]
    [mark] = [line for line in figure.iter("line") if line.attrib["class"] == "mark"]
    assert mark.attrib["x1"] == list(figure.iter("rect"))[-1].attrib["width"] == "62.5%"
    assert "equal <shares>, 25 %" in "".join(figure.itertext())
