"""Images as files, large photos that are made up (the same as those of the benchmark), and a size to read them at."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from PIL import Image

from support.benchmark_scripts import load_script

synthetic_photo = load_script("image_loading").synthetic_photo


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    """An image as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, format=format, **options)
    return file.getvalue()


@dataclass(frozen=True)
class FewPixels:
    """A reading size: so many pixels or a little fewer, whatever the image."""

    pixels: int = 25_000
    resample: Image.Resampling = Image.Resampling.BICUBIC

    def __call__(self, width: int, height: int) -> tuple[int, int]:
        scale = (self.pixels / (width * height)) ** 0.5
        return int(width * scale), int(height * scale)
