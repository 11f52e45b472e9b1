"""How many rows of text a second `moon2 import` reads, checks and writes.

Makes a table of a shop (id, title, description, category, brand, colour, price, two image addresses), imports it as
CSV and as Parquet, and prints wall and CPU time of each import.

    python benchmarks/import_speed.py --rows 100000
"""

from __future__ import annotations

import argparse
import csv
import logging
import os
import random
import tempfile
import time
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq

from moon2.catalog.importing.import_catalog import import_catalog

COLUMNS = ("sku", "name", "description", "category", "brand", "colour", "price", "image")
WORDS = (
    *("soft", "warm", "light", "red", "blue", "navy", "cotton", "wool", "linen", "steel"),
    *("brass", "oak", "shirt", "lamp", "mat", "shoe", "pan", "hose"),
)


def write_table(path: Path, rows: int) -> None:
    """A CSV of so many products."""
    rng = random.Random(0)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number in range(rows):
            words = rng.choices(WORDS, k=30)
            text = f'<p>{" ".join(words)}, 5" wide &amp; soft</p>'
            path_of = f"Home > {words[0].title()} > {words[1].title()}"
            price = f"{rng.randrange(1, 900)},{rng.randrange(100):02d} €"
            image = f"https://cdn.example/{number}.jpg"
            writer.writerow((f"A{number:06d}", " ".join(words[:7]), text, path_of, words[2], words[3], price, image))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    rows = parser.parse_args().rows
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "shop.csv"
        write_table(table, rows)
        pq.write_table(pyarrow.csv.read_csv(table), Path(folder) / "shop.parquet")
        for name in ("shop.csv", "shop.parquet"):
            wall, before = time.perf_counter(), os.times()
            result = import_catalog(str(Path(folder) / name), out=Path(folder) / "out", overwrite=True)
            wall, after = time.perf_counter() - wall, os.times()
            cpu = after.user + after.system - before.user - before.system
            speed = f"{result.products / wall:,.0f} rows/s, {result.products / cpu:,.0f} rows a second of CPU"
            print(f"{name}: {result.products:,} products in {wall:.1f} s ({cpu:.1f} s of CPU): {speed}")


if __name__ == "__main__":
    main()
