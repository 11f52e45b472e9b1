"""Line and bar charts as numbers for the templates of `charts.html.j2`, which draw them as SVG.

Drawn this way rather than by a plotting library, the text stays text, the colours follow the page, and the chart takes
the page's width, so it can be read on a phone. Positions are in units of the SVG's view box.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

WIDTH = 440
MAX_POINTS = 150
"""More points than this are averaged in runs of equal length: a phone shows no more, and noise hides the trend."""
BAR, GAP, GROUP_GAP = 15, 3, 13
LONGEST_NAME = 12
"""Characters of a group's name that fit before the bars."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Label:
    """Text at a position; `anchor` is SVG's text-anchor."""

    x: float
    y: float
    text: str
    anchor: str


@dataclass(frozen=True)
class Line:
    """A line's name, its last value, and its points in the drawing."""

    name: str
    last: float
    points: list[Point]


@dataclass(frozen=True)
class LineChart:
    """Lines over training steps; `grid` holds the heights of the horizontal lines, from `left` to `right`."""

    title: str
    lines: list[Line]
    grid: list[float]
    labels: list[Label]
    left: float = 46
    right: float = WIDTH - 10
    width: float = WIDTH
    height: float = 230


@dataclass(frozen=True)
class Bar:
    """A score in percent, and its interval if there is one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class DrawnBar:
    """A bar in the drawing: where it ends, its whisker from `low` to `high`, and the number of its measure."""

    measure: int
    value: float
    y: float
    end: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class BarChart:
    """Bars in groups, one for each measure; `grid` holds the positions of the vertical lines, down to `bottom`.

    `mark` is what a dashed line across all bars stands for, its value in percent, and its position.
    """

    title: str
    description: str
    measures: list[str]
    bars: list[DrawnBar]
    grid: list[float]
    labels: list[Label]
    bottom: float
    mark: tuple[str, float, float] | None
    left: float = 98
    bar: float = BAR
    width: float = WIDTH


def line_chart(
    title: str, lines: Mapping[str, Sequence[Point]], *, low: float | None = None, high: float | None = None
) -> LineChart | None:
    """Lines over training steps.

    Args:
        title: what is drawn.
        lines: name → points (step, value), by ascending step; points that are not finite are left out.
        low, high: values that the axis has to include.

    Returns:
        The chart; None when no line has a point.
    """
    finite = {name: [(x, y) for x, y in line if math.isfinite(y)] for name, line in lines.items()}
    drawn = {name: _averaged(line) for name, line in finite.items() if line}
    if not drawn:
        return None
    steps = [x for line in finite.values() for x, _ in line]
    values = [y for line in drawn.values() for _, y in line] + [y for y in (low, high) if y is not None]
    ticks = _ticks(min(values), max(values))
    first, last = min(steps), max(max(steps), min(steps) + 1)
    left, right, top, bottom = LineChart.left, LineChart.right, 8, LineChart.height - 26
    x_of = _linear(first, last, left, right)
    y_of = _linear(ticks[0], ticks[-1], bottom, top)

    labels = [Label(left - 6, y_of(tick) + 4, f"{tick:.4g}", "end") for tick in ticks]
    below = LineChart.height - 8
    labels.append(Label(left - 6, below, "step", "end"))
    for tick in _ticks(first, last, 4):
        # Far enough to the right to leave the word "step" alone.
        if first <= tick <= last and x_of(tick) >= left + 8:
            labels.append(Label(x_of(tick), below, f"{tick:,.6g}", "end" if x_of(tick) > WIDTH - 40 else "middle"))
    return LineChart(
        title,
        [Line(name, finite[name][-1][1], [(x_of(x), y_of(y)) for x, y in line]) for name, line in drawn.items()],
        [y_of(tick) for tick in ticks],
        labels,
    )


def bar_chart(
    title: str,
    groups: Mapping[str, Mapping[str, Bar]],
    *,
    high: float = 100.0,
    mark: tuple[str, float] | None = None,
) -> BarChart | None:
    """Bars from 0 to `high` percent.

    Args:
        title: what is drawn.
        groups: group → measure → its bar.
        high: where the axis ends, in percent; no bar should be longer.
        mark: what a dashed line across all bars stands for, and where it is, in percent.

    Returns:
        The chart; None when there is no bar.
    """
    groups = {name: bars for name, bars in groups.items() if bars}
    if not groups:
        return None
    measures = list(dict.fromkeys(measure for bars in groups.values() for measure in bars))
    x_of = _linear(0, high, BarChart.left, WIDTH - 50)
    drawn: list[DrawnBar] = []
    labels: list[Label] = []
    y = 4.0
    for name, bars in groups.items():
        short = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
        labels.append(Label(BarChart.left - 8, y + len(bars) * (BAR + GAP) / 2 + 3, short, "end"))
        for measure, bar in bars.items():
            ends = (None, None) if bar.low is None or bar.high is None else (x_of(bar.low), x_of(bar.high))
            drawn.append(DrawnBar(measures.index(measure), bar.value, y, x_of(bar.value), *ends))
            y += BAR + GAP
        y += GROUP_GAP
    bottom = y - GROUP_GAP + 4
    ticks = [high * quarter / 4 for quarter in range(5)]
    labels += [Label(x_of(tick), bottom + 14, f"{tick:g}{' %' if tick == high else ''}", "middle") for tick in ticks]
    description = "; ".join(
        f"{name}: " + ", ".join(f"{measure} {bar.value:.1f}" for measure, bar in bars.items())
        for name, bars in groups.items()
    )
    marked = None if mark is None else (*mark, x_of(mark[1]))
    return BarChart(title, description, measures, drawn, [x_of(tick) for tick in ticks], labels, bottom, marked)


def _linear(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """The linear function that takes `low` to `start` and `high` to `end`."""
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _averaged(line: Sequence[Point]) -> Sequence[Point]:
    run = math.ceil(len(line) / MAX_POINTS)
    if run <= 1:
        return line
    runs = [line[start : start + run] for start in range(0, len(line), run)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in runs]


def _ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers from at most `low` to at least `high`."""
    span = high - low or abs(high) or 1.0
    size = 10 ** math.floor(math.log10(span / wanted))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if span / (size * factor) <= wanted)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]
