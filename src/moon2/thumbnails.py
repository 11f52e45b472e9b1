"""Small images: to be kept, to be sent, and inside a page, so that the page needs no file beside it."""

from __future__ import annotations

import base64
import io

from PIL import Image

from moon2.images import ImageError, ImageSource, LongestSide, open_image


def open_small(source: ImageSource, side: int) -> Image.Image:
    """An image with no side longer than `side` pixels.

    Raises:
        ImageError: it cannot be read.
    """
    image = open_image(source, read_at=LongestSide(side))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)  # one that is not much larger was opened at its own size
    return image


def thumbnail(source: ImageSource | None, side: int) -> str | None:
    """An image, no side longer than `side` pixels, as a data URI; None where there is none, "" if it cannot be
    read.
    """
    if source is None:
        return None
    try:
        image = open_small(source, side)
    except ImageError:
        return ""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
