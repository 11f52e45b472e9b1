"""Large photos, made up."""

from __future__ import annotations

import numpy as np
from PIL import Image


def synthetic_photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """RGB with forms of every size, the larger the stronger as in nature, and the grain of a camera."""
    random = np.random.default_rng(seed)
    shades = np.zeros((height, width, 3), np.float32)
    for octave in range(1, 10):
        cells = 2**octave
        coarse = random.integers(0, 256, (max(2, cells * height // width), cells, 3), dtype=np.uint8)
        smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        shades += np.asarray(smooth, np.float32) * 0.65**octave
    shades += 20 * random.random((height, width, 1), dtype=np.float32)
    shades -= shades.min()
    return Image.fromarray((shades * (255 / shades.max())).astype(np.uint8))
