"""Line and bar charts as data for `charts.html.j2`, which draws them as SVG.

Drawn this way rather than by a plotting library, the text stays text, the colours follow the page, and the chart takes
the page's width, so it can be read on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 440, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 8, 26
MAX_POINTS = 150
"""More points than this are averaged in runs of equal length: a phone shows no more, and noise hides the trend."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Bar:
    """A score in percent, and its interval if there is one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class BarChart:
    """Bars from 0 to `high` percent: group → measure → bar.

    `mark` is what a dashed line across all bars stands for, and where it is, in percent.
    """

    title: str
    groups: Mapping[str, Mapping[str, Bar]]
    high: float = 100.0
    mark: tuple[str, float] | None = None


@dataclass(frozen=True)
class Line:
    """A line's name, its last value, and its points in units of the drawing."""

    name: str
    last: float
    points: Sequence[Point]


@dataclass(frozen=True)
class LineChart:
    """Lines over training steps; ticks are positions in units of the drawing, with their labels."""

    title: str
    lines: Sequence[Line]
    value_ticks: Sequence[tuple[float, str]]
    step_ticks: Sequence[tuple[float, str]]


def line_chart(
    title: str, lines: Mapping[str, Sequence[Point]], *, low: float | None = None, high: float | None = None
) -> LineChart | None:
    """Lays lines out over training steps.

    Args:
        title: what is drawn.
        lines: name → points (step, value), by ascending step; points that are not finite are left out.
        low, high: values that the axis has to include.

    Returns:
        The chart; None when no line has a point.
    """
    finite = {name: [(x, y) for x, y in line if math.isfinite(y)] for name, line in lines.items()}
    averaged = {name: _averaged(line) for name, line in finite.items() if line}
    if not averaged:
        return None
    steps = [x for line in finite.values() for x, _ in line]
    values = [y for line in averaged.values() for _, y in line] + [y for y in (low, high) if y is not None]
    ticks = _ticks(min(values), max(values))
    first, last = min(steps), max(max(steps), min(steps) + 1)
    x_of = _linear(first, last, LEFT, WIDTH - RIGHT)
    y_of = _linear(ticks[0], ticks[-1], HEIGHT - BOTTOM, TOP)
    # Steps are labelled far enough to the right to leave the word "step" alone.
    labelled = [step for step in _ticks(first, last, 4) if first <= step <= last and x_of(step) >= LEFT + 8]
    return LineChart(
        title,
        [Line(name, finite[name][-1][1], [(x_of(x), y_of(y)) for x, y in line]) for name, line in averaged.items()],
        [(y_of(tick), f"{tick:.4g}") for tick in ticks],
        [(x_of(step), f"{step:,.6g}") for step in labelled],
    )


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
