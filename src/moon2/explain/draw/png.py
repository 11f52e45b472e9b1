"""An explanation as one PNG, 720 pixels wide, with letters that are still legible at the width of a phone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from PIL import Image, ImageDraw, ImageFont

from moon2.explain.draw.colours import Colour, expert_colours, ink_on
from moon2.explain.draw.panels import (
    GRADIENT_SCALE,
    MODALITIES,
    Chip,
    Panel,
    Scale,
    attention_chips,
    font,
    gradient_chips,
    panels,
    patch_scale,
    title,
    word_scale,
)
from moon2.explain.explanation import Explanation

WIDTH, MARGIN, GAP = 720, 24, 16
INK, SOFT, PAPER = (28, 36, 48), (86, 96, 114), (255, 255, 255)
PANEL_SIDE = (WIDTH - 2 * MARGIN - GAP) // 2


def draw_png(explanation: Explanation) -> Image.Image:
    """The whole drawing, RGB; as high as it needs to be."""
    # Drawn twice: the first time on one row of pixels, to learn the height.
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

    def fill(self, explanation: Explanation) -> int:
        self.line(title(explanation), 30)
        if explanation.similarity is not None:
            self.paragraph(f"cosine {explanation.similarity:.2f} to “{explanation.query}”", 22)
        self.top += GAP
        for row in panels(explanation, PANEL_SIDE):
            self.panels(row)
        if explanation.images:
            self.scale(patch_scale(explanation))
        if explanation.words:
            self.line(f"Words: {sum(word.attention for word in explanation.words):.0%} of attention", 24)
            self.chips(attention_chips(explanation))
            if explanation.unread:
                self.paragraph(f"not read, past the limit of tokens: {explanation.unread}", 20)
            self.scale(word_scale(explanation))
        if explanation.similarity is not None:
            if explanation.words:
                self.line("Words: gradient × input", 24)
                self.chips(gradient_chips(explanation))
            self.scale(GRADIENT_SCALE)
        self.experts(explanation)
        return self.top + MARGIN

    def line(self, text: str, size: int, colour: Colour = INK) -> None:
        self.pen.text((MARGIN, self.top), text, fill=colour, font=font(size))
        self.top += round(size * 1.5)

    def paragraph(self, text: str, size: int) -> None:
        letters, line = font(size), ""
        for piece in (piece for word in text.split() for piece in self._pieces(word, letters)):
            longer = f"{line} {piece}".strip()
            if line and self.pen.textlength(longer, font=letters) > WIDTH - 2 * MARGIN:
                self.line(line, size, SOFT)
                longer = piece
            line = longer
        self.line(line, size, SOFT)

    def panels(self, row: Sequence[Panel]) -> None:
        for start in range(0, len(row), 2):
            pair = row[start : start + 2]
            for column, panel in enumerate(pair):
                left = MARGIN + column * (PANEL_SIDE + GAP)
                self.image.paste(panel.image, (left + (PANEL_SIDE - panel.image.width) // 2, self.top))
                below = (left + PANEL_SIDE // 2, self.top + panel.image.height + 6)
                self.pen.text(below, panel.caption, fill=SOFT, font=font(20), anchor="ma")
            self.top += max(panel.image.height for panel in pair) + 44

    def chips(self, chips: Sequence[Chip]) -> None:
        letters, small = font(24), font(18)
        left = MARGIN
        for chip in chips:
            text = next(self._pieces(chip.text, letters))
            text = text if text == chip.text else f"{text[:-1]}…"
            width = round(max(self.pen.textlength(text, font=letters), self.pen.textlength(chip.share, font=small)))
            if left > MARGIN and left + width + 16 > WIDTH - MARGIN:
                left, self.top = MARGIN, self.top + 76
            self.pen.rounded_rectangle((left, self.top, left + width + 16, self.top + 40), 6, fill=chip.colour)
            centre = left + width // 2 + 8
            self.pen.text((centre, self.top + 20), text, fill=ink_on(chip.colour), font=letters, anchor="mm")
            self.pen.text((centre, self.top + 44), chip.share, fill=SOFT, font=small, anchor="ma")
            left += width + 16 + 8
        self.top += 84

    def scale(self, scale: Scale) -> None:
        letters = font(20)
        start = round(self.pen.textlength(scale.ends[0], font=letters)) + MARGIN + 10
        self.pen.text((MARGIN, self.top), scale.ends[0], fill=SOFT, font=letters)
        self.image.paste(scale.bar(180, 24), (start, self.top))
        self.pen.text((start + 190, self.top), scale.ends[1], fill=SOFT, font=letters)
        self.top += 52

    def experts(self, explanation: Explanation) -> None:
        used = {modality: shares for modality, shares in explanation.experts.items() if len(shares)}
        if not used:
            return
        self.line("Experts by modality", 24)
        letters = font(20)
        for modality, shares in used.items():
            self.pen.text((MARGIN, self.top + 20), MODALITIES[modality], fill=INK, font=letters, anchor="lm")
            left = float(MARGIN + 110)
            for expert, (share, colour) in enumerate(zip(shares, expert_colours(len(shares)), strict=True)):
                width = float(share) * (WIDTH - 2 * MARGIN - 110)
                if width >= 1:
                    self.pen.rectangle((left, self.top, left + width - 1, self.top + 40), fill=colour)
                for label in (f"{expert}: {share:.0%}", str(expert)):
                    if self.pen.textlength(label, font=letters) + 6 <= width:
                        centre = (left + width / 2, self.top + 20)
                        self.pen.text(centre, label, fill=ink_on(colour), font=letters, anchor="mm")
                        break
                left += width
            self.top += 50

    def _pieces(self, word: str, letters: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> Iterator[str]:
        """A word in pieces that each fit on a line."""
        piece = ""
        for character in word:
            if piece and self.pen.textlength(piece + character, font=letters) > WIDTH - 2 * MARGIN - 16:
                yield piece
                piece = ""
            piece += character
        yield piece
