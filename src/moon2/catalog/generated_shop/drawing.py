"""Product photos drawn with PIL: a pen for cloth and hardware, woven patterns, and the photograph.

A product is drawn once, four times larger than its photos, on a transparent layer (`Pen`). Each photo poses that layer,
adds its shadow on a background, lights it and scales it down; so several photos show the same product. Every random
choice comes from a `random.Random` that the caller seeds: the same seed and the same Pillow give the same bytes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

RGB = tuple[int, int, int]
Point = tuple[float, float]

PHOTO_SIDE = 80
# Backgrounds and light are computed at twice the size of the photo, outlines at four times.
SCENE_SIDE = 2 * PHOTO_SIDE
LAYER_SIDE = 4 * PHOTO_SIDE
LARGEST_CUT = 6.0
UNITS = 100.0
"""Products are drawn in a square of 100 × 100 units, x to the right and y downwards."""

WHITE: RGB = (247, 247, 245)
WOOD: RGB = (150, 106, 66)
STEEL: RGB = (172, 176, 182)
DARK: RGB = (44, 42, 44)
GOLD: RGB = (205, 168, 92)


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """The colour `share` (0 to 1) of the way from the first to the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def lightness(colour: RGB) -> float:
    """How light a colour looks, 0 (black) to 255 (white)."""
    return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]


def pattern_cloth(pattern: str, colour: RGB, rng: Random) -> Image.Image:
    """A square of cloth, `LAYER_SIDE` pixels wide, in one of `PATTERNS`; RGB."""
    if lightness(colour) > 205:
        second = rng.choice([(70, 92, 140), (120, 120, 126), (170, 70, 80), (60, 60, 64)])
    else:
        second = rng.choice([WHITE, mix(colour, (255, 255, 255), 0.72), (238, 226, 196)])
    cloth = Image.new("RGB", (LAYER_SIDE, LAYER_SIDE), colour)
    PATTERNS[pattern](ImageDraw.Draw(cloth, "RGBA"), colour, second, rng)
    return cloth


def _plain(draw: ImageDraw.ImageDraw, colour: RGB, second: RGB, rng: Random) -> None:
    """Only the colour."""


def _striped(draw: ImageDraw.ImageDraw, colour: RGB, second: RGB, rng: Random) -> None:
    upright = rng.random() < 0.4
    step = rng.randint(26, 38)
    width = round(step * rng.uniform(0.3, 0.45))
    for start in range(rng.randint(0, step), LAYER_SIDE, step):
        box = (start, 0, start + width, LAYER_SIDE) if upright else (0, start, LAYER_SIDE, start + width)
        draw.rectangle(box, fill=second)


def _checked(draw: ImageDraw.ImageDraw, colour: RGB, second: RGB, rng: Random) -> None:
    step = rng.randint(32, 44)
    for start in range(rng.randint(0, step), LAYER_SIDE, step):
        # Transparent, so that the crossings are stronger than the bands, as in woven cloth.
        draw.rectangle((start, 0, start + step // 2, LAYER_SIDE), fill=(*second, 120))
        draw.rectangle((0, start, LAYER_SIDE, start + step // 2), fill=(*second, 120))


def _dotted(draw: ImageDraw.ImageDraw, colour: RGB, second: RGB, rng: Random) -> None:
    step = rng.randint(28, 38)
    radius = step * rng.uniform(0.24, 0.31)
    for row, y in enumerate(range(0, LAYER_SIDE + step, step)):
        for x in range((row % 2) * step // 2, LAYER_SIDE + step, step):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=second)


def _floral(draw: ImageDraw.ImageDraw, colour: RGB, second: RGB, rng: Random) -> None:
    heart = rng.choice([(240, 196, 60), (226, 120, 60)])
    leaf = mix((60, 130, 70), colour, 0.25)
    step = 54
    for row, top in enumerate(range(0, LAYER_SIDE + step, step)):
        for left in range((row % 2) * step // 2, LAYER_SIDE + step, step):
            x, y, radius = left + rng.randint(-7, 7), top + rng.randint(-7, 7), rng.uniform(8, 11)
            turn = rng.random() * math.tau
            draw.ellipse((x + radius, y + radius, x + 2.6 * radius, y + 1.9 * radius), fill=leaf)
            for petal in range(5):
                angle = turn + petal * math.tau / 5
                centre_x, centre_y = x + radius * math.cos(angle), y + radius * math.sin(angle)
                size = radius * 0.75
                draw.ellipse((centre_x - size, centre_y - size, centre_x + size, centre_y + size), fill=second)
            draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=heart)


def _zigzag(draw: ImageDraw.ImageDraw, colour: RGB, second: RGB, rng: Random) -> None:
    step = rng.randint(34, 44)
    for top in range(-step, LAYER_SIDE + step, step):
        corners = [(x, top + (step * 0.5 if index % 2 else 0)) for index, x in enumerate(range(0, LAYER_SIDE + 20, 20))]
        draw.line(corners, fill=second, width=10)


PATTERNS: dict[str, Callable[[ImageDraw.ImageDraw, RGB, RGB, Random], None]] = {
    "plain": _plain,
    "striped": _striped,
    "checked": _checked,
    "dotted": _dotted,
    "floral": _floral,
    "zigzag": _zigzag,
}


class Pen:
    """Draws one product on a transparent layer; points are in units of `UNITS` to the side.

    Attributes:
        colour: the product's main colour, RGB.
        layer: the drawing, RGBA, `LAYER_SIDE` pixels square.
    """

    def __init__(self, cloth: Image.Image, colour: RGB) -> None:
        self.colour = colour
        self.layer = Image.new("RGBA", (LAYER_SIDE, LAYER_SIDE))
        self._draw = ImageDraw.Draw(self.layer)
        self._cloths = {1.0: cloth}
        # Only the edge shows a white product on white ground, so light colours get a stronger one.
        self._edge = mix(colour, (0, 0, 0), 0.42) if lightness(colour) > 60 else mix(colour, (255, 255, 255), 0.22)

    def cloth(self, points: Sequence[Point], rounding: int = 1, shade: float = 1.0) -> None:
        """A part in the product's cloth; `rounding` times its corners are cut, `shade` below 1 darkens it."""
        corners = _pixels(_rounded(points, rounding))
        mask = Image.new("L", self.layer.size)
        ImageDraw.Draw(mask).polygon(corners, fill=255)
        if shade not in self._cloths:
            self._cloths[shade] = self._cloths[1.0].point(lambda value: min(255, round(value * shade)))
        self.layer.paste(self._cloths[shade], mask=mask)
        self._draw.line([*corners, corners[0]], fill=self._edge, width=4, joint="curve")

    def solid(self, points: Sequence[Point], colour: RGB, rounding: int = 1) -> None:
        """A part in one colour, such as a sole, a handle or a lens."""
        corners = _pixels(_rounded(points, rounding))
        self._draw.polygon(corners, fill=colour)
        self._draw.line([*corners, corners[0]], fill=mix(colour, (0, 0, 0), 0.3), width=3, joint="curve")

    def line(self, points: Sequence[Point], colour: RGB | None = None, width: float = 1.2, rounding: int = 0) -> None:
        """A seam (in the product's edge colour), a lace, a stem; `width` in units."""
        path = _pixels(_rounded(points, rounding, closed=False))
        self._draw.line(path, fill=colour or self._edge, width=round(width * LAYER_SIDE / UNITS), joint="curve")


def ellipse(x: float, y: float, radius_x: float, radius_y: float, start: float = 0, end: float = 360) -> list[Point]:
    """The points of an ellipse or arc around (x, y); angles in degrees, clockwise from the right."""
    count = max(8, round(abs(end - start) / 12))
    angles = [math.radians(start + (end - start) * index / count) for index in range(count + 1)]
    return [(x + radius_x * math.cos(angle), y + radius_y * math.sin(angle)) for angle in angles]


def rectangle(left: float, top: float, right: float, bottom: float) -> list[Point]:
    """The four corners of a box."""
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def mirrored(points: Sequence[Point]) -> list[Point]:
    """The same part, mirrored at the vertical middle line."""
    return [(UNITS - x, y) for x, y in points]


def _pixels(points: Sequence[Point]) -> list[Point]:
    return [(x * LAYER_SIDE / UNITS, y * LAYER_SIDE / UNITS) for x, y in points]


def _rounded(points: Sequence[Point], times: int, closed: bool = True) -> list[Point]:
    # Chaikin's corner cutting: an edge loses a quarter at either end, but never more than `LARGEST_CUT` units.
    result = list(points)
    for _ in range(times):
        following = [*result[1:], result[0]] if closed else result[1:]
        cut = []
        for (ax, ay), (bx, by) in zip(result, following, strict=False):
            share = min(0.25, LARGEST_CUT / max(math.hypot(bx - ax, by - ay), 1e-6))
            cut += [(ax + (bx - ax) * share, ay + (by - ay) * share), (bx + (ax - bx) * share, by + (ay - by) * share)]
        result = cut if closed else [result[0], *cut, result[-1]]
    return result


def photograph(layer: Image.Image, background: Image.Image, rng: Random, detail: bool = False) -> Image.Image:
    """One photo of a drawn product: posed, with its shadow, lit from one side; RGB, `PHOTO_SIDE` pixels square.

    Args:
        layer: the product as `Pen.layer` holds it.
        background: RGB, `SCENE_SIDE` pixels square.
        rng: draws pose, scale and light.
        detail: whether it is a close-up, which shows only a part of the product.
    """
    angle = math.radians(rng.gauss(0, 5))
    scale = rng.uniform(1.6, 2.0) if detail else rng.uniform(0.82, 1.06)
    flip = -1 if rng.random() < 0.5 else 1
    reach = 0.12 if detail else 0.05
    middle = SCENE_SIDE / 2
    target_x, target_y = (middle + rng.uniform(-reach, reach) * SCENE_SIDE for _ in range(2))
    # `transform` takes the inverse map, from a pixel of the photo to one of the layer.
    a, b = flip * math.cos(angle) / scale, flip * math.sin(angle) / scale
    d, e = -math.sin(angle) / scale, math.cos(angle) / scale
    matrix = (a, b, middle - a * target_x - b * target_y, d, e, middle - d * target_x - e * target_y)
    posed = layer.reduce(LAYER_SIDE // SCENE_SIDE).transform(
        background.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    scene = background.copy()
    shadow = posed.getchannel("A").point(lambda value: value * 0.38).filter(ImageFilter.BoxBlur(5))
    scene.paste((30, 26, 30), (rng.choice((-6, -4, 4, 6)), rng.randint(4, 8)), shadow)
    scene.paste(posed, mask=posed)
    ramp = np.linspace(-1, 1, SCENE_SIDE, dtype=np.float32)
    across, down = rng.uniform(-0.11, 0.11), rng.uniform(-0.12, 0.04)
    brightness, warmth = rng.uniform(0.93, 1.08), rng.uniform(-0.035, 0.035)
    light = brightness * (1 + across * ramp[None, :, None] + down * ramp[:, None, None])
    tint = np.array([1 + warmth, 1, 1 - warmth], dtype=np.float32)
    pixels = np.asarray(scene, dtype=np.float32) * light * tint
    lit = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    return lit.reduce(SCENE_SIDE // PHOTO_SIDE)


def encoded(photo: Image.Image) -> bytes:
    """The photo as the bytes of a WebP file."""
    buffer = io.BytesIO()
    photo.save(buffer, "WEBP", quality=88, method=2)
    return buffer.getvalue()
