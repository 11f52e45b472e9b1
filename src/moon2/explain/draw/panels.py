"""What both the PNG and the page show: pictures under heat, words with colours, the use of experts, and their captions.

Attention is drawn against an even share: 1 is what a token would have if all had the same; a word counts by the mean of
its tokens. Patches and words have a scale each, in attention and in gradients, since one kind can be so much stronger
that nothing would be seen of the other; the figures say how they compare.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from moon2.explain.draw.colours import Colour, Colours, expert_colours, heat, ink_on, signed
from moon2.explain.explanation import Explained, ExplainedPicture, ExplainedWord
from moon2.explain.rollout import Numbers

HEAT_OVER_PHOTO = 0.7
"""Opacity of heat: the photo, in grey, stays visible, and the colour can still be read off the scale."""


@dataclass(frozen=True)
class Panel:
    """A picture with its caption and, for who cannot see it, what it shows."""

    image: Image.Image
    caption: str
    description: str


def title(explanation: Explained) -> str:
    """What attention is shown."""
    return "all layers rolled up" if explanation.layer is None else f"layer {explanation.layer}"


def even_share(explanation: Explained) -> float:
    """What each token would have if all had the same."""
    patches = sum(picture.attention.size for picture in explanation.pictures)
    return 1.0 / (patches + sum(word.tokens for word in explanation.words))


def hottest_patch(explanation: Explained) -> float:
    """The largest attention of a patch, in even shares: the end of the patches' scale."""
    found = (float(picture.attention.max()) for picture in explanation.pictures)
    return max(found, default=0.0) / even_share(explanation)


def hottest_word(explanation: Explained) -> float:
    """The largest attention of a word's tokens on average, in even shares: the end of the words' scale."""
    return max((word.attention / word.tokens for word in explanation.words), default=0.0) / even_share(explanation)


def word_heat(explanation: Explained, word: ExplainedWord) -> Colour:
    """A word's colour on the scale of attention."""
    share = word.attention / word.tokens / even_share(explanation) / (hottest_word(explanation) or 1.0)
    return _colour(heat(np.array(share)))


def word_slope(explanation: Explained, word: ExplainedWord) -> Colour:
    """A word's colour on the signed scale of gradients."""
    largest = max((abs(other.gradient or 0.0) for other in explanation.words), default=0.0) or 1.0
    return _colour(signed(np.array((word.gradient or 0.0) / largest)))


def panels(explanation: Explained, side: int) -> list[list[Panel]]:
    """Per picture: itself, attention, the gradient if there is a query, and experts if there are any.

    Each is `side` pixels at its longer side.
    """
    end = hottest_patch(explanation) * even_share(explanation) or 1.0
    steepest = max(
        (float(np.abs(picture.gradient).max()) for picture in explanation.pictures if picture.gradient is not None),
        default=0.0,
    )
    result = []
    for picture in explanation.pictures:
        share = picture.attention.sum()
        row = [
            Panel(_scaled(picture.image, side), "the picture", "the picture as given"),
            Panel(
                _overlay(picture, heat(picture.attention / end), side),
                f"attention: {share:.0%} on this picture",
                f"attention over the picture, {_where(picture.attention)}; {share:.0%} of all attention",
            ),
        ]
        if picture.gradient is not None:
            strength = np.abs(picture.gradient)
            slopes = signed(picture.gradient / (steepest or 1.0))
            shown = f"gradient of the similarity to the query over the picture, {_where(strength)}"
            row.append(Panel(_overlay(picture, slopes, side), "gradient × input", shown))
        if picture.experts.shape[-1]:
            row.append(_expert_panel(picture, side))
        result.append(row)
    return result


def scale_bar(colours: Callable[[Numbers], Colours], low: float, size: tuple[int, int]) -> Image.Image:
    """A bar of a colour scale from `low` to 1, of some (width, height) pixels."""
    row = colours(np.linspace(low, 1, size[0]))
    return Image.fromarray(np.broadcast_to(row, (size[1], size[0], 3)).copy())


def modality_name(modality: str) -> str:
    """How people call it."""
    return {"image": "patches", "text": "words"}[modality]


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The system's font with the most letters among those usual, or the one that comes with Pillow."""
    for name in ("NotoSansCJK-Regular.ttc", "DejaVuSans.ttf", "Arial Unicode.ttf", "arial.ttf"):
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def _colour(value: Colours) -> Colour:
    return int(value[0]), int(value[1]), int(value[2])


def _scaled(image: Image.Image, side: int) -> Image.Image:
    ratio = side / max(image.size)
    size = max(1, round(image.width * ratio)), max(1, round(image.height * ratio))
    return image.resize(size, Image.Resampling.BICUBIC)


def _overlay(picture: ExplainedPicture, cells: Colours, side: int) -> Image.Image:
    """Cells [h, w, 3] over the picture in grey; hard edges, because the model saw no finer."""
    photo = _scaled(picture.image, side).convert("L").convert("RGB")
    return Image.blend(photo, Image.fromarray(cells).resize(photo.size, Image.Resampling.NEAREST), HEAT_OVER_PHOTO)


def _expert_panel(picture: ExplainedPicture, side: int) -> Panel:
    first = picture.experts.argmax(axis=-1)
    colours = np.array(expert_colours(picture.experts.shape[-1]), dtype=np.uint8)
    image = _overlay(picture, colours[first], side)
    rows, columns = first.shape
    height, width = image.height / rows, image.width / columns
    if min(height, width) >= 24:
        ground = np.asarray(image)  # before any number stands on it
        draw = ImageDraw.Draw(image)
        letters = font(int(min(height, width) * 0.5))
        for row, column in np.ndindex(rows, columns):
            number = int(first[row, column])
            centre = (column + 0.5) * width, (row + 0.5) * height
            ink = ink_on(ground[int(centre[1]), int(centre[0])])
            draw.text(centre, str(number), fill=ink, font=letters, anchor="mm")
    counts = np.bincount(first.ravel(), minlength=len(colours))
    leads = ", ".join(f"expert {number} in {count}" for number, count in enumerate(counts) if count)
    return Panel(image, "expert of most weight", f"the expert of most weight at each of {first.size} patches: {leads}")


def _where(values: Numbers) -> str:
    """The cell of the largest value, in words."""
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    return f"strongest in row {row + 1} of {values.shape[0]}, column {column + 1} of {values.shape[1]}"
