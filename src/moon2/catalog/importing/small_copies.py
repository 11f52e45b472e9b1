"""Small copies of large images, for a catalog of photos that are larger than any model reads them."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from moon2.images import open_image

# Of the JPEG; at 90, chroma at half resolution, a copy of 512 pixels a side takes about 60 kB.
QUALITY = 90


def small_copy(image: bytes | Path, where: str, max_side: int) -> bytes:
    """The bytes of an image's file as they are, or of a smaller copy where a side is longer than `max_side` pixels.

    A copy is an upright JPEG of quality 90; what was transparent is white, as everywhere in moon2. A JPEG is decoded at
    no more than the copy takes.

    Raises:
        ImageError: it cannot be read; see `open_image`.
    """
    fitted = _Fitted(max_side)
    opened = open_image(image, where, fitted)
    if not fitted.is_larger:
        return image.read_bytes() if isinstance(image, Path) else image
    copy = io.BytesIO()
    opened.resize(fitted(*opened.size), fitted.resample).save(copy, "JPEG", quality=QUALITY)
    return copy.getvalue()


class _Fitted:
    """A reading size with no side longer than `side`; notes whether an image that it was asked about was larger."""

    resample = Image.Resampling.LANCZOS

    def __init__(self, side: int) -> None:
        self.side = side
        self.is_larger = False

    def __call__(self, width: int, height: int) -> tuple[int, int]:
        longest = max(width, height)
        if longest <= self.side:
            return width, height
        self.is_larger = True
        return max(1, round(width * self.side / longest)), max(1, round(height * self.side / longest))
