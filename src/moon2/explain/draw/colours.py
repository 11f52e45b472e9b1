"""The colours of heatmaps, computed in OKLab (Ottosson, 2020), where equal steps look equal.

Heat runs from dark violet to pale yellow with lightness rising evenly, so it can be read in grey print and without
colour vision. Signed values run from blue over a neutral middle to orange, equally dark at both ends. The hues of
experts lie far apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moon2.explain.rollout import Numbers

Colour = tuple[int, int, int]
Colours = NDArray[np.uint8]

# The inverse matrices of OKLab: to cone responses, and from those to linear sRGB.
_TO_CONES = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
_TO_RED_GREEN_BLUE = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def from_lightness_chroma_hue(lightness: Numbers, chroma: Numbers, degrees: Numbers) -> Colours:
    """OKLCh [...] each → sRGB [..., 3]; what lies outside of sRGB is clipped."""
    angle = np.deg2rad(degrees)
    lab = np.stack(np.broadcast_arrays(lightness, chroma * np.cos(angle), chroma * np.sin(angle)), axis=-1)
    linear = np.clip((lab @ _TO_CONES.T) ** 3 @ _TO_RED_GREEN_BLUE.T, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.round(encoded * 255), dtype=np.uint8)


def heat(values: Numbers) -> Colours:
    """0 to 1 [...] → [..., 3]: dark violet, red, orange, pale yellow."""
    clipped = np.clip(values, 0, 1)
    chroma = 0.08 + 0.11 * np.sin(np.pi * clipped)
    return from_lightness_chroma_hue(0.25 + 0.70 * clipped, chroma, 300 + 165 * clipped)


def signed(values: Numbers) -> Colours:
    """−1 to 1 [...] → [..., 3]: blue lowers, orange raises, near white does neither."""
    size = np.abs(np.clip(values, -1, 1))
    return from_lightness_chroma_hue(0.97 - 0.37 * size, 0.15 * size, np.where(values < 0, 255.0, 50.0))


def expert_colours(count: int) -> list[Colour]:
    """One colour for each of `count` experts, dark enough for white letters."""
    numbers = np.arange(count, dtype=np.float64)
    hues = 250.0 + 360.0 * numbers / count
    colours = from_lightness_chroma_hue(0.52 + 0.06 * (numbers % 2), np.full(count, 0.13), hues)
    return [(int(red), int(green), int(blue)) for red, green, blue in colours]


def ink_on(colour: Colour | Colours) -> Colour:
    """Black or white, whichever stands out more (relative luminance of WCAG 2)."""
    share = np.asarray(colour, dtype=np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return (0, 0, 0) if float(linear @ np.array([0.2126, 0.7152, 0.0722])) > 0.179 else (255, 255, 255)
