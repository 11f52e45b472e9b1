"""Small images for the catalog's tests."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from PIL import Image


@pytest.fixture(scope="session")
def image_bytes() -> Callable[..., bytes]:
    """Makes the bytes of a small image file of one colour."""

    def encode(colour: str = "navy", format: str = "PNG", size: tuple[int, int] = (12, 16)) -> bytes:
        encoded = io.BytesIO()
        Image.new("RGB", size, colour).save(encoded, format=format)
        return encoded.getvalue()

    return encode
