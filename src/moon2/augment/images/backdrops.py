"""Backdrops to set a cut-out product on: studio sweeps and drawn rooms, out of focus.

Shapes are drawn first and then blurred. Nothing is sharp, so nothing can be taken for a product. `ground` is the row on
which the product stands; the floor is drawn under it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2 as opencv
import numpy as np
from numpy.typing import NDArray

cv2: Any = opencv  # the types it declares lose the dtype of every array

FloatImage = NDArray[np.float32]
"""(height, width, 3) RGB, 0 to 255."""

WALLS = ((226, 221, 212), (214, 220, 222), (232, 226, 220), (205, 212, 205), (222, 214, 205), (238, 236, 232))
WOODS = ((166, 124, 82), (140, 101, 68), (190, 152, 108), (122, 92, 70), (205, 178, 140))
GREENS = ((120, 150, 100), (150, 175, 130), (98, 128, 90))
STUDIO = ((244, 244, 242), (233, 236, 240), (240, 234, 228), (228, 232, 228), (238, 230, 234), (222, 228, 238))


def studio(height: int, width: int, ground: int, random: np.random.Generator) -> FloatImage:
    """An even sweep with soft light from one side and a darker corner."""
    colour = np.asarray(STUDIO[random.integers(len(STUDIO))], np.float32)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)
    light_x, light_y = random.uniform(0.2, 0.8), random.uniform(0.0, 0.5)
    fall = np.sqrt((x - light_x) ** 2 + (y - light_y) ** 2)
    shade = 1.03 - 0.14 * fall
    return np.clip(colour * shade[..., None], 0, 255)


def table(height: int, width: int, ground: int, random: np.random.Generator) -> FloatImage:
    """A wooden table before a wall."""
    image = _wall(height, width, random)
    # The far edge of the table lies above the row on which the product stands.
    edge = round(min(height * random.uniform(0.62, 0.78), ground - 0.06 * height))
    edge = max(edge, height // 4)
    wood = np.asarray(WOODS[random.integers(len(WOODS))], np.float32)
    grain = cv2.GaussianBlur(
        random.normal(0, 1, (max(height - edge, 1), width)).astype(np.float32), (0, 0), width / 12, sigmaY=0.6
    )
    grain /= max(float(np.abs(grain).max()), 1e-6)
    depth = np.linspace(0.92, 1.08, max(height - edge, 1), dtype=np.float32)[:, None]
    image[edge:] = wood * (depth * (1 + 0.10 * grain))[..., None]
    return _out_of_focus(image, 90)


def shelf(height: int, width: int, ground: int, random: np.random.Generator) -> FloatImage:
    """A wall with a shelf of objects, out of focus."""
    image = _wall(height, width, random)
    top = round(height * random.uniform(0.12, 0.3))
    thickness = max(1, height // 28)
    image[top : top + thickness] = np.asarray(WOODS[random.integers(len(WOODS))], np.float32)
    for _ in range(int(random.integers(3, 7))):
        wide, tall = round(width * random.uniform(0.04, 0.12)), round(height * random.uniform(0.05, 0.14))
        left = int(random.integers(0, max(width - wide, 1)))
        colour = np.asarray((WALLS + WOODS + GREENS)[random.integers(14)], np.float32) * random.uniform(0.7, 1.0)
        image[max(top - tall, 0) : top, left : left + wide] = colour
    return _out_of_focus(image, 28)


def outdoors(height: int, width: int, ground: int, random: np.random.Generator) -> FloatImage:
    """Green and light far out of focus, a path below."""
    image = np.empty((height, width, 3), np.float32)
    horizon = max(round(min(height * random.uniform(0.45, 0.65), ground - 0.1 * height)), height // 4)
    image[:horizon] = np.asarray((205, 220, 232), np.float32)
    image[horizon:] = np.asarray((196, 186, 170), np.float32)
    for _ in range(14):
        colour = np.asarray(GREENS[random.integers(len(GREENS))], np.float32) * random.uniform(0.8, 1.25)
        centre = (int(random.integers(0, width)), int(random.integers(0, max(horizon, 1))))
        cv2.circle(image, centre, max(1, round(width * random.uniform(0.05, 0.16))), colour.tolist(), -1)
    return _out_of_focus(image, 11)


SCENES: dict[str, Callable[[int, int, int, np.random.Generator], FloatImage]] = {
    "studio": studio,
    "table": table,
    "shelf": shelf,
    "outdoors": outdoors,
}


def contact_shadow(mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """(height, width) share of light that the product's shadow leaves: dark below the product, fading outward."""
    height, width = mask.shape
    rows = np.flatnonzero(mask.max(axis=1) > 0.5)
    if not len(rows):
        return np.ones_like(mask)
    bottom = int(rows[-1])
    tall = max(rows[-1] - rows[0], 1)
    # The lowest part of the product, projected onto the ground.
    foot = mask[max(bottom - tall // 6, 0) : bottom + 1].max(axis=0)
    shadow = np.zeros_like(mask)
    depth = max(2, round(0.035 * tall))
    shadow[max(bottom - depth, 0) : min(bottom + depth, height)] = foot
    shadow = cv2.GaussianBlur(shadow, (0, 0), max(0.8, 0.03 * max(height, width)), sigmaY=max(0.6, 0.012 * height))
    return 1 - 0.38 * np.clip(shadow, 0, 1)


def _wall(height: int, width: int, random: np.random.Generator) -> FloatImage:
    wall = np.asarray(WALLS[random.integers(len(WALLS))], np.float32)
    light = np.linspace(random.uniform(0.95, 1.04), random.uniform(0.90, 1.0), width, dtype=np.float32)
    return np.broadcast_to(wall * light[None, :, None], (height, width, 3)).copy()


def _out_of_focus(image: FloatImage, sharpness: float) -> FloatImage:
    return np.clip(cv2.GaussianBlur(image, (0, 0), max(0.7, max(image.shape[:2]) / sharpness)), 0, 255)
