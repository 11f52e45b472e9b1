"""What it costs to open large images, and how fast a loader delivers triplets.

    python benchmarks/image_loading.py [--megapixels 12] [--max_pixels 262144] [--repeats 7]
                                       [--data DATA] [--workers 0 1 2] [--batches 12]

First: milliseconds an image of a JPEG, PNG and WebP photo, made up, decoded whole and then scaled, decoded at reading
size, and from the cache; and the cosine of `tiny`'s vectors with those of whole decoding. Then, with --data: triplets a
second of the loader on that catalog, by number of workers. One thread; prints one JSON object.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from moon2.catalog.store import Catalog
from moon2.catalog.triplets import training_triplets
from moon2.image_cache import ImageCache
from moon2.images import open_image
from moon2.model.encoder import Encoder
from moon2.model.items import Item
from moon2.recipe import InputSettings, Recipe
from moon2.train.batches import ChunkLayout
from moon2.train.loading import Loader
from moon2.train.stream import TripletBatches, TripletStream

FORMATS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95},
    "PNG": {"compress_level": 6},
    "WEBP": {"quality": 90, "method": 2},
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, default=12.0)
    parser.add_argument("--max_pixels", type=int, default=262_144)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--data", default=None)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--batches", type=int, default=12)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    recipe = Recipe(input=InputSettings(max_pixels=options.max_pixels))
    encoder = Encoder.from_recipe(recipe, ["a photo of a product"])
    result: dict[str, Any] = {"megapixels": options.megapixels, "max_pixels": options.max_pixels}
    result["images"] = opening(encoder, options.megapixels, options.repeats)
    if options.data:
        catalog = Catalog.open(options.data)
        result["loader"] = [delivered(encoder, catalog, number, options.batches) for number in options.workers]
    print(json.dumps(result))


def opening(encoder: Encoder, megapixels: float, repeats: int) -> list[dict[str, Any]]:
    """Of each format, what its photo costs and how near its vectors are."""
    read_at = encoder.processor.reading_size
    photo = synthetic_photo(round((megapixels * 1e6 * 4 / 3) ** 0.5), round((megapixels * 1e6 * 3 / 4) ** 0.5))
    rows = []
    for format, settings in FORMATS.items():
        encoded = io.BytesIO()
        photo.save(encoded, format, **settings)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "photo"
            path.write_bytes(encoded.getvalue())
            cache = ImageCache(Path(folder) / "cache", 1e9)
            cache(path, read_at=read_at)

            def whole(path: Path = path) -> Image.Image:
                image = open_image(path)
                return image.resize(read_at(*image.size), read_at.resample)

            ways: dict[str, Callable[[], Image.Image]] = {
                "whole": whole,
                "reduced": lambda path=path: open_image(path, read_at=read_at),
                "cached": lambda path=path, cache=cache: cache(path, read_at=read_at),
            }
            seconds: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(repeats):  # in turn, so that a machine whose speed drifts slows all
                for way, open_it in ways.items():
                    started = time.perf_counter()
                    open_it()
                    seconds[way].append(time.perf_counter() - started)
            vectors = encoder.encode([Item(images=[open_it()]) for open_it in ways.values()])
        row: dict[str, Any] = {"format": format, "megabytes": round(encoded.tell() / 1e6, 2)}
        row |= {f"{way}_ms": round(1000 * statistics.median(times), 1) for way, times in seconds.items()}
        row |= {f"{way}_cosine": round(float(vectors[0] @ vectors[n]), 6) for n, way in enumerate(ways) if n}
        rows.append(row)
    return rows


def delivered(encoder: Encoder, catalog: Catalog, workers: int, batches: int, batch_size: int = 64) -> dict[str, Any]:
    """Triplets a second of a loader whose batches nobody works on, after those with which the workers start."""
    recipe = Recipe()
    stream = TripletStream(
        training_triplets(catalog, recipe.training.seed),
        catalog,
        encoder.processor,
        recipe.image_transforms,
        recipe.augmentations,
        length=batch_size * (batches + 1 + 2 * workers),
        seed=recipe.training.seed,
    )
    batches_of_stream = TripletBatches(stream, batch_size, ChunkLayout(encoder.processor))
    loaded = iter(Loader(batches_of_stream, workers, memory=4_000_000_000))
    for _ in range(1 + 2 * workers):
        next(loaded)
    started = time.perf_counter()
    triplets = sum(batch.size for batch in loaded)
    return {"workers": workers, "triplets_per_second": round(triplets / (time.perf_counter() - started), 1)}


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


if __name__ == "__main__":
    main()
