"""Segments the product in a shop's photo without a model, and lifts it off its backdrop without a halo.

Most catalog photos have one even backdrop. There a flood from the border leaves the product, and edges stop the flood
where a white product stands on white. Where the border is uneven, GrabCut decides, and begins with the pixels that are
unlike the border. Both take too much rather than too little; an implausible mask is dropped. At the product's edge,
colours are mixtures of product and backdrop, which are separated here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2 as opencv
import numpy as np
from numpy.typing import NDArray

cv2: Any = opencv  # the types it declares lose the dtype of every array

Pixels = NDArray[np.uint8]
Flags = NDArray[np.uint8]
Floats = NDArray[np.float32]

WORK_SIDE = 160
"""Images are segmented at this longest side; the edge is then refined at the image's own size."""
LEAST, MOST = 0.015, 0.93
"""Share of the image that a product can plausibly take: from a pendant to a close-up."""
LEAST_OF_UNEVEN = 0.08
"""The same where GrabCut decides: a small mask there is mostly a piece of the product or of the room."""
EVEN_SHARE = 0.4
"""Least share of backdrop in the border of an even photo; a model's body may take the rest."""
CLOSE_FIT = 3.2
"""Distance in CIELAB from the fitted colour below which nine tenths of an even backdrop's border lie."""
ALIKE = 3.5
"""Distance in CIELAB up to which a pixel is backdrop: the noise of compressed white."""
_SMALL_DISC = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
_DISC = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))


@dataclass(frozen=True)
class Subject:
    """A product segmented in its photo.

    Attributes:
        image: (height, width, 3) float32 RGB, 0 to 255: the photo, without the backdrop's colour in the edge.
        mask: (height, width) float32, 0 backdrop to 1 product.
        clear: whether the edge stands out from the backdrop; that of a white product on white is less exact.
    """

    image: Floats
    mask: Floats
    clear: bool


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
    mask = _by_grabcut(small, lab) if backdrop is None else _before_even_backdrop(lab, backdrop)
    if mask is None or not _plausible(mask, LEAST if backdrop is not None else LEAST_OF_UNEVEN):
        return None
    return _lifted(pixels.astype(np.float32), mask)


def _plausible(mask: Flags, least: float) -> bool:
    border = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    # A shelf behind the product leaves the image in several places on both sides; a person does not.
    shelf = min(_stretches(mask[:, 0]), _stretches(mask[:, -1])) >= 2
    return bool(least <= mask.mean() <= MOST and border.mean() <= 0.75 and not shelf)


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
    for _ in range(3):
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
    shadow = same_hue & (darker < 42) & (np.sqrt(slope) / 8 < 6.0)
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


def _by_grabcut(small: Pixels, lab: Floats) -> Flags | None:
    height, width = small.shape[:2]
    border = np.ascontiguousarray(_border(lab))
    cv2.setRNGSeed(0)  # k-means draws, and so do GrabCut's mixtures of colours
    clusters = min(6, len(border))
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 10, 1.0)
    _, _, centres = cv2.kmeans(border, clusters, None, stop, 1, cv2.KMEANS_PP_CENTERS)
    unlike = np.linalg.norm(lab[:, :, None] - centres[None, None], axis=3).min(axis=2)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    central = np.exp(-((x / 0.75) ** 4) - (y / 0.8) ** 4)
    score = cv2.GaussianBlur(unlike.astype(np.float32), (0, 0), 1.0) * central
    likely = score > 0.35 * float(np.quantile(score, 0.97))
    guess = np.where(likely, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    guess[0] = guess[-1] = cv2.GC_BGD
    guess[:, 0] = guess[:, -1] = cv2.GC_BGD
    if not likely[1:-1, 1:-1].any():
        return None
    models = np.zeros((1, 65)), np.zeros((1, 65))
    try:
        cv2.grabCut(np.ascontiguousarray(small[..., ::-1]), guess, None, *models, 3, cv2.GC_INIT_WITH_MASK)
    except cv2.error:
        return None
    mask = _cleaned(((guess == cv2.GC_FGD) | (guess == cv2.GC_PR_FGD)).astype(np.uint8))
    return 1 - _reached_from_border(mask == 0)  # holes belong to the product


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


def _lifted(image: Floats, small_mask: Flags) -> Subject:
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
    return Subject(lifted, alpha, clear)


def _mean_near(image: Floats, weight: Floats, window: int) -> tuple[Floats, NDArray[np.bool_]]:
    """The mean colour of the weighted pixels around each pixel, and where there are any."""
    total = cv2.blur(weight, (window, window), borderType=cv2.BORDER_CONSTANT)
    mean = cv2.blur(image * weight[..., None], (window, window), borderType=cv2.BORDER_CONSTANT)
    return mean / np.maximum(total, 1e-6)[..., None], total > 1.5 / window**2


def _border(values: Floats) -> Floats:
    return np.concatenate([values[0], values[-1], values[1:-1, 0], values[1:-1, -1]])
