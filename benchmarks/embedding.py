"""What `moon2 embed` costs: time against sentence-transformers, memory as a catalog grows, and what a kill changes.

    python benchmarks/embedding.py speed MODEL DATA [--products 1500] [--sides 60 1600] [--rounds 3] [--ray] [--out OUT]
    python benchmarks/embedding.py memory MODEL [--rows 10000 100000] [--out FILE.json]
    python benchmarks/embedding.py writer [--rows 100000 1000000] [--dimension 256] [--out FILE.json]
    python benchmarks/embedding.py kills MODEL DATA [--products 3000] [--kills 5] [--out FILE.json]

`speed` takes turns, round by round: `SentenceTransformer.encode` of the same folder (it runs moon2's network, one batch
after the other, with torch's own threads), `Encoder.encode`, and `moon2 embed` of view mm. Loading is not counted, for
any of them; opening images is. With `--sides` each photo is first scaled: its longer side is then any number of pixels
between the two, as photos of a shop are. `memory` and `writer` measure the highest resident memory of a process for
each number of rows. `kills` compares every byte with an uninterrupted run.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import multiprocessing
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from moon2.catalog.store import Catalog, write_catalog
from moon2.images import ImageSource, open_image
from moon2.records import Product


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one of the measurements and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measurement", choices=("speed", "memory", "writer", "kills"))
    parser.add_argument("model", nargs="?")
    parser.add_argument("data", nargs="?")
    parser.add_argument("--products", type=int, default=1_500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--sides", type=int, nargs=2, metavar=("FROM", "TO"), help="of the photos, in pixels")
    parser.add_argument("--ray", action="store_true", help="two Ray workers too")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    measure: dict[str, Callable[[argparse.Namespace], object]] = {
        "speed": speed,
        "memory": memory,
        "writer": memory,
        "kills": kills,
    }
    result = measure[options.measurement](options)
    if options.out:
        options.out.write_text(json.dumps(result, indent=1))


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Items a second of each way, in turns."""
    from sentence_transformers import SentenceTransformer

    from moon2 import Encoder

    with tempfile.TemporaryDirectory() as place:
        data = _first_products(Path(place), options.data, options.products, options.sides)
        products = list(Catalog.open(data).products())
        encoder = Encoder.from_pretrained(options.model)
        library = SentenceTransformer(options.model, trust_remote_code=True)
        read = encoder.product_text

        def by_library() -> None:
            pairs = [{"text": read(product), "image": open_image(product.images[0])} for product in products]
            library.encode(pairs, batch_size=64)

        ways: dict[str, Callable[[], float]] = {
            "SentenceTransformer.encode": lambda: _timed(by_library),
            "Encoder.encode": lambda: _timed(lambda: encoder.encode(products)),
            "moon2 embed": lambda: _embed_seconds(options.model, data, Path(place)),
        }
        if options.ray:
            ways["moon2 embed --workers 2"] = lambda: _embed_seconds(options.model, data, Path(place), workers=2)
        library.encode([{"text": "warm", "image": open_image(products[0].images[0])}])
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, way in ways.items():
                seconds[name].append(way())
    first = seconds["SentenceTransformer.encode"]
    cores = len(os.sched_getaffinity(0))
    print(f"| {len(products):,} products, {cores} cores | items/s, median | in pairs |\n|---|---|---|")
    for name, taken in seconds.items():
        ratio = statistics.median(theirs / ours for theirs, ours in zip(first, taken, strict=True))
        print(f"| {name} | {len(products) / statistics.median(taken):.0f} | {ratio:.2f}× |", flush=True)
    return {"products": len(products), "seconds": seconds}


def _embed_seconds(model: str, data: Path, place: Path, workers: int | None = None) -> float:
    """Of the work alone: from the first row to the written folder, as the others are measured loaded."""
    from moon2.vectors import embed_catalog

    out = place / "vectors"
    shutil.rmtree(out, ignore_errors=True)
    result = embed_catalog.embed(model, data=data, out=out, what="products", views=("mm",), workers=workers)
    return result.work_seconds


def _timed(run: Callable[[], object]) -> float:
    started = time.monotonic()
    run()
    return time.monotonic() - started


def _first_products(place: Path, data: str, number: int, sides: Sequence[int] | None = None) -> Path:
    products: Iterable[Product] = islice((p for p in Catalog.open(data).products("train") if p.images), number)
    if sides:
        chance = random.Random(0)
        products = (replace(p, images=(_scaled(p.images[0], chance.randint(*sides)),)) for p in products)
    write_catalog(place / "data", {"train": products}, title="benchmark")
    return place / "data"


def _scaled(source: ImageSource, side: int) -> bytes:
    """The photo as JPEG with this longer side."""
    photo = open_image(source)
    factor = side / max(photo.size)
    file = io.BytesIO()
    photo.resize((round(photo.width * factor), round(photo.height * factor))).save(file, "JPEG", quality=90)
    return file.getvalue()


def memory(options: argparse.Namespace) -> dict[str, float]:
    """The highest resident memory by rows, each in a process of its own."""
    work = _write_random if options.measurement == "writer" else _embed_text
    argument = options.dimension if options.measurement == "writer" else options.model
    found: dict[str, float] = {}
    context = multiprocessing.get_context("spawn")
    for rows in options.rows:
        queue = context.Queue()
        process = context.Process(target=_peak, args=(work, rows, argument, queue))
        process.start()
        found[str(rows)] = queue.get()
        process.join()
        print(f"| {rows:,} rows | {found[str(rows)]:,.0f} MB |", flush=True)
    values = list(found.values())
    print(f"{values[-1] / values[0]:.2f}× from {options.rows[0]:,} to {options.rows[-1]:,} rows")
    return found


def _peak(work: Callable[[int, Any, Path], object], rows: int, argument: Any, queue: Any) -> None:
    with tempfile.TemporaryDirectory() as place:
        work(rows, argument, Path(place))
    queue.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)


def _embed_text(rows: int, model: str, place: Path) -> None:
    from moon2.vectors.embed_catalog import embed

    products = (Product(str(number), f"navy shirt {number} of cotton") for number in range(rows))
    write_catalog(place / "data", {"train": products}, title="benchmark")
    embed(model, data=place / "data", out=place / "vectors")


def _write_random(rows: int, dimension: int, place: Path) -> None:
    from moon2.vectors.vector_folder import VectorInfo
    from moon2.vectors.vector_writer import VectorWriter, stored_rows

    draw = np.random.default_rng(0)
    info = VectorInfo(dimension, "float32", ("mm",), model="", identity="", data="", fingerprint="")
    with VectorWriter(place / "vectors", info) as writer:
        for start in range(0, rows, 256):
            ids = [str(number) for number in range(start, min(rows, start + 256))]
            vectors = draw.standard_normal((len(ids), dimension), np.float32)
            columns = {"id": ids, "split": ["train"] * len(ids), "key": [f"{int(id):032x}" for id in ids]}
            writer.write("products", "train", stored_rows(info, "products", {"mm": vectors}, columns))


def kills(options: argparse.Namespace) -> dict[str, Any]:
    """`kill -9` at random moments, then an end; ends with an error if a byte differs."""
    from moon2.jobs.shards import JobFolder, shards_of

    draw, moments = random.Random(0), []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        data = _first_products(folder, options.data, options.products)
        _start(options.model, data, folder / "whole").wait()
        total = len(shards_of(Catalog.open(data), "train"))
        job = JobFolder(folder / ".killed.embedding")
        for wanted in sorted(draw.sample(range(total - 1), options.kills)):
            running = _start(options.model, data, folder / "killed")
            while running.poll() is None and not (job.is_begun() and len(job.finished()) >= wanted):
                time.sleep(0.005)
            time.sleep(draw.uniform(0, 0.3))
            running.kill()
            if running.wait() == 0:
                sys.exit("it ended before all kills; give more --products")
            moments.append(len(job.finished()))
            print(f"killed with {moments[-1]} of {total} shards done", flush=True)
        _start(options.model, data, folder / "killed").wait()
        same = _digest(folder / "whole") == _digest(folder / "killed")
    print(f"{options.kills} kills: the bytes are {'the same' if same else 'other ones'}")
    if not same:
        sys.exit(1)
    return {"products": options.products, "shards_done": moments, "identical": same}


def _start(model: str, data: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "moon2", "embed", model, "--data", str(data), "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()


if __name__ == "__main__":
    main()
