"""An explanation as one HTML file with nothing beside it: for a phone, a desk and paper, by day and by night.

Everything that a colour says stands there as a figure too.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from html import escape

from PIL import Image

from moon2.explain.draw.colours import Colour, Colours, expert_colours, heat, ink_on, signed
from moon2.explain.draw.panels import (
    Panel,
    hottest_patch,
    hottest_word,
    modality_name,
    panels,
    scale_bar,
    title,
    word_heat,
    word_slope,
)
from moon2.explain.explanation import Explained, ExplainedWord
from moon2.explain.rollout import Numbers

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #566072; --line: #d9dee6; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ebf0; --soft: #a5afbf; --line: #3a4352; --paper: #14181f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
main { max-width: 900px; margin: 0 auto; padding: 20px 16px 40px; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.15rem; margin: 26px 0 8px; }
p { margin: 4px 0; color: var(--soft); overflow-wrap: anywhere; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(46%, 190px), 1fr)); gap: 14px; }
figure { margin: 0; min-width: 0; break-inside: avoid; }
figure img { display: block; width: 100%; height: auto; max-height: 420px; object-fit: contain; border-radius: 6px; }
figcaption { font-size: .85rem; color: var(--soft); margin-top: 4px; text-align: center; }
.words { list-style: none; display: flex; flex-wrap: wrap; gap: 8px; padding: 0; margin: 0 0 10px; }
.words li { max-width: 100%; text-align: center; break-inside: avoid; }
.words b { display: block; font-weight: 500; padding: 3px 9px; border-radius: 6px; overflow-wrap: anywhere; }
.words small { font-size: .78rem; color: var(--soft); font-variant-numeric: tabular-nums; }
.scale { display: flex; align-items: center; gap: 8px; font-size: .85rem; color: var(--soft); }
.scale img { width: 130px; height: 16px; border-radius: 3px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 8px; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child { text-align: left; padding-left: 0; min-width: 5.5rem; overflow-wrap: anywhere; }
thead th { color: var(--soft); font-weight: 600; }
tbody th { font-weight: 500; }
.bar { display: flex; height: 26px; border-radius: 5px; overflow: hidden; min-width: 180px; }
.bar span { overflow: hidden; text-align: center; font-size: .8rem; line-height: 26px; }
.chip { display: inline-block; border-radius: 4px; padding: 0 7px; }
@media print {
  :root { color-scheme: light; --ink: #000; --soft: #444; --line: #bbb; --paper: #fff; }
  body { font-size: 10.5pt; } main { max-width: none; padding: 0; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""


def page(explanation: Explained) -> str:
    """The HTML; every text of the shop's and the query's escaped."""
    text = " ".join(word.text for word in explanation.words)
    name = f"Heatmap: {text[:80] or 'a picture'}"
    parts = [
        f"<header><h1>Attention, {title(explanation)}</h1>{_query(explanation)}</header>",
        _pictures(explanation),
        _words(explanation),
        _slopes(explanation),
        _experts(explanation),
        _table(explanation),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(name)}</title><style>{STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>\n"
    )


def _query(explanation: Explained) -> str:
    if explanation.similarity is None:
        return ""
    return f"<p>cosine {explanation.similarity:.2f} to “{escape(explanation.query)}”</p>"


def _pictures(explanation: Explained) -> str:
    rows = panels(explanation, 420)
    figures = ["".join(_figure(panel) for panel in row) for row in rows]
    drawn = "".join(
        f'<h2>{"Picture" if len(rows) == 1 else f"Picture {number}"}</h2><div class="pictures">{row}</div>'
        for number, row in enumerate(figures, 1)
    )
    return drawn + _heat_scale(hottest_patch(explanation)) if rows else ""


def _figure(panel: Panel) -> str:
    image = f'<img src="{_data(panel.image, "JPEG")}" alt="{escape(panel.description)}">'
    return f"<figure>{image}<figcaption>{escape(panel.caption)}</figcaption></figure>"


def _words(explanation: Explained) -> str:
    if not explanation.words:
        return ""
    share = sum(word.attention for word in explanation.words)
    items = [_word(word, word_heat(explanation, word), f"{word.attention:.1%}") for word in explanation.words]
    rest = f"<p>not read, past the limit of tokens: {escape(explanation.unread)}</p>" if explanation.unread else ""
    scale = _heat_scale(hottest_word(explanation))
    return f'<h2>Words: {share:.0%} of attention</h2><ul class="words">{"".join(items)}</ul>{rest}{scale}'


def _slopes(explanation: Explained) -> str:
    if explanation.similarity is None:
        return ""
    items = [_word(word, word_slope(explanation, word), f"{word.gradient or 0:+.1%}") for word in explanation.words]
    words = f'<h2>Words: gradient × input</h2><ul class="words">{"".join(items)}</ul>' if items else ""
    return words + _scale("lowers similarity", "raises it", _bar_image(signed, -1.0))


def _word(word: ExplainedWord, colour: Colour, figure: str) -> str:
    return f'<li><b style="{_style(colour)}">{escape(word.text)}</b><small>{figure}</small></li>'


def _heat_scale(end: float) -> str:
    return _scale("attention 0", f"{end:.1f} times an even share", _bar_image(heat, 0.0))


def _scale(low: str, high: str, image: str) -> str:
    return f'<div class="scale">{escape(low)} <img src="{image}" alt="to"> {escape(high)}</div>'


def _bar_image(colours: Callable[[Numbers], Colours], low: float) -> str:
    return _data(scale_bar(colours, low, (130, 4)), "PNG")


def _experts(explanation: Explained) -> str:
    rows = []
    for name, shares in explanation.experts.items():
        if len(shares):
            parts = "".join(
                f'<span style="width:{share:.2%};{_style(colour)}">{number if share > 0.06 else ""}</span>'
                for number, (share, colour) in enumerate(zip(shares, expert_colours(len(shares)), strict=True))
            )
            said = ", ".join(f"expert {number} {share:.0%}" for number, share in enumerate(shares))
            figures = " · ".join(f"{number}: {share:.0%}" for number, share in enumerate(shares))
            bar = f'<div class="bar" role="img" aria-label="{said}">{parts}</div>'
            rows.append(f"<p>{modality_name(name)}: {figures}</p>{bar}")
    return f"<h2>Experts by modality</h2>{''.join(rows)}" if rows else ""


def _table(explanation: Explained) -> str:
    words = explanation.words
    if not words:
        return ""
    gradient, experts = words[0].gradient is not None, len(words[0].experts)
    colours = expert_colours(experts)
    heads = ["word", "attention", *(["gradient"] if gradient else [])]
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    head += "".join(
        f'<th scope="col"><span class="chip" style="{_style(colour)}">{number}</span></th>'
        for number, colour in enumerate(colours)
    )
    rows = []
    for word in words:
        cells = [f"{word.attention:.1%}", *([f"{word.gradient:+.1%}"] if word.gradient is not None else [])]
        cells += [f"{share:.0%}" for share in word.experts]
        row = "".join(f"<td>{cell}</td>" for cell in cells)
        rows.append(f'<tr><th scope="row">{escape(word.text)}</th>{row}</tr>')
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    note = f"<p>Columns 0 to {experts - 1}: the weight of each expert.</p>" if experts else ""
    return f'<h2>Word by word</h2>{note}<div class="wide">{table}</div>'


def _style(colour: Colour) -> str:
    return "background:#{:02x}{:02x}{:02x};color:#{:02x}{:02x}{:02x}".format(*colour, *ink_on(colour))


def _data(image: Image.Image, kind: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, quality=88)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
