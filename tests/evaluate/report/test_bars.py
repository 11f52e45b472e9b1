"""Bars stand where their numbers are, whiskers where their intervals are."""

import re

import pytest

from moon2.evaluate.report.bars import Bar, bar_chart


def test_a_bars_length_is_its_share_and_its_whisker_reaches_from_low_to_high() -> None:
    chart = bar_chart("Recall", {"t→mm": {"R@1": Bar(100.0)}, "i→mm": {"R@1": Bar(50.0, 40.0, 60.0)}})
    bars = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', chart)
    (left, whole), (_, half) = ((float(x), float(width)) for x, width in bars)
    assert half == pytest.approx(whole / 2)
    low, high = (float(x) for x in re.findall(r"M([\d.]+) [\d.]+H([\d.]+)M", chart)[0])
    assert (low - left) / whole == pytest.approx(0.4) and (high - left) / whole == pytest.approx(0.6)
    assert chart.count('stroke-width="1.5"') == 1  # no whisker where no interval is known


def test_the_chart_says_its_numbers_and_escapes_its_words() -> None:
    chart = bar_chart("<b>", {"<i>": {"R@1": Bar(12.34)}})
    assert "<b>" not in chart and "<i>" not in chart
    assert 'aria-label="&lt;i&gt;: R@1 12.3"' in chart
    long = bar_chart("Accuracy", {"country of manufacture": {"title": Bar(1.0)}})
    assert ">country of …</text>" in long and 'aria-label="country of manufacture: title 1.0"' in long
    assert bar_chart("nothing", {"t→mm": {}}) == ""


def test_an_axis_ends_where_it_is_told_and_a_mark_stands_at_its_place() -> None:
    chart = bar_chart("Shares", {"expert 0": {"title": Bar(25.0)}}, high=40, mark=("equal <shares>", 25.0))
    assert re.findall(r'text-anchor="middle">([^<]+)', chart) == ["0", "10", "20", "30", "40 %"]
    bar = re.search(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', chart)
    mark = re.search(r'class="mark" [^>]*d="M([\d.]+) 0V', chart)
    assert bar is not None and mark is not None
    assert float(bar[1]) + float(bar[2]) == pytest.approx(float(mark[1]))
    assert "equal &lt;shares&gt;, 25 %" in chart
