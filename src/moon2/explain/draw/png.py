"""An explanation as one PNG, 720 pixels wide with letters that are still legible at the width of a phone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image, ImageDraw

from moon2.explain.draw.colours import Colour, expert_colours, heat, ink_on, signed
from moon2.explain.draw.panels import (
    Panel,
    font,
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

WIDTH, MARGIN, GAP = 720, 24, 16
INK, SOFT, PAPER = (28, 36, 48), (86, 96, 114), (255, 255, 255)
PANEL_SIDE = (WIDTH - 2 * MARGIN - GAP) // 2


def draw(explanation: Explained) -> Image.Image:
    """The whole drawing, RGB; as high as it needs to be."""
    # Drawn twice: the first time on one row of pixels, to see how high it gets.
    height = _Sheet(1).fill(explanation)
    sheet = _Sheet(height)
    sheet.fill(explanation)
    return sheet.image


class _Sheet:
    """Paper that is filled from above; `top` is where the next thing goes."""

    def __init__(self, height: int) -> None:
        self.image = Image.new("RGB", (WIDTH, height), PAPER)
        self.pen = ImageDraw.Draw(self.image)
        self.top = MARGIN

    def fill(self, explanation: Explained) -> int:
        self.line(f"Attention, {title(explanation)}", 30)
        if explanation.similarity is not None:
            self.paragraph(f"cosine {explanation.similarity:.2f} to “{explanation.query}”", 22)
        self.top += GAP
        for row in panels(explanation, PANEL_SIDE):
            self.panels(row)
        if explanation.pictures:
            self.scale(heat, 0.0, ("attention 0", f"{hottest_patch(explanation):.1f} times an even share"))
        words = explanation.words
        if words:
            share = sum(word.attention for word in words)
            self.line(f"Words: {share:.0%} of attention", 24)
            self.words(words, lambda word: word_heat(explanation, word), lambda word: f"{word.attention:.0%}")
            if explanation.unread:
                self.paragraph(f"not read, past the limit of tokens: {explanation.unread}", 20)
            self.scale(heat, 0.0, ("attention 0", f"{hottest_word(explanation):.1f} times an even share"))
        if explanation.similarity is not None:
            if words:
                self.line("Words: gradient × input", 24)
                self.words(words, lambda word: word_slope(explanation, word), lambda word: f"{word.gradient or 0:+.1%}")
            self.scale(signed, -1.0, ("lowers similarity", "raises it"))
        self.experts(explanation)
        return self.top + MARGIN

    def line(self, text: str, size: int, colour: Colour = INK) -> None:
        self.pen.text((MARGIN, self.top), text, fill=colour, font=font(size))
        self.top += round(size * 1.5)

    def paragraph(self, text: str, size: int) -> None:
        letters, line = font(size), ""
        for word in text.split():
            for part in _fitting(word, letters, self.pen):
                longer = f"{line} {part}".strip()
                if line and self.pen.textlength(longer, font=letters) > WIDTH - 2 * MARGIN:
                    self.line(line, size, SOFT)
                    longer = part
                line = longer
        self.line(line, size, SOFT)

    def panels(self, row: Sequence[Panel]) -> None:
        for start in range(0, len(row), 2):
            pair = row[start : start + 2]
            for column, panel in enumerate(pair):
                left = MARGIN + column * (PANEL_SIDE + GAP)
                self.image.paste(panel.image, (left + (PANEL_SIDE - panel.image.width) // 2, self.top))
                self.pen.text(
                    (left + PANEL_SIDE // 2, self.top + panel.image.height + 6),
                    panel.caption,
                    fill=SOFT,
                    font=font(20),
                    anchor="ma",
                )
            self.top += max(panel.image.height for panel in pair) + 44

    def words(
        self,
        words: Sequence[ExplainedWord],
        colour: Callable[[ExplainedWord], Colour],
        figure: Callable[[ExplainedWord], str],
    ) -> None:
        letters, small = font(24), font(18)
        left = MARGIN
        for word in words:
            text = _fitting(word.text, letters, self.pen)[0]
            text = text if text == word.text else f"{text[:-1]}…"
            width = round(max(self.pen.textlength(text, font=letters), self.pen.textlength(figure(word), font=small)))
            if left > MARGIN and left + width + 16 > WIDTH - MARGIN:
                left, self.top = MARGIN, self.top + 76
            back = colour(word)
            self.pen.rounded_rectangle((left, self.top, left + width + 16, self.top + 40), 6, fill=back)
            centre = left + width // 2 + 8
            self.pen.text((centre, self.top + 20), text, fill=ink_on(back), font=letters, anchor="mm")
            self.pen.text((centre, self.top + 44), figure(word), fill=SOFT, font=small, anchor="ma")
            left += width + 16 + 8
        self.top += 84

    def scale(self, colours: Any, low: float, ends: tuple[str, str]) -> None:
        letters = font(20)
        start = round(self.pen.textlength(ends[0], font=letters)) + MARGIN + 10
        self.pen.text((MARGIN, self.top), ends[0], fill=SOFT, font=letters)
        self.image.paste(scale_bar(colours, low, (180, 24)), (start, self.top))
        self.pen.text((start + 190, self.top), ends[1], fill=SOFT, font=letters)
        self.top += 52

    def experts(self, explanation: Explained) -> None:
        used = {name: shares for name, shares in explanation.experts.items() if len(shares)}
        if not used:
            return
        self.line("Experts by modality", 24)
        letters = font(20)
        for name, shares in used.items():
            self.pen.text((MARGIN, self.top + 20), modality_name(name), fill=INK, font=letters, anchor="lm")
            left = float(MARGIN + 110)
            for number, (share, colour) in enumerate(zip(shares, expert_colours(len(shares)), strict=True)):
                width = float(share) * (WIDTH - MARGIN - MARGIN - 110)
                if width >= 1:
                    self.pen.rectangle((left, self.top, left + width - 1, self.top + 40), fill=colour)
                label = next(
                    (text for text in (f"{number}: {share:.0%}", str(number)) if self._fits(text, letters, width)), ""
                )
                centre = (left + width / 2, self.top + 20)
                self.pen.text(centre, label, fill=ink_on(colour), font=letters, anchor="mm")
                left += width
            self.top += 50

    def _fits(self, text: str, letters: Any, width: float) -> bool:
        return self.pen.textlength(text, font=letters) + 6 <= width


def _fitting(word: str, letters: Any, pen: ImageDraw.ImageDraw) -> list[str]:
    """A word in pieces that each fit a line."""
    pieces, piece = [], ""
    for character in word:
        if piece and pen.textlength(piece + character, font=letters) > WIDTH - 2 * MARGIN - 16:
            pieces.append(piece)
            piece = ""
        piece += character
    return [*pieces, piece]
