"""The provider `opencv`: main image and variants with OpenCV alone, for when no editing model is at hand.

The main image is the product cut out and set on clean white. Variants are anchored on the same cut-out: another
backdrop, another viewpoint, other light, a closer look. The product's own colours are kept: light changes by a little,
hue by nearly nothing, because a navy shirt must stay navy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2 as opencv
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moon2.augment.images.backdrops import SCENES, contact_shadow
from moon2.augment.images.provider import Expansion, ImageProvider, Variant, opened_photo
from moon2.augment.images.segmentation import find_subject
from moon2.augment.settings import product_random
from moon2.records import Product

cv2: Any = opencv  # the types it declares lose the dtype of every array

LONGEST_SIDE = 512
QUALITY = 90
LARGEST = 1.5
"""A small product is enlarged by no more than this: beyond, there is only blur to see."""
MARGIN = 0.06
"""Free space around the product in the main image, as a share of the picture's side."""

Pixels = NDArray[np.uint8]
Picture = NDArray[np.float32]


@dataclass(frozen=True)
class CutOut:
    """A product with its mask, both of the size of the pictures to be made.

    Attributes:
        picture: (height, width, 3) float32 RGB, 0 to 255.
        mask: (height, width) float32, 0 to 1; all ones when the product could not be found.
        found: whether it could.
        clear: whether its edge stands out enough for any backdrop.
        cropped: whether it runs out of the photo.
    """

    picture: Picture
    mask: NDArray[np.float32]
    found: bool
    clear: bool
    cropped: bool


class OpenCVProvider(ImageProvider):
    """Main image and variants without any model."""

    name = "opencv"
    model = ""
    prompt = "opencv-v1"

    def expand(self, products: Sequence[Product], count: int, seed: int) -> list[Expansion]:
        """One `Expansion` a product; see `ImageProvider`."""
        # Pictures this small gain nothing from threads, and each worker has a core of its own.
        cv2.setNumThreads(1)
        return [self._expand(product, count, seed) for product in products]

    def _expand(self, product: Product, count: int, seed: int) -> Expansion:
        image = opened_photo(product)
        if isinstance(image, Expansion):
            return image
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
        cut = cut_out(np.asarray(image))
        # Without a cut-out there is no other backdrop to set it on.
        kinds = [kind for kind in FAMILIES if cut.found or kind != "background"]
        first = int(product_random(seed, product.id).integers(len(kinds)))
        variants = []
        for number in range(count):
            kind = kinds[(first + number) % len(kinds)]
            # A generator of its own, so that asking for one variant more changes none of the others.
            made, what = FAMILIES[kind](cut, product_random(seed, product.id, number))
            variants.append(Variant(encoded(made), kind, what))
        reason = "" if cut.found else "main-unsegmented: the product could not be told from its background"
        return Expansion(encoded(main_image(cut)), tuple(variants), reason)


def cut_out(pixels: Pixels) -> CutOut:
    """Finds the product and brings it to the middle, as large as the margin allows but enlarged by half at most."""
    subject = find_subject(pixels)
    if subject is None:
        return CutOut(pixels.astype(np.float32), np.ones(pixels.shape[:2], np.float32), False, False, False)
    picture, mask = subject.picture, subject.mask
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.max(axis=1) > 0.5), np.flatnonzero(mask.max(axis=0) > 0.5)
    if not len(rows):
        return CutOut(pixels.astype(np.float32), np.ones(pixels.shape[:2], np.float32), False, False, False)
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    # What is cut off by the picture's edge stays at that edge: in the middle it would look sawn off.
    if top == 0 or bottom == height or left == 0 or right == width:
        return CutOut(picture, mask, True, subject.clear, True)
    room_y, room_x = height * (1 - 2 * MARGIN), width * (1 - 2 * MARGIN)
    scale = min(room_y / (bottom - top), room_x / (right - left), LARGEST)
    centre_y, centre_x = (top + bottom) / 2, (left + right) / 2
    move = np.array([[scale, 0, width / 2 - scale * centre_x], [0, scale, height / 2 - scale * centre_y]], np.float32)
    flags = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    moved = cv2.warpAffine(picture, move, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    moved_mask = np.clip(cv2.warpAffine(mask, move, (width, height), flags=cv2.INTER_LINEAR), 0, 1)
    return CutOut(np.clip(moved, 0, 255), moved_mask, True, subject.clear, False)


def main_image(cut: CutOut) -> Picture:
    """I_m: the product on clean white; the photo as it is where the product was not found."""
    return _over(cut, np.full_like(cut.picture, 255)) if cut.found else cut.picture


def background(cut: CutOut, random: np.random.Generator) -> tuple[Picture, str]:
    """The product before another backdrop, with a shadow where it stands."""
    # A white product on white is not cut out exactly enough for anything but a light backdrop.
    names = list(SCENES) if cut.clear else ["studio"]
    name = names[int(random.integers(len(names)))]
    height, width = cut.mask.shape
    ground = int(np.flatnonzero(cut.mask.max(axis=1) > 0.5)[-1]) + 1
    backdrop = SCENES[name](height, width, ground, random)
    # Someone who is cut off by the picture's lower edge does not stand on it.
    if ground < height:
        backdrop = backdrop * contact_shadow(cut.mask)[..., None]
    return _over(cut, backdrop), f"{name} backdrop"


def viewpoint(cut: CutOut, random: np.random.Generator) -> tuple[Picture, str]:
    """The product turned a little, seen a little from the side; never mirrored, since that turns writing round."""
    height, width = cut.mask.shape
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    slant = random.uniform(-0.07, 0.07, (4, 2)).astype(np.float32) * np.array([width, height], np.float32)
    angle, scale = float(random.uniform(-9, 9)), float(random.uniform(0.86, 0.98))
    whole = cut.found and not cut.cropped
    if not whole:
        # Where something runs out of the photo, its cut edge must stay outside.
        slant, angle, scale = slant / np.float32(3), angle / 2, scale + 0.14
    turn = np.vstack([cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale), [0, 0, 1]])
    move = cv2.getPerspectiveTransform(corners, (corners + slant).astype(np.float32)) @ turn
    what = f"turned by {angle:.0f}°, in perspective"
    if not cut.found:
        return _warped(cut.picture, move, cv2.BORDER_REFLECT_101), what
    border = cv2.BORDER_CONSTANT if whole else cv2.BORDER_REPLICATE
    mask = np.clip(_warped(cut.mask, move, border), 0, 1)
    turned = CutOut(_warped(cut.picture, move, cv2.BORDER_REPLICATE), mask, cut.found, cut.clear, cut.cropped)
    return _over(turned, SCENES["studio"](height, width, height, random)), what


def lighting(cut: CutOut, random: np.random.Generator) -> tuple[Picture, str]:
    """The main image under other light: exposure, warmth, a gradient, a trace of noise."""
    height, width = cut.mask.shape
    exposure, warmth = float(random.uniform(0.86, 1.12)), float(random.uniform(-0.035, 0.035))
    ramp = np.linspace(-1, 1, width, dtype=np.float32)[None, :] * np.float32(random.uniform(-0.10, 0.10))
    picture = main_image(cut) * exposure * (1 + ramp)[..., None]
    picture = picture * np.array([1 + warmth, 1, 1 - warmth], np.float32)
    picture = picture + random.normal(0, 1.6, (height, width, 1)).astype(np.float32)
    return np.clip(picture, 0, 255), f"exposure {exposure:.2f}"


def detail(cut: CutOut, random: np.random.Generator) -> tuple[Picture, str]:
    """A closer look at a part of the product."""
    height, width = cut.mask.shape
    zoom = float(random.uniform(1.4, 1.9))
    tall, wide = height / zoom, width / zoom
    # The middle of the closer look lies on the product, nearer its middle than its edge.
    weight = cv2.erode(cut.mask, np.ones((3, 3), np.uint8), iterations=max(1, min(height, width) // 16))
    rows, columns = np.nonzero(weight > 0.5)
    if len(rows):
        place = int(random.integers(len(rows)))
        y, x = (rows[place] + rows.mean()) / 2, (columns[place] + columns.mean()) / 2
    else:
        y, x = height / 2, width / 2
    top, left = float(np.clip(y - tall / 2, 0, height - tall)), float(np.clip(x - wide / 2, 0, width - wide))
    move = np.array([[zoom, 0, -zoom * left], [0, zoom, -zoom * top]], np.float32)
    close = cv2.warpAffine(
        main_image(cut), move, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.clip(close, 0, 255), f"{zoom:.1f} times closer"


FAMILIES: dict[str, Callable[[CutOut, np.random.Generator], tuple[Picture, str]]] = {
    "background": background,
    "viewpoint": viewpoint,
    "lighting": lighting,
    "detail": detail,
}


def encoded(picture: Picture) -> bytes:
    """WebP of an RGB picture, 0 to 255."""
    bgr = np.clip(picture[..., ::-1] + 0.5, 0, 255).astype(np.uint8)
    done, data = cv2.imencode(".webp", np.ascontiguousarray(bgr), [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    assert done
    return data.tobytes()


def _over(cut: CutOut, backdrop: Picture) -> Picture:
    mask = cut.mask[..., None]
    return cut.picture * mask + backdrop * (1 - mask)


def _warped(picture: NDArray[np.float32], move: np.ndarray, border: int = cv2.BORDER_CONSTANT) -> NDArray[np.float32]:
    height, width = picture.shape[:2]
    warped: NDArray[np.float32] = cv2.warpPerspective(
        picture, move, (width, height), flags=cv2.INTER_LINEAR, borderMode=border
    )
    return warped
