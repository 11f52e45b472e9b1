"""The size at which a family of models reads an image, from the image's own size alone.

It is that of the family's image processor, so an image scaled to it beforehand gives the same visual tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize


@dataclass(frozen=True)
class QwenReadingSize:
    """Sides that are multiples of a visual token's, and a product within limits.

    Attributes:
        unit: side in pixels of what becomes one visual token.
        min_pixels, max_pixels: limits of width × height; an image is always one token at least.
        resample: see `ReadingSize`.
    """

    unit: int
    min_pixels: int
    max_pixels: int
    resample: Image.Resampling

    def __call__(self, width: int, height: int) -> tuple[int, int]:
        """Width and height in pixels, of the image and as it is read."""
        # Ribbons of more than 200 to 1, which Qwen refuses, are squeezed.
        width, height = max(width, height // 199 + 1), max(height, width // 199 + 1)
        height, width = smart_resize(height, width, self.unit, self.min_pixels, self.max_pixels)
        # A ribbon is one token wide at least, and its length then has to give way.
        longest = max(1, self.max_pixels // (min(width, height) * self.unit)) * self.unit
        return min(width, longest), min(height, longest)


@dataclass(frozen=True)
class TileReadingSize:
    """SmolVLM's: the longer side is that of the tile, the shorter one even; the processor then fills the tile.

    Attributes:
        side: of the tile, in pixels.
        resample: see `ReadingSize`.
    """

    side: int
    resample: Image.Resampling

    def __call__(self, width: int, height: int) -> tuple[int, int]:
        """Width and height in pixels, of the image and as it is read."""
        # In the processor's own order of operations, whose rounding decides a pixel.
        if width >= height:
            return self.side, self._even(self.side / (width / height))
        return self._even(self.side * (width / height)), self.side

    def _even(self, length: float) -> int:
        return max(2, 2 * math.ceil(int(length) / 2))


@dataclass(frozen=True)
class ShorterSideReadingSize:
    """The shorter side at most `side` pixels: enough for a model whose own processor scales and crops afterwards.

    Attributes:
        side: in pixels.
        resample: see `ReadingSize`.
    """

    side: int
    resample: Image.Resampling = Image.Resampling.BICUBIC

    def __call__(self, width: int, height: int) -> tuple[int, int]:
        """Width and height in pixels, of the image and as it is read."""
        shorter = min(width, height)
        if shorter <= self.side:
            return width, height
        return width * self.side // shorter, height * self.side // shorter
