"""Products drawn with a known outline before even backdrops are segmented by it; before clutter nothing is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from moon2.augment.images.confidence import SURE
from moon2.augment.images.segmentation import find_subject

HEIGHT, WIDTH = 96, 80


def _shape(kind: str, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    if kind == "disc":
        cv2.circle(mask, (width // 2, height // 2), width // 4, 1, -1)
    elif kind == "box":
        cv2.rectangle(mask, (width // 4, height // 4), (3 * width // 4, 3 * height // 4), 1, -1)
    else:
        corners = [[width // 2, height // 6], [width // 6, 5 * height // 6], [5 * width // 6, 5 * height // 6]]
        cv2.fillPoly(mask, [np.array(corners, np.int32)], 1)
    return mask


def _photo(mask: np.ndarray, colour: tuple[int, int, int], backdrop: np.ndarray, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1.5, (*mask.shape, 3))
    image = np.where(mask[..., None] > 0, np.array(colour, np.float32), backdrop) + noise
    return np.clip(image, 0, 255).astype(np.uint8)


def _even(colour: int = 250, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.full((height, width, 3), colour, np.float32)


def _cluttered(seed: int) -> np.ndarray:
    """Tiles of two muted colours with things in the corners."""
    random = np.random.default_rng(seed)
    image = _even(0)
    colours = random.integers(90, 170, (2, 3))
    for row in range(0, HEIGHT, 12):
        for column in range(0, WIDTH, 12):
            image[row : row + 12, column : column + 12] = colours[(row + column) // 12 % 2]
    for corner in ((6, 6), (WIDTH - 7, 8)):
        cv2.circle(image, corner, 5, random.integers(60, 200, 3).tolist(), -1)
    return image


def _overlap(mask: np.ndarray, true: np.ndarray) -> float:
    inside = mask > 0.5
    return float((inside & (true > 0)).sum() / (inside | (true > 0)).sum())


@pytest.mark.parametrize("kind", ["disc", "box", "triangle"])
@pytest.mark.parametrize("colour", [(20, 30, 90), (200, 40, 50), (128, 128, 128), (240, 200, 60)])
def test_segmented_before_an_even_backdrop(kind: str, colour: tuple[int, int, int]) -> None:
    true = _shape(kind)
    subject = find_subject(_photo(true, colour, _even()))
    assert subject is not None and subject.clear and subject.confidence >= SURE
    assert _overlap(subject.mask, true) > 0.93


def test_light_that_falls_off_is_still_backdrop() -> None:
    true = _shape("box")
    backdrop = _even(235) * np.linspace(1.05, 0.82, WIDTH)[None, :, None]
    subject = find_subject(_photo(true, (60, 120, 70), backdrop))
    assert subject is not None and _overlap(subject.mask, true) > 0.9


def test_before_clutter_nothing_is_surely_the_product() -> None:
    for seed in range(6):
        subject = find_subject(_photo(_shape("disc"), (220, 30, 60), _cluttered(seed), seed))
        assert subject is None or subject.confidence < SURE


def test_white_on_white_is_not_eaten() -> None:
    true = _shape("box")
    image = _even(255)
    image[true > 0] = 254
    outline = true - cv2.erode(true, np.ones((3, 3), np.uint8))
    image[outline > 0] = 236  # the faint shade at a white shirt's seam
    subject = find_subject(image.astype(np.uint8))
    assert subject is not None
    assert subject.mask[true > 0].mean() > 0.95


def test_the_soft_shadow_of_a_dark_product_is_left_out() -> None:
    true = _shape("disc")
    shadow = cv2.GaussianBlur(np.roll(true, (8, 6), (0, 1)).astype(np.float32), (0, 0), 4) * 45
    image = _photo(true, (30, 30, 40), _even() - shadow[..., None])
    subject = find_subject(image)
    assert subject is not None and _overlap(subject.mask, true) > 0.85


def test_the_edge_holds_no_backdrop() -> None:
    true = _shape("disc", 320, 320)
    sharp = _photo(true, (20, 20, 120), _even(255, 320, 320))
    subject = find_subject(cv2.GaussianBlur(sharp, (0, 0), 1.5))
    assert subject is not None
    half = (subject.mask > 0.3) & (subject.mask < 0.7)
    assert half.sum() > 50
    assert np.abs(subject.image[half] - (20, 20, 120)).mean() < 30  # the photo itself is about 100 off there


@pytest.mark.parametrize("image", [_even(255), _even(255)[:5, :5], _even(128, 8, 200)])
def test_without_a_product_there_is_no_mask(image: np.ndarray) -> None:
    assert find_subject(image.astype(np.uint8)) is None


def test_the_shadow_is_light_taken_from_the_backdrop() -> None:
    true = _shape("disc")
    shadow = cv2.GaussianBlur(np.roll(true, (8, 6), (0, 1)).astype(np.float32), (0, 0), 4) * 45
    subject = find_subject(_photo(true, (30, 30, 40), _even() - shadow[..., None]))
    assert subject is not None
    beside = subject.mask < 0.1
    assert subject.shade[beside & (shadow > 20)].mean() < 0.97
    assert subject.shade[beside & (shadow < 0.5)].mean() > 0.99


def test_the_same_image_gives_the_same_mask() -> None:
    image = _photo(_shape("disc"), (200, 40, 50), _even())
    first, again = find_subject(image), find_subject(image)
    assert first is not None and again is not None
    assert np.array_equal(first.mask, again.mask)
