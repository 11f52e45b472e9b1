"""The memory that a whole evaluation takes above the catalog and the libraries: vectors, ranks, labels, ids.

    python benchmarks/evaluation_memory.py [--rows 60000] [--dimension 256] [--queries 0]

The catalog has so many products, and as many queries (or --queries of them) with one right answer each. The encoder
draws unit vectors, for every view of every product and query. Peak growth is that of resident memory since just before
`score`.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from moon2.catalog.store import write_catalog
from moon2.evaluate.score import score
from moon2.records import Interaction, Product, Query
from moon2.views import VIEWS, View


class RandomEncoder:
    """Unit vectors, whatever is to be embedded."""

    def __init__(self, dimension: int) -> None:
        self.dimension, self.random = dimension, np.random.default_rng(0)

    fields = ("title",)

    def product_text(self, product: Product) -> str:
        """Its title."""
        return product.title

    def encode(self, items: Sequence[Any], **_: Any) -> np.ndarray:
        """[n, D] float32."""
        vectors = self.random.standard_normal((len(items), self.dimension), dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def encode_views(self, products: Sequence[Product], **_: Any) -> dict[View, np.ndarray]:
        """The same for each view."""
        return {view: self.encode(products) for view in VIEWS}


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the catalog, scores, prints one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--queries", type=int, default=0, help="0: as many as rows")
    options = parser.parse_args(arguments)
    queries = options.queries or options.rows
    with tempfile.TemporaryDirectory() as folder:
        products = (
            Product(
                id=f"product-{number}",
                title=f"a product of number {number}",
                category=("shop", f"kind {number % 50}"),
                attributes={"colour": f"colour {number % 12}", "brand": f"brand {number % 900}"},
                images=(b"not opened",),
            )
            for number in range(options.rows)
        )
        log = (
            Interaction(Query(f"query-{number}", f"number {number}", image=b"not opened"), (f"product-{number}",))
            for number in range(queries)
        )
        catalog = write_catalog(Path(folder) / "shop", {"test": products}, {"test": log}, title="random")
        score(RandomEncoder(8), catalog, limit=64)  # libraries, and the index of the catalog
        before, started = peak(), time.perf_counter()
        score(RandomEncoder(options.dimension), catalog)
        growth, seconds = peak() - before, time.perf_counter() - started
    result = {
        "rows": options.rows,
        "dimension": options.dimension,
        "queries": queries,
        "all_vectors_gb": round(len(VIEWS) * (options.rows + queries) * options.dimension * 4 / 1e9, 3),
        "peak_growth_gb": round(growth / 1e9, 3),
        "seconds": round(seconds, 1),
    }
    print(json.dumps(result))


def peak() -> int:
    """The most resident memory so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
