"""`kill -9` at random moments: is the output of `moon2 augment` what an uninterrupted run gives?

    python benchmarks/augment_kills.py DATA [--products 3000] [--kills 5] [--seed 0] [--out FILE.json]

Augments the first products of DATA once without interruption. Then starts the same command again and again and kills it
with all its processes, each time at a random moment, and at last lets it finish. Every row of every
product file is compared, images and provenance included.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from moon2.catalog.store import Catalog, write_catalog
from moon2.jobs.shards import JobFolder, shards_of


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs, kills, compares; ends with an error if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--products", type=int, default=5_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out")
    options = parser.parse_args(arguments)
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        products = islice(Catalog.open(options.data).products("train"), options.products)
        write_catalog(folder / "data", {"train": products}, title="benchmark")
        started = time.monotonic()
        start(folder, "whole").wait()
        seconds = time.monotonic() - started
        kills = []
        job = JobFolder(folder / ".killed.augmenting")
        total = len(shards_of(Catalog.open(folder / "data"), "train"))
        # Each kill comes a random moment after so many shards are finished.
        for wanted in sorted(draw.sample(range(total - 1), options.kills)):
            running, begun = start(folder, "killed"), time.monotonic()
            while running.poll() is None and not (job.is_begun() and len(job.finished()) >= wanted):
                time.sleep(0.01)
            time.sleep(draw.uniform(0, 0.5))
            if running.poll() is not None:
                sys.exit("it ended before all kills; give more --products")
            kill(running)
            done = len(job.finished())
            kills.append({"after_seconds": round(time.monotonic() - begun, 1), "shards_done": done, "shards": total})
            print(f"killed after {kills[-1]['after_seconds']} s, {done} of {total} shards done", flush=True)
        if not (folder / "killed").exists():
            start(folder, "killed").wait()
        same = digest(folder / "whole") == digest(folder / "killed")
    result = {
        "products": options.products,
        "uninterrupted_seconds": round(seconds, 1),
        "kills": kills,
        "identical": same,
    }
    print(json.dumps(result))
    if options.out:
        Path(options.out).write_text(json.dumps(result, indent=1))
    if not same:
        sys.exit("the outputs differ")


def start(folder: Path, name: str) -> subprocess.Popen[bytes]:
    """Starts the command of a user."""
    command = [str(Path(sys.executable).parent / "moon2"), "augment", str(folder / "data"), "--out", str(folder / name)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill(running: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the command and to every process below it."""
    family = [*psutil.Process(running.pid).children(recursive=True), psutil.Process(running.pid)]
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=30)
    running.wait()


def digest(catalog: Path) -> str:
    """Of all rows of all products, and of what was rejected."""
    rows = hashlib.sha256()
    for path in [*sorted(catalog.glob("products/*.parquet")), *sorted(catalog.glob("rejected*.parquet"))]:
        for row in pq.read_table(path).to_pylist():
            rows.update(repr(row).encode())
    return rows.hexdigest()


if __name__ == "__main__":
    main()
