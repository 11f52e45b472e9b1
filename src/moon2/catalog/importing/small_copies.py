"""Small copies of large images, for a catalog of photos that are larger than any model reads them."""

from __future__ import annotations

import io
from pathlib import Path

from moon2.images import LongestSide, ReadingSize, open_image

# Of the JPEG; at 90, chroma at half resolution, a copy of 512 pixels a side takes about 60 kB.
QUALITY = 90


def small_copy(image: bytes | Path, where: str, max_side: int) -> bytes:
    """The bytes of an image's file as they are, or of a smaller copy where a side is longer than `max_side` pixels.

    A copy is an upright JPEG of quality 90; what was transparent is white, as everywhere in moon2. A JPEG is decoded at
    no more than the copy takes.

    Raises:
        ImageError: it cannot be read; see `open_image`.
    """
    noted = _Noted(LongestSide(max_side))
    opened = open_image(image, where, noted)
    if not noted.is_larger:
        return image.read_bytes() if isinstance(image, Path) else image
    copy = io.BytesIO()
    opened.resize(noted(*opened.size), noted.resample).save(copy, "JPEG", quality=QUALITY)
    return copy.getvalue()


class _Noted:
    """A reading size that notes whether the image it was asked about is larger."""

    def __init__(self, read_at: ReadingSize) -> None:
        self.read_at = read_at
        self.resample = read_at.resample
        self.is_larger = False

    def __call__(self, width: int, height: int) -> tuple[int, int]:
        reading = self.read_at(width, height)
        self.is_larger |= reading != (width, height)
        return reading
