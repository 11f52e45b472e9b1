"""Whether a cut-out is surely the product: one thing, or a pair of one; whole in the frame."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from moon2.augment.images.confidence import SURE
from moon2.augment.images.segmentation import find_subject

SIDE = 120
BLUE, RED = (30, 60, 150), (190, 40, 40)


def photo(*discs: tuple[int, int, int, tuple[int, int, int]]) -> np.ndarray:
    """White, with discs: x, y, radius, colour."""
    image = np.full((SIDE, SIDE, 3), 255, np.uint8)
    for x, y, radius, colour in discs:
        cv2.circle(image, (x, y), radius, colour, -1)
    return image


def banner(image: np.ndarray) -> np.ndarray:
    cv2.rectangle(image, (0, 100), (SIDE, SIDE), (20, 20, 20), -1)
    return image


def words(image: np.ndarray) -> np.ndarray:
    cv2.putText(image, "NEW", (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, RED, 1)
    return image


@pytest.mark.parametrize(
    ("image", "is_sure"),
    [
        pytest.param(photo((60, 60, 30, BLUE)), True, id="one thing"),
        pytest.param(photo((30, 60, 22, BLUE), (90, 60, 22, BLUE)), True, id="a pair"),
        pytest.param(photo((60, 60, 30, BLUE), (60, 26, 3, RED)), True, id="a small part close to it"),
        pytest.param(words(photo((60, 66, 30, BLUE))), True, id="small words, which are left out"),
        pytest.param(photo((30, 60, 22, BLUE), (90, 60, 22, RED)), False, id="two things"),
        pytest.param(photo((40, 60, 30, BLUE), (104, 20, 11, BLUE)), False, id="another thing in the corner"),
        pytest.param(banner(photo((60, 50, 30, BLUE))), False, id="a banner"),
        pytest.param(photo((60, 90, 80, BLUE)), False, id="a close-up that leaves the frame"),
    ],
)
def test_only_one_whole_thing_is_surely_the_product(image: np.ndarray, is_sure: bool) -> None:
    subject = find_subject(image)
    assert (subject is not None and subject.confidence >= SURE) == is_sure
