"""How sure it is that a mask is the product, whole and alone: the main image is replaced only where it is.

A cut-out that shows the wrong thing costs more than a photo that stays as it is. Four things are looked at, and the
worst decides: whether the mask is one thing (or a pair of one thing), how the frame cuts it off, whether something that
belongs to it was left out, and whether its edge is unlike the backdrop. What leaves the frame on three sides is a
close-up, a wall, or what an even half of a cluttered photo left over.
"""

from __future__ import annotations

from typing import Any

import cv2 as opencv
import numpy as np
from numpy.typing import NDArray

cv2: Any = opencv  # the types it declares lose the dtype of every array

Flags = NDArray[np.uint8]
Floats = NDArray[np.float32]

SURE = 0.75
"""Least confidence of a cut-out that replaces the photo."""
PART = 0.02
"""Share of the largest part from which another part is a thing of its own, not a speck."""
LEFT_OUT = 0.1
"""Share of the image's side by which what touches a whole subject may reach farther; its shadow does."""
WHITE = 93
"""Lightness of a backdrop on which nobody sees what a mask took too much of it."""
TOUCHES = 0.06
"""Share of a side of the frame from which the subject leaves through it; less is a corner or a hair."""


def confidence(mask: Flags, lab: Floats, backdrop: Floats) -> float:
    """From 0 to 1.

    Args:
        mask: (height, width) 0 or 1.
        lab: (height, width, 3) float32 CIELAB of the photo.
        backdrop: the same of the backdrop alone.
    """
    distance = np.linalg.norm(lab - backdrop, axis=2)
    return float(min(_alone(mask, lab), _inside(mask), _whole(mask, distance), _stands_out(mask, distance, backdrop)))


def _alone(mask: Flags, lab: Floats) -> float:
    """1 for one thing, for small parts close to it, and for two or more that look alike; else the largest's share."""
    number, labels, sizes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if number <= 2:
        return 1.0
    areas = sizes[1:, cv2.CC_STAT_AREA].astype(np.float64)
    main = int(areas.argmax())
    colour = [lab[labels == part].mean(axis=0) for part in range(1, number)]
    shape = sizes[1:, cv2.CC_STAT_WIDTH] / sizes[1:, cv2.CC_STAT_HEIGHT]
    near = max(2, round(0.03 * max(mask.shape)))
    around = cv2.dilate((labels == main + 1).astype(np.uint8), np.ones((2 * near + 1, 2 * near + 1), np.uint8))
    strange = 0.0
    for part in range(number - 1):
        if part == main or areas[part] < PART * areas[main]:
            continue
        alike = (
            areas[part] > 0.6 * areas[main]
            and np.linalg.norm(colour[part] - colour[main]) < 12
            and 0.6 < shape[part] / shape[main] < 1.7
        )
        belongs = bool((around & (labels == part + 1)).any()) and areas[part] < 0.3 * areas[main]
        strange += 0.0 if alike or belongs else areas[part] / areas[main]
    return 1.0 if strange == 0 else 0.7 / (1 + strange)


def _inside(mask: Flags) -> float:
    """1 where the subject keeps within the frame, or leaves it as a standing person does; less, the more it is cut."""
    height, width = mask.shape
    top, bottom = mask[0].mean(), mask[-1].mean()
    left, right = mask[:, 0].mean(), mask[:, -1].mean()
    out = [share > TOUCHES for share in (top, bottom, left, right)]
    border = (mask[0].sum() + mask[-1].sum() + mask[:, 0].sum() + mask[:, -1].sum()) / (2 * (height + width))
    if sum(out) >= 3 or (out[2] and out[3]) or mask.mean() > 0.8:
        return 0.0
    if sum(out) == 2 and not (out[0] and out[1]) and border > 0.2:
        return 0.4
    # A side that is filled from end to end is a wall or a banner, not an arm.
    return 0.3 if max(top, bottom, left, right) > 0.9 else 1.0 - max(0.0, border - 0.2)


def _whole(mask: Flags, distance: Floats) -> float:
    """1 where what touches the subject reaches hardly farther; a mask may lack a bracelet as pale as the backdrop."""
    unlike = cv2.morphologyEx((distance > 2.5).astype(np.uint8) | mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, labels = cv2.connectedComponents(unlike | mask, connectivity=8)
    touching = np.isin(labels, np.unique(labels[mask > 0]))
    reach = 0
    for axis in (0, 1):
        loose, tight = np.flatnonzero(touching.any(axis=axis)), np.flatnonzero(mask.any(axis=axis))
        reach = max(reach, tight[0] - loose[0], loose[-1] - tight[-1])
    return 1.0 if reach < LEFT_OUT * max(mask.shape) else 0.5


def _stands_out(mask: Flags, distance: Floats, backdrop: Floats) -> float:
    """How much of the outline's inside is unlike the backdrop. What is left of a white one is not seen on white."""
    if backdrop[..., 0].mean() > WHITE:
        return 1.0
    rim = (mask - cv2.erode(mask, np.ones((3, 3), np.uint8))) > 0
    return min(1.0, float((distance[rim] > 10).mean()) / 0.8)
