"""Line charts as SVG text, to stand in an HTML page without any script, font or picture from elsewhere.

Drawn by hand rather than by a plotting library: five lines over steps need no more than this, the text stays text, and
the chart takes the page's width, so it can be read on a phone. Lines differ in dash as well as in colour.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 440, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 8, 26
MAX_POINTS = 150
"""More points than this are averaged in runs of equal length: a phone shows no more, and noise hides the course."""

# Dark enough on white to be told apart in print and by the colour-blind (Okabe and Ito's set, darkened). A style sheet
# may say otherwise with --colour-0 and so on, as the report's does for dark screens.
COLOURS = ("#0060a8", "#c14a00", "#00795a", "#a03c78", "#6b5200", "#3f3fbf", "#9c1c1c", "#333333")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4", "4 2", "1 2", "6 2 2 2")


def paint(kind: str, number: int) -> str:
    """A `style` attribute that gives "fill" or "stroke" the colour of that number."""
    place = number % len(COLOURS)
    return f'style="{kind}:var(--colour-{place},{COLOURS[place]})"'


Line = Sequence[tuple[float, float]]


def line_chart(title: str, lines: Mapping[str, Line], *, low: float | None = None, high: float | None = None) -> str:
    """A chart as an HTML figure: title, legend, and the lines over training steps.

    Args:
        title: what is drawn; escaped.
        lines: name → points (step, value), by ascending step; points that are not finite are left out.
        low, high: bounds of the value axis that it should have at least.

    Returns:
        A `<figure>`; empty text when no line has a point.
    """
    finite = {name: [(x, y) for x, y in line if math.isfinite(y)] for name, line in lines.items()}
    steps = [x for line in finite.values() for x, _ in line]
    if not steps:
        return ""
    clean = {name: _thin(line) for name, line in finite.items() if line}
    values = [y for line in clean.values() for _, y in line] + [y for y in (low, high) if y is not None]
    ticks = _ticks(min(values), max(values))
    left, right = min(steps), max(max(steps), min(steps) + 1)

    def x_of(step: float) -> float:
        return LEFT + (step - left) / (right - left) * (WIDTH - LEFT - RIGHT)

    def y_of(value: float) -> float:
        return TOP + (ticks[-1] - value) / (ticks[-1] - ticks[0]) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for tick in ticks:
        parts.append(f'<path class="grid" d="M{LEFT} {y_of(tick):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y_of(tick) + 4:.1f}" text-anchor="end">{tick:.4g}</text>')
    parts.append(f'<text x="{LEFT - 6}" y="{HEIGHT - 8}" text-anchor="end">step</text>')
    for tick in _ticks(left, right, 4):
        # Far enough to the right to leave the word "step" alone.
        if left <= tick <= right and x_of(tick) >= LEFT + 8:
            anchor = "end" if x_of(tick) > WIDTH - 40 else "middle"
            parts.append(f'<text x="{x_of(tick):.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{tick:,.6g}</text>')
    legend = []
    for number, (name, line) in enumerate(clean.items()):
        dash = DASHES[number % len(DASHES)]
        style = f'fill="none" {paint("stroke", number)} stroke-width="2" stroke-dasharray="{dash}"'
        points = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in line)
        if len(line) == 1:
            parts.append(
                f'<circle cx="{x_of(line[0][0]):.1f}" cy="{y_of(line[0][1]):.1f}" r="3" {paint("fill", number)}/>'
            )
        else:
            parts.append(f'<polyline {style} stroke-linejoin="round" points="{points}"/>')
        swatch = f'<svg class="swatch" viewBox="0 0 26 10" aria-hidden="true"><path d="M0 5H26" {style}/></svg>'
        legend.append(f"<li>{swatch}{escape(name)} <b>{finite[name][-1][1]:.3g}</b></li>")
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption><ul class="legend">{"".join(legend)}</ul>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}, over training steps">'
        f"{''.join(parts)}</svg></figure>"
    )


def _thin(line: Line) -> Line:
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
