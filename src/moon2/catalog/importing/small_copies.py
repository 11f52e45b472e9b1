"""Small copies of large images, for a catalog of photos that are larger than any model reads them."""

from __future__ import annotations

import io
from pathlib import Path

from moon2.images import LongestSide, NotedSize, open_image

# Of the JPEG; at 90, chroma at half resolution, a copy of 512 pixels a side takes about 60 kB.
QUALITY = 90


def small_copy(image: bytes | Path, where: str, max_side: int) -> bytes:
    """The bytes of an image's file as they are, or of a smaller copy where a side is longer than `max_side` pixels.

    A copy is an upright JPEG of quality 90; what was transparent is white, as everywhere in moon2. A JPEG is decoded at
    no more than the copy takes.

    Raises:
        ImageError: it cannot be read; see `open_image`.
    """
    noted = NotedSize(LongestSide(max_side))
    opened = open_image(image, where, noted)
    if noted.reading == noted.original:
        return image.read_bytes() if isinstance(image, Path) else image
    copy = io.BytesIO()
    opened.resize(noted(*opened.size), noted.resample).save(copy, "JPEG", quality=QUALITY)
    return copy.getvalue()
