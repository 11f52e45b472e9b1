"""The provider `opencv`: main image and variants without a model.

The main image is the product cut out and set on clean white. Variants are anchored on the same cut-out: another
backdrop, another viewpoint, other light, a closer look. Light changes by a little and hue by nearly nothing, because a
navy shirt must stay navy.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2 as opencv
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moon2.augment.images.backdrops import SCENES, FloatImage, contact_shadow
from moon2.augment.images.confidence import SURE
from moon2.augment.images.provider import Expansion, ImageProvider, Variant, first_image, product_random
from moon2.augment.images.segmentation import find_subject
from moon2.augment.text.lexicon import load_words, phrases_pattern
from moon2.augment.text.sanitize import CleanProduct
from moon2.images import LongestSide

cv2: Any = opencv  # the types it declares lose the dtype of every array

_FLAT = re.compile(rf"(?<![^\W_])(?:{phrases_pattern(load_words('flat_goods'))})s?(?![^\W_])", re.IGNORECASE)
LONGEST_SIDE = 512
QUALITY = 90
MAX_ENLARGEMENT = 1.5
"""Of a small product: beyond, there is only blur to see."""
MARGIN = 0.06
"""Free space around the product in the main image, as a share of the image's side."""


@dataclass(frozen=True)
class CutOut:
    """A product with its mask, both of the size of the images to be made.

    Attributes:
        image: (height, width, 3) float32 RGB, 0 to 255.
        mask: (height, width) float32, 0 to 1; all ones when the product is not segmented.
        shade: (height, width) float32, 0 to 1: the light that its shadow leaves on a backdrop.
        segmented: whether the product stands out from its background.
        clear: whether its edge is clear enough for any backdrop.
        cropped: whether the photo's edge cuts it off.
    """

    image: FloatImage
    mask: NDArray[np.float32]
    shade: NDArray[np.float32]
    segmented: bool
    clear: bool
    cropped: bool


class OpenCVProvider(ImageProvider):
    """Main image and variants without any model."""

    name = "opencv"
    model = ""
    prompt = "opencv-v2"

    def __init__(self, *_: object) -> None:
        """Needs neither settings nor prompts."""
        # Images this small gain nothing from threads, and each worker has a core of its own.
        cv2.setNumThreads(1)

    def expand(self, product: CleanProduct, count: int, seed: int) -> Expansion:
        """See `ImageProvider`.

        Raises:
            ProductError: `no_image`, `unreadable_image`.
        """
        image = first_image(product, LongestSide(LONGEST_SIDE))
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
        cut = uncut(np.asarray(image)) if fills_its_frame(product) else cut_out(np.asarray(image))
        # Another backdrop needs a cut-out to set on it.
        kinds = [kind for kind in VARIANTS if cut.segmented or kind != "background"]
        first = int(product_random(seed, product.id).integers(len(kinds)))
        variants = []
        for number in range(count):
            kind = kinds[(first + number) % len(kinds)]
            # A generator of its own, so that one variant more changes none of the others.
            pixels, description = VARIANTS[kind](cut, product_random(seed, product.id, number))
            variants.append(Variant(encode(pixels), kind, description))
        reason = "" if cut.segmented else "main-unsegmented: no cut-out is surely the product alone, so the photo stays"
        return Expansion(encode(main_image(cut)), tuple(variants), reason)


def fills_its_frame(product: CleanProduct) -> bool:
    """Whether the shop calls it a picture, a rug or the like: there the figure in the middle is not the product."""
    text = ", ".join([product.title, *product.category[-1:]])
    return _FLAT.search(text) is not None


def cut_out(pixels: NDArray[np.uint8]) -> CutOut:
    """Moves the product to the middle, as large as the margin allows but enlarged by half at most.

    Args:
        pixels: (height, width, 3) uint8 RGB.
    """
    subject = find_subject(pixels)
    if subject is None or subject.confidence < SURE or subject.mask.max() <= 0.5:
        return uncut(pixels)
    image, mask = subject.image, subject.mask
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.max(axis=1) > 0.5), np.flatnonzero(mask.max(axis=0) > 0.5)
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    # In the middle, a product that the photo's edge cuts off would look sawn off.
    if top == 0 or bottom == height or left == 0 or right == width:
        return CutOut(image, mask, subject.shade, True, subject.clear, True)
    room_y, room_x = height * (1 - 2 * MARGIN), width * (1 - 2 * MARGIN)
    scale = min(room_y / (bottom - top), room_x / (right - left), MAX_ENLARGEMENT)
    centre_y, centre_x = (top + bottom) / 2, (left + right) / 2
    move = np.array([[scale, 0, width / 2 - scale * centre_x], [0, scale, height / 2 - scale * centre_y]], np.float32)
    flags = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    moved = cv2.warpAffine(image, move, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    moved_mask = np.clip(cv2.warpAffine(mask, move, (width, height), flags=cv2.INTER_LINEAR), 0, 1)
    shade = cv2.warpAffine(subject.shade, move, (width, height), flags=cv2.INTER_LINEAR, borderValue=1)
    return CutOut(np.clip(moved, 0, 255), moved_mask, shade, True, subject.clear, False)


def uncut(pixels: NDArray[np.uint8]) -> CutOut:
    """The photo as it is, (height, width, 3) uint8 RGB, where no cut-out is surely the product."""
    whole = np.ones(pixels.shape[:2], np.float32)
    return CutOut(pixels.astype(np.float32), whole, whole, False, False, False)


def main_image(cut: CutOut) -> FloatImage:
    """I_m: the product and its shadow on clean white; the photo as it is where the product is not segmented."""
    return _over(cut, 255 * np.repeat(cut.shade[..., None], 3, axis=2)) if cut.segmented else cut.image


def background(cut: CutOut, random: np.random.Generator) -> tuple[FloatImage, str]:
    """The product before another backdrop, with a shadow where it stands."""
    # The edge of a white product on white is not exact enough for any but a light backdrop.
    names = list(SCENES) if cut.clear else ["studio"]
    name = names[int(random.integers(len(names)))]
    height, width = cut.mask.shape
    ground = int(np.flatnonzero(cut.mask.max(axis=1) > 0.5)[-1]) + 1
    backdrop = SCENES[name](height, width, ground, random)
    # What the lower edge cuts off does not stand on it.
    if ground < height:
        backdrop = backdrop * contact_shadow(cut.mask)[..., None]
    return _over(cut, backdrop), f"{name} backdrop"


def viewpoint(cut: CutOut, random: np.random.Generator) -> tuple[FloatImage, str]:
    """The product turned a little, seen a little from the side; never mirrored, because that reverses letters."""
    height, width = cut.mask.shape
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    slant = random.uniform(-0.07, 0.07, (4, 2)).astype(np.float32) * np.array([width, height], np.float32)
    angle, scale = float(random.uniform(-9, 9)), float(random.uniform(0.86, 0.98))
    whole = cut.segmented and not cut.cropped
    if not whole:
        # The cut edge of a cropped product must stay outside the image.
        slant, angle, scale = slant / np.float32(3), angle / 2, scale + 0.14
    turn = np.vstack([cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale), [0, 0, 1]])
    move = cv2.getPerspectiveTransform(corners, (corners + slant).astype(np.float32)) @ turn
    description = f"turned by {angle:.0f}°, in perspective"
    if not cut.segmented:
        return _warped(cut.image, move, cv2.BORDER_REFLECT_101), description
    border = cv2.BORDER_CONSTANT if whole else cv2.BORDER_REPLICATE
    mask = np.clip(_warped(cut.mask, move, border), 0, 1)
    turned = replace(cut, image=_warped(cut.image, move, cv2.BORDER_REPLICATE), mask=mask)
    return _over(turned, SCENES["studio"](height, width, height, random)), description


def lighting(cut: CutOut, random: np.random.Generator) -> tuple[FloatImage, str]:
    """The main image under other light: exposure, warmth, a gradient, a trace of noise."""
    height, width = cut.mask.shape
    exposure, warmth = float(random.uniform(0.86, 1.12)), float(random.uniform(-0.035, 0.035))
    ramp = np.linspace(-1, 1, width, dtype=np.float32)[None, :] * np.float32(random.uniform(-0.10, 0.10))
    image = main_image(cut) * exposure * (1 + ramp)[..., None]
    image = image * np.array([1 + warmth, 1, 1 - warmth], np.float32)
    image = image + random.normal(0, 1.6, (height, width, 1)).astype(np.float32)
    return np.clip(image, 0, 255), f"exposure {exposure:.2f}"


def detail(cut: CutOut, random: np.random.Generator) -> tuple[FloatImage, str]:
    """A closer look at a part of the product."""
    height, width = cut.mask.shape
    zoom = float(random.uniform(1.4, 1.9))
    tall, wide = height / zoom, width / zoom
    # The centre of the closer look lies on the product, nearer its middle than its edge.
    weight = cv2.erode(cut.mask, np.ones((3, 3), np.uint8), iterations=max(1, min(height, width) // 16))
    rows, columns = np.nonzero(weight > 0.5)
    if len(rows):
        pixel = int(random.integers(len(rows)))
        y, x = (rows[pixel] + rows.mean()) / 2, (columns[pixel] + columns.mean()) / 2
    else:
        y, x = height / 2, width / 2
    top, left = float(np.clip(y - tall / 2, 0, height - tall)), float(np.clip(x - wide / 2, 0, width - wide))
    move = np.array([[zoom, 0, -zoom * left], [0, zoom, -zoom * top]], np.float32)
    close = cv2.warpAffine(
        main_image(cut), move, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.clip(close, 0, 255), f"{zoom:.1f} times closer"


VARIANTS: dict[str, Callable[[CutOut, np.random.Generator], tuple[FloatImage, str]]] = {
    "background": background,
    "viewpoint": viewpoint,
    "lighting": lighting,
    "detail": detail,
}


def encode(image: FloatImage) -> bytes:
    """WebP of an RGB image, 0 to 255."""
    bgr = np.clip(image[..., ::-1] + 0.5, 0, 255).astype(np.uint8)
    success, data = cv2.imencode(".webp", np.ascontiguousarray(bgr), [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    assert success
    return data.tobytes()


def _over(cut: CutOut, backdrop: FloatImage) -> FloatImage:
    mask = cut.mask[..., None]
    return cut.image * mask + backdrop * (1 - mask)


def _warped(image: NDArray[np.float32], move: np.ndarray, border: int = cv2.BORDER_CONSTANT) -> NDArray[np.float32]:
    height, width = image.shape[:2]
    warped: NDArray[np.float32] = cv2.warpPerspective(
        image, move, (width, height), flags=cv2.INTER_LINEAR, borderMode=border
    )
    return warped
