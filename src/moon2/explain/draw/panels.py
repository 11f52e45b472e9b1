"""What both the PNG and the page show: images under heat, words with their colours, and their captions.

Attention is drawn against an even share: 1 is what a token would have if all had the same. A word counts by the mean
of its tokens. Patches and words have a scale each, because one kind can be so much stronger that the other would look
empty. The figures say how the two compare.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from moon2.explain.draw.colours import Colour, Colours, expert_colours, heat, ink_on, signed
from moon2.explain.explanation import ExplainedImage, Explanation
from moon2.explain.rollout import Numbers

HEAT_OPACITY = 0.7
"""The image, in grey, stays visible under the heat, and the colour can still be read off the scale."""
MODALITIES = {"image": "patches", "text": "words"}
"""What the units of a modality are called."""


@dataclass(frozen=True)
class Panel:
    """An image with its caption, and a description for readers who cannot see it."""

    image: Image.Image
    caption: str
    description: str


@dataclass(frozen=True)
class Chip:
    """A word, its colour, and its share as text."""

    text: str
    colour: Colour
    share: str


@dataclass(frozen=True)
class Scale:
    """A colour scale from `low` to 1, and what its two ends mean."""

    colours: Callable[[Numbers], Colours]
    low: float
    ends: tuple[str, str]

    def bar(self, width: int, height: int) -> Image.Image:
        """The scale as an image."""
        row = self.colours(np.linspace(self.low, 1, width))
        return Image.fromarray(np.broadcast_to(row, (height, width, 3)).copy())


def title(explanation: Explanation) -> str:
    """Which attention is shown."""
    return f"Attention, {'all layers rolled up' if explanation.layer is None else f'layer {explanation.layer}'}"


def patch_scale(explanation: Explanation) -> Scale:
    """The scale of attention over patches."""
    return _attention_scale(_hottest_patch(explanation) / _even_share(explanation))


def word_scale(explanation: Explanation) -> Scale:
    """The scale of attention over words."""
    return _attention_scale(_hottest_word(explanation) / _even_share(explanation))


GRADIENT_SCALE = Scale(signed, -1.0, ("lowers similarity", "raises it"))


def attention_chips(explanation: Explanation) -> list[Chip]:
    """The words, coloured by their attention."""
    end = _hottest_word(explanation) or 1.0
    return [
        Chip(word.text, _colour(heat(np.array(word.attention / word.tokens / end))), f"{word.attention:.1%}")
        for word in explanation.words
    ]


def gradient_chips(explanation: Explanation) -> list[Chip]:
    """The words, coloured by their gradient; empty without a query."""
    slopes = [(word.text, word.gradient) for word in explanation.words if word.gradient is not None]
    end = max((abs(slope) for _, slope in slopes), default=0.0) or 1.0
    return [Chip(text, _colour(signed(np.array(slope / end))), f"{slope:+.1%}") for text, slope in slopes]


def panels(explanation: Explanation, side: int) -> list[list[Panel]]:
    """Per image: the image, its attention, its gradient if there is a query, and its experts if there are any.

    Each is `side` pixels at its longer side.
    """
    hottest = _hottest_patch(explanation) or 1.0
    gradients = (np.abs(image.gradient).max() for image in explanation.images if image.gradient is not None)
    steepest = float(max(gradients, default=0.0)) or 1.0
    return [_panels_of(image, side, hottest, steepest) for image in explanation.images]


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font with the most letters among the usual ones of this system, or the one that comes with Pillow."""
    for name in ("NotoSansCJK-Regular.ttc", "DejaVuSans.ttf", "Arial Unicode.ttf", "arial.ttf"):
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def _even_share(explanation: Explanation) -> float:
    """What each token would have if all had the same."""
    patches = sum(image.attention.size for image in explanation.images)
    return 1.0 / (patches + sum(word.tokens for word in explanation.words))


def _hottest_patch(explanation: Explanation) -> float:
    return max((float(image.attention.max()) for image in explanation.images), default=0.0)


def _hottest_word(explanation: Explanation) -> float:
    return max((word.attention / word.tokens for word in explanation.words), default=0.0)


def _attention_scale(end: float) -> Scale:
    return Scale(heat, 0.0, ("attention 0", f"{end:.1f} times an even share"))


def _panels_of(image: ExplainedImage, side: int, hottest: float, steepest: float) -> list[Panel]:
    share = f"{image.attention.sum():.0%}"
    shown = [
        Panel(_scaled(image.image, side), "the image", "the image as given"),
        Panel(
            _overlay(image, heat(image.attention / hottest), side),
            f"attention: {share} on this image",
            f"attention over the image, {_strongest(image.attention)}; {share} of all attention",
        ),
    ]
    if image.gradient is not None:
        slopes = _overlay(image, signed(image.gradient / steepest), side)
        description = f"gradient of the similarity to the query over the image, {_strongest(np.abs(image.gradient))}"
        shown.append(Panel(slopes, "gradient × input", description))
    if image.experts.shape[-1]:
        shown.append(_expert_panel(image, side))
    return shown


def _colour(value: Colours) -> Colour:
    return int(value[0]), int(value[1]), int(value[2])


def _scaled(image: Image.Image, side: int) -> Image.Image:
    ratio = side / max(image.size)
    size = max(1, round(image.width * ratio)), max(1, round(image.height * ratio))
    return image.resize(size, Image.Resampling.BICUBIC)


def _overlay(image: ExplainedImage, cells: Colours, side: int) -> Image.Image:
    """Cells [h, w, 3] over the image in grey; hard edges, because the model saw no finer."""
    grey = _scaled(image.image, side).convert("L").convert("RGB")
    return Image.blend(grey, Image.fromarray(cells).resize(grey.size, Image.Resampling.NEAREST), HEAT_OPACITY)


def _expert_panel(image: ExplainedImage, side: int) -> Panel:
    strongest = image.experts.argmax(axis=-1)
    colours = np.array(expert_colours(image.experts.shape[-1]), dtype=np.uint8)
    drawing = _overlay(image, colours[strongest], side)
    rows, columns = strongest.shape
    height, width = drawing.height / rows, drawing.width / columns
    if min(height, width) >= 24:
        background = np.array(drawing)  # a copy, so that a number's ink does not depend on the numbers before it
        pen = ImageDraw.Draw(drawing)
        letters = font(int(min(height, width) * 0.5))
        for (row, column), expert in np.ndenumerate(strongest):
            centre = (column + 0.5) * width, (row + 0.5) * height
            ink = ink_on(background[int(centre[1]), int(centre[0])])
            pen.text(centre, str(expert), fill=ink, font=letters, anchor="mm")
    counts = np.bincount(strongest.ravel(), minlength=len(colours))
    leads = ", ".join(f"expert {expert} in {count}" for expert, count in enumerate(counts) if count)
    description = f"the expert of most weight at each of {strongest.size} patches: {leads}"
    return Panel(drawing, "expert of most weight", description)


def _strongest(values: Numbers) -> str:
    """The cell of the largest value, in words."""
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    return f"strongest in row {row + 1} of {values.shape[0]}, column {column + 1} of {values.shape[1]}"
