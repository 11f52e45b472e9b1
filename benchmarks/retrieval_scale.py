"""Scoring a gallery of MBE2.0's size: memory, time, and time as a ratio to the bare matrix product.

    python benchmarks/retrieval_scale.py [--rows 636241] [--dimension 256] [--queries 0] [--every 10]

Random unit vectors, as many queries as products (or the first --queries of them), one relevant product each. The bare
product is done block by block too, in the faster of two block shapes, and timed after every n-th scored chunk; the
ratio is over those chunks. Peak memory is that of the whole process.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from moon2.vectors.nearest import GALLERY_BLOCK, QUERY_BLOCK, ranks

CHUNK = 8 * QUERY_BLOCK


def main(arguments: Sequence[str] | None = None) -> None:
    """Scores, times, prints one line, writes JSON with --out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=636_241)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--queries", type=int, default=0, help="0: as many as rows")
    parser.add_argument("--every", type=int, default=10, help="the bare product is timed on every n-th chunk")
    parser.add_argument("--out")
    options = parser.parse_args(arguments)
    queries, gallery = (unit_vectors(options.rows, options.dimension, seed) for seed in (0, 1))
    queries = queries[: options.queries or options.rows]
    seconds = 0.0
    ratios = []
    for number, start in enumerate(tqdm(range(0, len(queries), CHUNK), unit="chunk")):
        chunk = queries[start : start + CHUNK]
        relevant = [[row] for row in range(start, start + len(chunk))]
        started = time.perf_counter()
        result = ranks(chunk, gallery, relevant, [None] * len(chunk))
        taken = time.perf_counter() - started
        seconds += taken
        assert (result.above < len(gallery)).all()
        if number % options.every == 0:
            ratios.append(
                taken / min(bare_product(chunk, gallery, size) for size in (GALLERY_BLOCK, 8 * GALLERY_BLOCK))
            )
    figures = {
        "rows": options.rows,
        "queries": len(queries),
        "dimension": options.dimension,
        "threads": torch.get_num_threads(),
        "seconds": round(seconds, 1),
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "ratio_median": round(float(np.median(ratios)), 3),
        "ratio_lowest": round(min(ratios), 3),
        "ratio_highest": round(max(ratios), 3),
        "pairs": len(ratios),
    }
    print(json.dumps(figures))
    if options.out:
        Path(options.out).write_text(json.dumps(figures, indent=1))


def unit_vectors(rows: int, dimension: int, seed: int) -> np.ndarray:
    """[n, D] float32 of unit length."""
    vectors = np.random.default_rng(seed).standard_normal((rows, dimension), dtype=np.float32)
    for start in range(0, rows, CHUNK):
        part = vectors[start : start + CHUNK]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return vectors


def bare_product(chunk: np.ndarray, gallery: np.ndarray, columns: int) -> float:
    """Seconds for all similarities of the chunk, block by block, none of them read."""
    left, right = torch.from_numpy(chunk), torch.from_numpy(gallery)
    out = torch.empty(QUERY_BLOCK, columns)
    started = time.perf_counter()
    for row in range(0, len(left), QUERY_BLOCK):
        for column in range(0, len(right), columns):
            some, others = left[row : row + QUERY_BLOCK], right[column : column + columns]
            torch.mm(some, others.T, out=out[: len(some), : len(others)] if len(others) == columns else None)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
