"""Bars with intervals as SVG text: one group a direction, one bar a measure, a whisker where an interval is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from moon2.evaluate.charts import COLOURS

WIDTH, LEFT, RIGHT = 440, 64, 46
BAR, GAP, GROUP_GAP = 15, 3, 13


@dataclass(frozen=True)
class Bar:
    """A score in percent, and its interval if there is one."""

    value: float
    low: float | None = None
    high: float | None = None


def bar_chart(title: str, groups: Mapping[str, Mapping[str, Bar]]) -> str:
    """A chart as an HTML figure, from 0 to 100 percent.

    Args:
        title: what is drawn; escaped.
        groups: group → measure → its bar; the measures of the first group stand in the legend.

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
        parts.append(f'<text x="{LEFT - 8}" y="{middle + 3:.1f}" text-anchor="end">{escape(name)}</text>')
        for measure, bar in bars.items():
            parts.append(_bar(bar, y, COLOURS[measures.index(measure) % len(COLOURS)]))
            y += BAR + GAP
        y += GROUP_GAP
    height = y - GROUP_GAP + 4
    grid = "".join(f'<path class="grid" d="M{_x(tick):.1f} 0V{height:.0f}"/>' for tick in (0, 25, 50, 75, 100))
    legend = "".join(
        f'<li><svg class="swatch" viewBox="0 0 26 10" aria-hidden="true"><rect width="26" height="10" '
        f'fill="{COLOURS[number % len(COLOURS)]}"/></svg>{escape(measure)}</li>'
        for number, measure in enumerate(measures)
    )
    said = "; ".join(
        f"{name}: " + ", ".join(f"{measure} {bar.value:.1f}" for measure, bar in bars.items())
        for name, bars in shown.items()
    )
    return (
        f'<figure class="chart bars"><figcaption>{escape(title)}</figcaption><ul class="legend">{legend}</ul>'
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(said)}">'
        f"{grid}{''.join(parts)}</svg></figure>"
    )


def _bar(bar: Bar, y: float, colour: str) -> str:
    middle = y + BAR / 2
    drawn = f'<rect x="{LEFT}" y="{y:.1f}" width="{_x(bar.value) - LEFT:.1f}" height="{BAR}" fill="{colour}"/>'
    end = _x(bar.value)
    if bar.low is not None and bar.high is not None:
        low, end = _x(bar.low), _x(bar.high)
        # White under black, so that the whisker is seen on the bar and beside it.
        for style in ('stroke="#fff" stroke-width="4"', 'stroke="#111" stroke-width="1.5"'):
            drawn += f'<path {style} d="M{low:.1f} {middle:.1f}H{end:.1f}M{low:.1f} {middle - 4:.1f}v8M{end:.1f} '
            drawn += f'{middle - 4:.1f}v8"/>'
    return drawn + f'<text x="{max(end, _x(bar.value)) + 5:.1f}" y="{middle + 4:.1f}">{bar.value:.1f}</text>'


def _x(percent: float) -> float:
    return LEFT + percent / 100 * (WIDTH - LEFT - RIGHT)
