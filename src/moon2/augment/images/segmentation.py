"""Segments the product in a shop's photo without a model, and lifts it off its backdrop without a halo.

Most catalog photos have one even backdrop. There a flood from the border leaves the product, and edges stop the flood
where a white product stands on white. Before any other backdrop nothing is segmented: without a model of what things
are, half of such masks lack a handle or gain a flowerpot. At the product's edge, colours are mixtures of product and
backdrop, which are separated here; the product's shadow becomes a share of light, to be cast on another backdrop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2 as opencv
import numpy as np
from numpy.typing import NDArray

from moon2.augment.images.confidence import confidence

cv2: Any = opencv  # the types it declares lose the dtype of every array

Pixels = NDArray[np.uint8]
Flags = NDArray[np.uint8]
Floats = NDArray[np.float32]

WORK_SIDE = 160
"""Images are segmented at this longest side; the edge is then refined at the image's own size."""
LEAST, MOST = 0.015, 0.93
"""Share of the image that a product can plausibly take: from a pendant to a close-up."""
EVEN_SHARE = 0.4
"""Least share of backdrop in the border of an even photo; a model's body may take the rest."""
CLOSE_FIT = 3.2
"""Distance in CIELAB from the fitted colour below which nine tenths of an even backdrop's border lie."""
ALIKE = 3.5
"""Distance in CIELAB up to which a pixel is backdrop: the noise of compressed white."""
SHADOW_REACH = 0.1
"""How far from the product a shadow is believed to be its own, as a share of the image's side."""
DARKEST_SHADOW = 0.6
_SMALL_DISC = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
_DISC = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))


@dataclass(frozen=True)
class Subject:
    """A product segmented in its photo.

    Attributes:
        image: (height, width, 3) float32 RGB, 0 to 255: the photo, without the backdrop's colour in the edge.
        mask: (height, width) float32, 0 backdrop to 1 product.
        shade: (height, width) float32, 0 to 1: the share of light that the product's shadow leaves on the backdrop.
        clear: whether the edge stands out from the backdrop; that of a white product on white is less exact.
        confidence: 0 to 1, how sure it is that this is the product, whole and alone; see `confidence.py`.
    """

    image: Floats
    mask: Floats
    shade: Floats
    clear: bool
    confidence: float


def find_subject(pixels: Pixels) -> Subject | None:
    """Where the product is, at the image's own size; None where there is no plausible product.

    Args:
        pixels: (height, width, 3) uint8 RGB.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < 8:
        return None
    scale = min(1.0, WORK_SIDE / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if scale < 1 else pixels
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    backdrop = _even_backdrop(lab)
    if backdrop is None:
        return None
    mask = _before_even_backdrop(lab, backdrop)
    if not LEAST <= mask.mean() <= MOST:
        return None
    return _lifted(pixels.astype(np.float32), mask, _shade(lab, backdrop, mask), confidence(mask, lab, backdrop))


def _stretches(line: NDArray[np.uint8] | NDArray[np.bool_]) -> int:
    return int((np.diff(line.astype(np.int8), prepend=0) == 1).sum())


def _even_backdrop(lab: Floats) -> Floats | None:
    """(height, width, 3) the backdrop's colour everywhere, with a smooth fall of light; None when it is not even."""
    height, width = lab.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    terms = np.stack([np.ones_like(x), x, y, x * x, y * y], axis=-1)
    colours, places = _border(lab), _border(terms)
    # The most frequent colour, because a close-up of a person can take more than half of the border.
    candidates = colours[:: max(1, len(colours) // 32)]
    distances = np.linalg.norm(colours[None] - candidates[:, None], axis=2)
    near = distances[(distances < 6).sum(axis=1).argmax()] < 6
    stiff = np.diag([0, 1, 1, 1, 1]).astype(np.float32) * 0.03 * len(colours)
    for _ in range(5):  # a fall of light grows from where the colour is most frequent
        if near.mean() < EVEN_SHARE / 2:
            return None
        chosen = places[near]
        fall = np.linalg.solve(chosen.T @ chosen + stiff, chosen.T @ (colours[near] - colours[near].mean(axis=0)))
        fitted = places @ fall + colours[near].mean(axis=0)
        centre = colours[near].mean(axis=0)
        near = np.linalg.norm(colours - fitted, axis=1) < 5
    # A patterned wall also fits in part, but not closely, or in many pieces.
    pieces = near.mean() < 0.8 and _stretches(near) > 6
    if (
        near.mean() < EVEN_SHARE
        or pieces
        or np.quantile(np.linalg.norm(colours - fitted, axis=1)[near], 0.9) > CLOSE_FIT
    ):
        return None
    even: Floats = (terms @ fall + centre).astype(np.float32)
    return even


def _before_even_backdrop(lab: Floats, backdrop: Floats) -> Flags:
    distance = np.linalg.norm(lab - backdrop, axis=2)
    border = _border(distance[..., None])[:, 0]
    noise = float(np.quantile(border[border < 6], 0.9)) if (border < 6).any() else 0.0
    alike = distance < min(max(ALIKE, 2.0 * noise), 7.0)
    mask = 1 - _reached_from_border(alike)
    # Edges stop the flood where a white product is as white as its backdrop. They also thicken every outline, so only
    # what is thicker than an outline is added.
    lightness = np.clip(lab[..., 0] * 2.55, 0, 255).astype(np.uint8)
    edges = cv2.morphologyEx(cv2.Canny(lightness, 10, 30), cv2.MORPH_CLOSE, _SMALL_DISC) > 0
    enclosed = 1 - _reached_from_border(alike & ~edges)
    added = cv2.morphologyEx(enclosed & (1 - mask), cv2.MORPH_OPEN, _SMALL_DISC)
    mask = mask | _parts(added, 0.02 * float(enclosed.sum()))[0]
    return _cleaned(_without_shadow(lab, backdrop, distance, mask))


def _without_shadow(lab: Floats, backdrop: Floats, distance: Floats, mask: Flags) -> Flags:
    """The mask without the soft shadow around a product that is not light itself, where the two differ clearly."""
    darker = backdrop[..., 0] - lab[..., 0]
    same_hue = np.linalg.norm(lab[..., 1:] - backdrop[..., 1:], axis=2) < 6
    slope = cv2.Sobel(lab[..., 0], cv2.CV_32F, 1, 0) ** 2 + cv2.Sobel(lab[..., 0], cv2.CV_32F, 0, 1) ** 2
    # Sobel's weights sum to 8 for a step of one a pixel. A shadow fades; a product ends.
    shadow = same_hue & (darker < 42) & (np.sqrt(slope) / 8 < 6.0 * WORK_SIDE / max(mask.shape))
    rest = 1 - _reached_from_border((mask == 0) | shadow)
    rest = cv2.morphologyEx(rest, cv2.MORPH_CLOSE, _SMALL_DISC) & mask
    # The shadow's rim, which is too steep for the test above.
    thin = (rest & (1 - cv2.morphologyEx(rest, cv2.MORPH_OPEN, _DISC))) > 0
    rest[thin & same_hue & (distance < 20)] = 0
    gone = (mask > 0) & (rest == 0)
    if not gone.any() or rest.sum() < 0.65 * mask.sum():
        return mask
    # A shadow is darker than a white backdrop; white cloth hardly is.
    breaks = _parts(rest, 0.01 * float(mask.sum()))[1] > _parts(mask, 0.01 * float(mask.sum()))[1]
    certain = not breaks and (distance[rest > 0] > 20).mean() > 0.75 and (darker[gone] > 5).mean() > 0.6
    return rest if certain else mask


def _reached_from_border(free: NDArray[np.bool_]) -> Flags:
    """1 where a path of free pixels leads in from outside."""
    ringed = cv2.copyMakeBorder(free.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    _, labels = cv2.connectedComponents(ringed, connectivity=4)
    return (labels == labels[0, 0])[1:-1, 1:-1].astype(np.uint8)


def _parts(mask: Flags, least: float) -> tuple[Flags, int]:
    """The connected parts of at least so many pixels, and how many they are."""
    _, labels, sizes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    large = 1 + np.flatnonzero(sizes[1:, cv2.CC_STAT_AREA] >= least)
    return np.isin(labels, large).astype(np.uint8), len(large)


def _cleaned(mask: Flags) -> Flags:
    """The mask without specks and threads; of several parts, those of some size or near the largest."""
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _SMALL_DISC)
    opened = cv2.morphologyEx(mask, cv2.MORPH_OPEN, _SMALL_DISC)
    # A chain or a strap is thin everywhere: of what opening removes, long parts stay.
    number, labels, sizes, _ = cv2.connectedComponentsWithStats(mask & (1 - opened), connectivity=8)
    for part in range(1, number):
        if max(sizes[part, cv2.CC_STAT_WIDTH], sizes[part, cv2.CC_STAT_HEIGHT]) >= 0.05 * max(mask.shape):
            opened[labels == part] = 1
    number, labels, sizes, _ = cv2.connectedComponentsWithStats(opened, connectivity=8)
    if number <= 2:
        return opened
    areas = sizes[1:, cv2.CC_STAT_AREA]
    main = 1 + int(areas.argmax())
    reach = max(3, round(0.06 * max(mask.shape)))
    around = cv2.dilate((labels == main).astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    near = np.bincount(labels[around > 0], minlength=number)[1:] > 0
    large = (areas >= 0.12 * areas.max()) | (near & (areas >= 0.01 * areas.max()))
    return np.isin(labels, 1 + np.flatnonzero(large)).astype(np.uint8)


def _shade(lab: Floats, backdrop: Floats, mask: Flags) -> Floats:
    """The share of light that shadows leave on the backdrop, near the product; under the product as beside it."""
    outside = (1 - cv2.dilate(mask, _SMALL_DISC)).astype(np.float32)
    light = np.clip(lab[..., 0] / np.maximum(backdrop[..., 0], 1) + 0.03, DARKEST_SHADOW, 1)
    window = (7, 7)
    beside = cv2.blur(light * outside, window) / np.maximum(cv2.blur(outside, window), 1e-3)
    shade = np.where(outside > 0, light, np.where(beside > 0, beside, 1))
    away = cv2.distanceTransform(1 - mask, cv2.DIST_L2, 3) / (SHADOW_REACH * max(mask.shape))
    near: Floats = np.clip(1.5 - 1.5 * away, 0, 1).astype(np.float32)
    return (1 - (1 - shade) * near).astype(np.float32)


def _lifted(image: Floats, small_mask: Flags, shade: Floats, sure: float) -> Subject:
    """The edge at the image's own size: each pixel there is a share of product colour and a rest of backdrop."""
    height, width = image.shape[:2]
    scale = max(1.0, max(height, width) / max(small_mask.shape))
    soft = cv2.resize(small_mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    soft = np.clip(cv2.GaussianBlur(soft, (0, 0), 0.6 * scale), 0, 1)
    mask = (soft > 0.5).astype(np.uint8)
    reach = max(1, round(scale))
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    # Outside the image counts as product: where the photo's edge cuts it off, it has no edge of its own.
    inside, outside = cv2.erode(mask, square), cv2.dilate(mask, square)
    core, beyond = inside.astype(np.float32), 1 - cv2.dilate(outside, square).astype(np.float32)
    window = 6 * reach + 3
    product, known = _mean_near(image, core, window)
    backdrop, open_near = _mean_near(image, beyond, window)
    difference = product - backdrop
    contrast = (difference**2).sum(axis=2)
    rim = (outside > inside) & known & open_near
    apart = rim & (contrast > 30.0**2)
    share = np.clip(((image - backdrop) * difference).sum(axis=2) / np.maximum(contrast, 1), 0, 1)
    alpha = np.where(inside > 0, np.float32(1), soft * (outside > 0))
    alpha = np.where(apart, share, alpha).astype(np.float32)
    # The product's colour plus what the mixture does not explain, so that a print keeps its detail up to the edge.
    unmixed = product + image - (share[..., None] * difference + backdrop)
    lifted = np.where(apart[..., None], np.clip(unmixed, 0, 255), image).astype(np.float32)
    clear = bool(apart.sum() >= 0.6 * max(1, rim.sum()))
    shade = np.clip(cv2.resize(shade, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)
    return Subject(lifted, alpha, shade, clear, sure)


def _mean_near(image: Floats, weight: Floats, window: int) -> tuple[Floats, NDArray[np.bool_]]:
    """The mean colour of the weighted pixels around each pixel, and where there are any."""
    total = cv2.blur(weight, (window, window), borderType=cv2.BORDER_CONSTANT)
    mean = cv2.blur(image * weight[..., None], (window, window), borderType=cv2.BORDER_CONSTANT)
    return mean / np.maximum(total, 1e-6)[..., None], total > 1.5 / window**2


def _border(values: Floats) -> Floats:
    return np.concatenate([values[0], values[-1], values[1:-1, 0], values[1:-1, -1]])
