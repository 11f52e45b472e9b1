"""Bars with intervals as SVG text: one group a direction, one bar a measure, a whisker where an interval is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from moon2.evaluate.report.charts import paint

WIDTH, LEFT, RIGHT = 440, 98, 50
BAR, GAP, GROUP_GAP, AXIS = 15, 3, 13, 18
LONGEST_NAME = 12
"""Characters of a group's name that fit before the bars."""


@dataclass(frozen=True)
class Bar:
    """A score in percent, and its interval if there is one."""

    value: float
    low: float | None = None
    high: float | None = None


def bar_chart(
    title: str,
    groups: Mapping[str, Mapping[str, Bar]],
    *,
    high: float = 100.0,
    mark: tuple[str, float] | None = None,
) -> str:
    """A chart as an HTML figure, from 0 to `high` percent.

    Args:
        title: what is drawn; escaped.
        groups: group → measure → its bar; every measure stands in the legend.
        high: where the axis ends, in percent; no bar should be longer.
        mark: what a dashed line across all bars stands for, and where it is, in percent.

    Returns:
        A `<figure>`; empty text when there is no bar.
    """
    shown = {name: bars for name, bars in groups.items() if bars}
    if not shown:
        return ""
    measures = list(dict.fromkeys(measure for bars in shown.values() for measure in bars))
    parts: list[str] = []
    y = 4.0
    for name, bars in shown.items():
        middle = y + len(bars) * (BAR + GAP) / 2
        parts.append(f'<text x="{LEFT - 8}" y="{middle + 3:.1f}" text-anchor="end">{escape(_short(name))}</text>')
        for measure, bar in bars.items():
            parts.append(_bar(bar, y, measures.index(measure), high))
            y += BAR + GAP
        y += GROUP_GAP
    height = y - GROUP_GAP + 4
    ticks = [high * quarter / 4 for quarter in range(5)]
    grid = "".join(f'<path class="grid" d="M{_x(tick, high):.1f} 0V{height:.0f}"/>' for tick in ticks)
    grid += "".join(
        f'<text x="{_x(tick, high):.1f}" y="{height + 14:.0f}" text-anchor="middle">'
        f"{tick:g}{' %' if tick == high else ''}</text>"
        for tick in ticks
    )
    legend = "".join(
        f'<li><svg class="swatch" viewBox="0 0 26 10" aria-hidden="true"><rect width="26" height="10" '
        f"{paint('fill', number)}/></svg>{escape(measure)}</li>"
        for number, measure in enumerate(measures)
    )
    if mark is not None:
        x, dashed = _x(mark[1], high), 'class="mark" fill="none" stroke-width="1.5" stroke-dasharray="4 3"'
        parts.insert(0, f'<path {dashed} d="M{x:.1f} 0V{height:.0f}"/>')
        legend += (
            f'<li><svg class="swatch" viewBox="0 0 26 10" aria-hidden="true"><path {dashed} d="M0 5H26"/></svg>'
            f"{escape(mark[0])}, {mark[1]:.3g} %</li>"
        )
    said = "; ".join(
        f"{name}: " + ", ".join(f"{measure} {bar.value:.1f}" for measure, bar in bars.items())
        for name, bars in shown.items()
    )
    return (
        f'<figure class="chart bars"><figcaption>{escape(title)}</figcaption><ul class="legend">{legend}</ul>'
        f'<svg viewBox="0 0 {WIDTH} {height + AXIS:.0f}" role="img" aria-label="{escape(said)}">'
        f"{grid}{''.join(parts)}</svg></figure>"
    )


def _short(name: str) -> str:
    """What fits before the bars; the whole name is in the description of the picture."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _bar(bar: Bar, y: float, number: int, high: float) -> str:
    middle, end = y + BAR / 2, _x(bar.value, high)
    drawn = f'<rect x="{LEFT}" y="{y:.1f}" width="{end - LEFT:.1f}" height="{BAR}" {paint("fill", number)}/>'
    if bar.low is not None and bar.high is not None:
        low, whisker = _x(bar.low, high), _x(bar.high, high)
        # One colour under the other, so that the whisker is seen on the bar and beside it.
        for style in (
            'class="halo" stroke="#fff" stroke-width="4"',
            'class="whisker" stroke="#111" stroke-width="1.5"',
        ):
            drawn += f'<path {style} d="M{low:.1f} {middle:.1f}H{whisker:.1f}M{low:.1f} {middle - 4:.1f}v8'
            drawn += f'M{whisker:.1f} {middle - 4:.1f}v8"/>'
        end = max(end, whisker)
    return drawn + f'<text class="value" x="{end + 5:.1f}" y="{middle + 4:.1f}">{bar.value:.1f}</text>'


def _x(percent: float, high: float) -> float:
    return LEFT + percent / high * (WIDTH - LEFT - RIGHT)
