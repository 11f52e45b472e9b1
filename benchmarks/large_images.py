"""What large photos cost beside thumbnails: memory of one `encode`, time and memory of training.

    python benchmarks/large_images.py [--images 64] [--megapixels 12] [--max_pixels 262144] [--steps 6] [--batch_size 8]
                                      [--rounds 3] [--formats JPEG PNG WEBP]

Photos are made up, each another one. Thumbnails are the same photos at the size at which `tiny` reads them. Every
measurement is a process of its own; memory is its peak above what it had after imports and with the network loaded.
Training reads photos from files, as after `moon2 import --refer`, through a cache that is empty at the first read.
Prints one JSON object; ratios are large photos over thumbnails, time the median of the rounds, which take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from image_loading import FORMATS, synthetic_photo
from PIL import Image

from moon2.catalog.store import Catalog, write_catalog
from moon2.model.encoder import Encoder
from moon2.recipe import InputSettings, Recipe, TrainingSettings
from moon2.records import Interaction, Product, Query
from moon2.train.train import run_training


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--megapixels", type=float, default=12.0)
    parser.add_argument("--max_pixels", type=int, default=262_144)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=list(FORMATS), help="JPEG trains too")
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    recipe = Recipe(
        input=InputSettings(max_pixels=options.max_pixels),
        training=TrainingSettings(
            steps=options.steps, batch_size=options.batch_size, save_every=options.steps, evaluate_every=0
        ),
    )
    if options.measure:
        what, folder = options.measure
        print(json.dumps({"encode": encode, "train": train}[what](recipe, Path(folder))))
        return
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(compare(options, recipe, Path(folder), list(arguments or sys.argv[1:]))))


def compare(options: argparse.Namespace, recipe: Recipe, folder: Path, arguments: list[str]) -> dict[str, Any]:
    """All measurements."""
    width, height = (round((options.megapixels * 1e6 * ratio) ** 0.5) for ratio in (4 / 3, 3 / 4))
    photo = np.asarray(synthetic_photo(width, height))
    read_at = Encoder.from_recipe(recipe, ["a photo"]).processor.reading_size
    thumbnails = folder / "thumbnails"
    thumbnails.mkdir()
    result: dict[str, Any] = {"images": options.images, "megapixels": options.megapixels, "encode": {}, "train": {}}

    def measure(what: str, images: Path) -> dict[str, float]:
        environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
        command = [sys.executable, __file__, *arguments, "--measure", what, str(images)]
        found: dict[str, float] = json.loads(subprocess.check_output(command, env=environment, text=True))
        return found

    for format in options.formats:
        settings, images = FORMATS[format], folder / format
        images.mkdir()
        quick = settings | {"PNG": {"compress_level": 1}, "WEBP": {"method": 0}}.get(format, {})
        for number in range(options.images):
            shown = Image.fromarray(np.roll(photo, number * width // options.images, axis=1))
            shown.save(images / f"{number:03d}.{format.lower()}", format, **quick)
            if not (thumbnails / f"{number:03d}.jpeg").exists():
                shown.resize(read_at(*shown.size), read_at.resample).save(thumbnails / f"{number:03d}.jpeg", quality=95)
        small, large = measure("encode", thumbnails), measure("encode", images)
        result["encode"][format] = {
            "thumbnails_mb": round(small["mb"]),
            "large_mb": round(large["mb"]),
            "ratio": round(large["mb"] / small["mb"], 2),
            "seconds": round(large["seconds"], 1),
        }
    if "JPEG" not in options.formats:
        return result
    first = measure("train", folder / "JPEG")
    rounds = [(measure("train", thumbnails), measure("train", folder / "JPEG")) for _ in range(options.rounds)]
    by_name = {
        "thumbnails": [small for small, _ in rounds],
        "first_read": [first],
        "later_reads": [r for _, r in rounds],
    }
    for name, runs in by_name.items():
        result["train"][name] = {
            key: round(statistics.median(run[key] for run in runs), 2) for key in ("seconds", "mb")
        }
    for name in ("first_read", "later_reads"):
        for key in ("seconds", "mb"):
            ratios = [runs[key] / small[key] for runs, (small, _) in zip(by_name[name], rounds, strict=False)]
            result["train"][name][f"{key}_ratio"] = round(statistics.median(ratios), 2)
    return result


def encode(recipe: Recipe, folder: Path) -> dict[str, float]:
    """One `encode` of all images of a folder, after one of a word."""
    encoder = Encoder.from_recipe(recipe, ["a photo of a product"])
    encoder.encode("a photo")
    before, started = peak(), time.perf_counter()
    encoder.encode(sorted(folder.iterdir()))
    return {"mb": peak() - before, "seconds": time.perf_counter() - started}


def train(recipe: Recipe, folder: Path) -> dict[str, float]:
    """A short run on products whose images are the files of a folder."""
    products = [Product(path.stem, f"product {path.stem}", images=(path,)) for path in sorted(folder.iterdir())]
    log = [Interaction(Query(f"q{product.id}", product.title), (product.id,)) for product in products]
    with tempfile.TemporaryDirectory() as target:
        catalog: Catalog = write_catalog(Path(target) / "shop", {"train": products}, {"train": log}, title="Photos")
        Encoder.from_recipe(recipe, ["a photo of a product"])
        before, started = peak(), time.perf_counter()
        run_training(recipe, catalog, Path(target) / "run")
        return {"mb": peak() - before, "seconds": time.perf_counter() - started}


def peak() -> float:
    """The most memory that this process ever had, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000


if __name__ == "__main__":
    main()
