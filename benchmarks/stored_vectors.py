"""What it costs to store products' vectors in fewer bytes: R@10 of the test queries, by number format and length.

    python benchmarks/stored_vectors.py VECTORS DATA [--dimensions 64 128] [--out FILE.json]

VECTORS is what `moon2 embed` made of the catalog DATA, as float32 and in its whole length. Queries stay float32, as in
an index. The gallery is the test split.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moon2.catalog.store import Catalog
from moon2.evaluate.format import markdown_table
from moon2.evaluate.test_set import TestSet, read_test_set
from moon2.experiments.runner import source_commit
from moon2.vectors.embed import Vectors
from moon2.vectors.quantize import STORAGES, Storage, dequantize, quantize
from moon2.vectors.retrieval import rank_directions, recalls
from moon2.vectors.table import shortened_rows
from moon2.vectors.vector_folder import VectorFolder, What
from moon2.views import DIRECTIONS, VIEWS, View

K = 10
Table = dict[View, Vectors]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--dimensions", type=int, nargs="*", default=[])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    folder, test_set = VectorFolder.open(options.vectors), read_test_set(Catalog.open(options.data))
    products = table(folder, "products", list(test_set.gallery))
    queries = table(folder, "queries", [it.query.id for it in test_set.interactions])
    found = []
    for length in (folder.info.dimension, *sorted(options.dimensions, reverse=True)):
        for storage in STORAGES:
            stored = {view: as_stored(each, storage, length) for view, each in products.items()}
            size = bytes_of(length, storage)
            found.append({"storage": storage, "dimension": length, "bytes": size, **scores(stored, queries, test_set)})
    names = ["storage", "dimension", "bytes", *map(str, DIRECTIONS)]
    rows = [tuple(f"{v:.1f}" if isinstance(v := row[name], float) else f"{v}" for name in names) for row in found]
    print(markdown_table((f"R@{K}, %", *names[1:]), rows))
    if options.out:
        options.out.write_text(json.dumps({"commit": source_commit(), "rows": found}, ensure_ascii=False, indent=1))


def table(folder: VectorFolder, what: What, ids: list[str]) -> Table:
    """The vectors of these rows by view."""
    result: Table = {}
    for view in VIEWS:
        known, matrix = folder.matrix(what, view)
        place = {id: row for row, id in enumerate(known)}
        rows = [row for row, id in enumerate(ids) if id in place]
        result[view] = Vectors(np.array(rows, np.int64), matrix[[place[ids[row]] for row in rows]])
    return result


def as_stored(vectors: Vectors, storage: Storage, length: int) -> Vectors:
    """What is read of them once they are stored so."""
    cut = shortened_rows(vectors.matrix, length)
    return Vectors(vectors.rows, dequantize(quantize(cut, storage), storage, length))


def bytes_of(length: int, storage: Storage) -> int:
    """Of a stored vector."""
    stored = quantize(np.ones((1, length), np.float32), storage)
    return stored.numbers.nbytes + (0 if stored.scales is None else stored.scales.nbytes)


def scores(products: Table, queries: Table, test_set: TestSet) -> dict[str, float]:
    """R@10 in percent by direction."""
    length = products["mm"].matrix.shape[1]
    cut = {view: Vectors(each.rows, shortened_rows(each.matrix, length)) for view, each in queries.items()}
    return recalls(rank_directions(cut, products, test_set.interactions, test_set.gallery), K)


if __name__ == "__main__":
    main()
