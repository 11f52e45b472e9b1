"""How fast `moon2 augment` is, and whether its memory grows with the catalog.

    python benchmarks/augment_throughput.py DATA [--products 2000 20000] [--what text images both] [--workers N]
        [--out FILE.json]

For each number of products a catalog is made of that many training products of DATA, in order, repeated with new ids
where DATA has fewer. The default providers augment it, in a process of its own. "products/s" is the whole command,
start of Ray and writing included; "streaming" leaves out the start: it is from the first finished shard to the last.
Memory is the proportional set size (PSS) of the process and all below it, Ray's among them, sampled twice a second; PSS
counts shared memory once. The source catalog, as memory-mapped pages, is part of it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any

from moon2.catalog.store import Catalog, write_catalog
from moon2.jobs.shards import JobFolder
from moon2.records import Product

OPTIONS = {"text": ["--images.provider", "none"], "images": ["--text.provider", "none"], "both": []}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures each combination and prints a line for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a catalog")
    parser.add_argument("--products", type=int, nargs="+", default=[2_000, 20_000])
    parser.add_argument("--what", choices=OPTIONS, nargs="+", default=list(OPTIONS))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", help="JSON file of the figures")
    options = parser.parse_args(arguments)
    figures = []
    with tempfile.TemporaryDirectory() as scratch:
        for number in options.products:
            shop = Path(scratch) / f"shop-{number}"
            write_catalog(shop, {"train": products_of(Catalog.open(options.data), number)}, title="measured")
            for what in options.what:
                figures.append(measure(shop, Path(scratch) / "out", number, what, options.workers))
                print(
                    "{what:<6} {products:>7,} products: {products_per_second:7.1f} products/s "
                    "(streaming {streaming_products_per_second}), peak {peak_mb:,.0f} MB".format(**figures[-1]),
                    flush=True,
                )
    if options.out:
        machine = {"cores": os.cpu_count(), "machine": platform.platform(), "python": platform.python_version()}
        Path(options.out).write_text(json.dumps({"data": options.data, **machine, "figures": figures}, indent=1) + "\n")


def products_of(catalog: Catalog, number: int) -> Iterator[Product]:
    """Training products, repeated under other ids until there are enough."""
    endless = (replace(p, id=f"{turn}-{p.id}") for turn in count() for p in catalog.products("train"))
    return islice(endless, number)


def measure(shop: Path, out: Path, number: int, what: str, workers: int) -> dict[str, Any]:
    """Runs the command once and watches it.

    Raises:
        SystemExit: it failed.
    """
    start = "import sys; from moon2.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", start, "augment", str(shop), "--out", str(out), "--overwrite"]
    started = time.monotonic()
    running = subprocess.Popen([*command, "--workers", str(workers), *OPTIONS[what]], stdout=subprocess.PIPE, text=True)
    peak, ended = 0, threading.Event()
    shards: list[tuple[float, int]] = []

    def watch() -> None:
        nonlocal peak
        job = JobFolder(out.with_name(f".{out.name}.augmenting"))
        while not ended.wait(0.5):
            peak = max(peak, tree_pss(running.pid))
            with contextlib.suppress(FileNotFoundError):  # not begun, or removed at the end
                done = len(job.finished())
                if done and (not shards or done > shards[-1][1]):
                    shards.append((time.monotonic(), done))

    watcher = threading.Thread(target=watch)
    watcher.start()
    printed, _ = running.communicate()
    ended.set()
    watcher.join()
    seconds = time.monotonic() - started
    if running.returncode:
        raise SystemExit(f"moon2 augment failed with {running.returncode}: {printed}")
    streaming = None
    if len(shards) > 1 and shards[-1][0] > shards[0][0]:
        share = (shards[-1][1] - shards[0][1]) / shards[-1][1]
        streaming = round(share * number / (shards[-1][0] - shards[0][0]), 1)
    return {
        "what": what,
        "products": number,
        "workers": workers,
        "seconds": round(seconds, 1),
        "products_per_second": round(number / seconds, 1),
        "streaming_products_per_second": streaming,
        "peak_mb": round(peak / 1e6, 1),
        "printed": printed.strip(),
    }


def tree_pss(root: int) -> int:
    """Proportional set size in bytes of a process and all its present descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The name of a command may hold spaces and brackets: the parent stands second after the last one.
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    total, waiting = 0, [root]
    while waiting:
        process = waiting.pop()
        waiting += children.get(process, [])
        try:
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) * 1024
    return total


if __name__ == "__main__":
    main()
