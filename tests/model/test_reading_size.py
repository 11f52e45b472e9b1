"""An image scaled to its reading size beforehand gives the same visual tokens, and nearly the same vector."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.photos import synthetic_photo
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize
from transformers.models.smolvlm.image_processing_pil_smolvlm import get_resize_output_image_size

from moon2 import Encoder
from moon2.images import LongestSide, open_image
from moon2.model.items import Item
from moon2.model.reading_size import QwenReadingSize, TileReadingSize

BICUBIC = Image.Resampling.BICUBIC
LIMITS = ((20, 1200, 4800), (16, 256, 1024), (28, 3136, 200_704), (32, 65_536, 262_144), (32, 100, 400))


def random_sizes(number: int) -> list[tuple[int, int]]:
    """Sides from 1 to 16,000 pixels in every proportion."""
    draw = random.Random(0)
    return [(int(2 ** draw.uniform(0, 14)), int(2 ** draw.uniform(0, 14))) for _ in range(number)]


@pytest.mark.parametrize(("unit", "smallest", "largest"), LIMITS)
def test_qwen_reads_whole_tokens_within_the_limit_and_settles(unit: int, smallest: int, largest: int) -> None:
    reading_size = QwenReadingSize(unit, smallest, largest, BICUBIC)
    for size in random_sizes(5000):
        width, height = reading_size(*size)
        assert not width % unit and not height % unit
        assert width * height <= max(largest, unit * unit), f"{size} is read at {width} × {height}"
        assert reading_size(width, height) == (width, height)


def test_qwen_reads_ordinary_images_at_the_size_of_its_own_processor() -> None:
    reading_size = QwenReadingSize(32, 65_536, 262_144, BICUBIC)
    for width, height in random_sizes(5000):
        if max(width, height) < 20 * min(width, height):
            assert reading_size(width, height) == smart_resize(height, width, 32, 65_536, 262_144)[::-1]


@pytest.mark.parametrize("side", [32, 384, 512])
def test_a_tile_is_read_at_the_size_of_its_own_processor(side: int) -> None:
    reading_size = TileReadingSize(side, BICUBIC)
    for width, height in random_sizes(2000):
        size = reading_size(width, height)
        assert reading_size(*size) == size
        if max(width, height) < side * min(width, height):
            assert size == get_resize_output_image_size(np.empty((0, height, width)), side)[::-1]


@pytest.mark.parametrize(
    ("backbone", "max_pixels"), [("tiny", 1024), ("tiny", 5000), ("qwen2_5_vl", 5000), ("smolvlm", 5000)]
)
def test_large_images_of_any_shape_give_the_same_tokens(
    backbone: str, max_pixels: int, new_encoder: Callable[..., Encoder]
) -> None:
    processor = new_encoder(backbone, max_pixels=max_pixels).processor
    for size in ((301, 299), (997, 1003), (1500, 401), (77, 1999), (4001, 24), (15, 3001), (9000, 8), (5, 9001)):
        file = io.BytesIO()
        Image.new("RGB", size, "navy").save(file, "JPEG")
        large, small = open_image(file), open_image(file, read_at=processor.reading_size)
        assert (large.size, small.size) == (size, processor.reading_size(*size))
        images = processor.family.image_tensors(processor.image_processor, processor.config, [large, small])
        assert images[0].tokens == images[1].tokens, size


@pytest.fixture(scope="module")
def photos() -> dict[str, bytes]:
    """A photo of 9 million pixels in each format, by the format's name."""
    photo = synthetic_photo(3203, 3001)
    options: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": 92},
        "PNG": {"compress_level": 1},
        "WEBP": {"quality": 85, "method": 0},
    }
    files = {format: io.BytesIO() for format in options}
    for format, file in files.items():
        photo.save(file, format, **options[format])
    return {format: file.getvalue() for format, file in files.items()}


def test_vectors_are_those_of_the_whole_image(encoder: Encoder, photos: dict[str, bytes]) -> None:
    whole = encoder.encode([Item(images=[open_image(photo)]) for photo in photos.values()])
    for format, one, other in zip(photos, whole, encoder.encode(list(photos.values())), strict=True):
        assert float(one @ other) >= 0.999, format


def test_who_shows_an_image_gets_it_larger(encoder: Encoder) -> None:
    large = Image.new("RGB", (2000, 1500), "navy")
    assert encoder.processor.item(large, read_at=LongestSide(800)).images[0].size == (800, 600)
    assert encoder.processor.item(large).images[0].size == encoder.processor.reading_size(*large.size)
