"""An index of a million products: how long it takes to build, how large it is, how fast and how well it finds.

    python benchmarks/index_scale.py --vectors vectors/shop [--rows 1000000] [--out index_scale.json] [--no-faiss]

The vectors are made from those of a real shop (--vectors, a folder that `moon2 embed` wrote): each is a mixture of two
of them plus noise, in 256 dimensions, so that the tenth neighbour is as far away as in the source. Uniform random
vectors stand beside, which have no neighbours to speak of and are the hardest case. Recall is that of the ten nearest,
against comparing with all. FAISS's HNSW, on the same vectors in the same run, is searched with the effort that reaches
at least the same recall. Times are those of one query after another.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from moon2.search.product_table import ProductTable
from moon2.search.recall import choose_probes
from moon2.search.table_schema import table_schema
from moon2.vectors.vector_folder import VectorFolder

DIMENSION, QUERIES, K = 256, 200, 10
CHUNK = 20_000


def main(arguments: Sequence[str] | None = None) -> None:
    """Builds, searches, prints a line for each form, and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=Path, help="uniform random vectors alone when not given")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--no-faiss", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    random = np.random.default_rng(0)
    kinds: dict[str, np.ndarray] = {}
    if options.vectors is not None:
        source = VectorFolder.open(options.vectors).matrix("products", "mm")[1]
        kinds["shop"] = like_the_shop(source, options.rows + QUERIES, random)
        distances = f"source {tenth(source, random):.3f}, made {tenth(kinds['shop'], random):.3f}"
        print(f"distance of the tenth neighbour: {distances}")
    kinds["uniform"] = unit(random.standard_normal((options.rows + QUERIES, DIMENSION), np.float32))
    results: dict[str, list[dict[str, Any]]] = {}
    for name, vectors in kinds.items():
        results[name] = measure(vectors, options.no_faiss)
        if options.out is not None:
            options.out.write_text(json.dumps(results, indent=1))


def measure(vectors: np.ndarray, no_faiss: bool) -> list[dict[str, Any]]:
    """Figures of one kind of vectors; the last rows are the queries."""
    products, queries = vectors[:-QUERIES], vectors[-QUERIES:]
    prices = (np.arange(len(products)) * 7919 % 100).astype(np.float64)
    cheap = np.flatnonzero(prices < 1)
    truth, truth_cheap = nearest(products, queries), cheap[nearest(products[cheap], queries)]
    results = []
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        table = ProductTable.create(folder, table_schema(DIMENSION, {}), batches(products, prices))
        wrote = time.perf_counter() - started
        size_before = size_of(Path(folder))
        started = time.perf_counter()
        table.build_approximate()
        built = time.perf_counter() - started
        size = (size_of(Path(folder)) - size_before) / 1e6
        started = time.perf_counter()
        probes, told = choose_probes(table, queries[: QUERIES // 2])
        chosen = time.perf_counter() - started
        common = {
            "write_s": wrote,
            "build_s": built,
            "choose_s": chosen,
            "index_mb": size,
            "probes": probes,
        }
        recalls = ", ".join(f"{name} {value:.3f}" for name, value in told.items())
        print(
            f"{len(products):,} rows: written in {wrote:.0f} s, index in {built:.0f} s, {size:.0f} MB; recall {recalls}"
        )
        forms: dict[str, tuple[dict[str, Any], np.ndarray]] = {
            "approximate": ({"probes": probes}, truth),
            "approximate, 1 % pass": ({"probes": probes, "where": "price < 1"}, truth_cheap),
            "exact": ({"exact": True}, truth),
        }
        for name, (search, right) in forms.items():
            found, seconds = timed(queries, partial(ids_of, table, search))
            results.append({"form": name, **common, **figures(found, right, seconds)})
            print_line(results[-1])
    if not no_faiss:
        results.append(faiss_hnsw(products, queries, truth, results[0]["recall"]))
        print_line(results[-1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.1f} GB, with the vectors themselves")
    return results


def ids_of(table: ProductTable, search: dict[str, Any], query: np.ndarray) -> list[int]:
    """What one form of search finds."""
    return [int(id) for id in table.nearest(query, K, **search).ids]


def faiss_hnsw(products: np.ndarray, queries: np.ndarray, truth: np.ndarray, wanted: float) -> dict[str, Any]:
    """FAISS's HNSW with the least effort that finds as much."""
    import faiss

    started = time.perf_counter()
    index = faiss.IndexHNSWFlat(products.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 100
    index.add(products)
    built = time.perf_counter() - started
    for effort in (16, 32, 64, 128, 256, 512):
        index.hnsw.efSearch = effort
        found, seconds = timed(queries, lambda query: index.search(query[None], K)[1][0].tolist())
        result = {"form": f"FAISS HNSW, ef {effort}", "build_s": built, **figures(found, truth, seconds)}
        if result["recall"] >= wanted:
            break
    return result


def batches(products: np.ndarray, prices: np.ndarray) -> Iterator[pa.RecordBatch]:
    """Rows of the table that hold a vector, an id and a price."""
    schema = table_schema(products.shape[1], {})
    for start in range(0, len(products), CHUNK):
        part = products[start : start + CHUNK]
        ids = [str(row) for row in range(start, start + len(part))]
        columns: dict[str, Any] = {name: pa.nulls(len(part), schema.field(name).type) for name in schema.names}
        columns |= {"id": ids, "image": pa.array([-1] * len(part), pa.int32()), "price": prices[start : start + CHUNK]}
        columns |= {"position": np.arange(start, start + len(part)), "words": ids, "same_id": ids, "same_title": ids}
        columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), products.shape[1])
        yield pa.record_batch(
            [pa.array(columns[name], schema.field(name).type) for name in schema.names], schema=schema
        )


def like_the_shop(source: np.ndarray, rows: int, random: np.random.Generator) -> np.ndarray:
    """[rows, 256] of unit length: mixtures of two vectors of the source, plus noise."""
    turned = source @ np.linalg.qr(random.standard_normal((DIMENSION, source.shape[1])))[0].T.astype(np.float32)
    made = np.empty((rows, DIMENSION), np.float32)
    for start in range(0, rows, CHUNK):
        count = min(CHUNK, rows - start)
        one, other = random.integers(0, len(source), (2, count))
        share = random.beta(0.5, 0.5, (count, 1)).astype(np.float32)
        noise = 0.02 * random.standard_normal((count, DIMENSION), np.float32)
        made[start : start + count] = unit(share * turned[one] + (1 - share) * turned[other] + noise)
    return made


def tenth(vectors: np.ndarray, random: np.random.Generator) -> float:
    """Mean distance, 1 − cosine, of the tenth neighbour."""
    some = vectors[random.choice(len(vectors), 200, replace=False)]
    return float(np.mean([np.partition(1 - vectors @ one, 10)[10] for one in some]))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Of length one."""
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def nearest(products: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """[queries, 10] rows of the nearest products, by comparing with all."""
    return np.stack([np.argpartition(-(products @ query), K)[:K] for query in queries])


def timed(queries: np.ndarray, search: Callable[[np.ndarray], list[int]]) -> tuple[list[list[int]], np.ndarray]:
    """What each query finds, and the seconds each takes; the first ten are asked once before."""
    for query in queries[:10]:
        search(query)
    found, seconds = [], []
    for query in queries:
        started = time.perf_counter()
        found.append(search(query))
        seconds.append(time.perf_counter() - started)
    return found, np.array(seconds)


def figures(found: list[list[int]], truth: np.ndarray, seconds: np.ndarray) -> dict[str, float]:
    """Recall, and percentiles of the time in milliseconds."""
    recall = np.mean([len(set(a) & set(b.tolist())) / K for a, b in zip(found, truth, strict=True)])
    half, most = np.percentile(seconds * 1e3, [50, 99])
    return {"recall": float(recall), "p50_ms": float(half), "p99_ms": float(most)}


def print_line(result: dict[str, Any]) -> None:
    """One form of search."""
    times = f"p50 {result['p50_ms']:.1f} ms  p99 {result['p99_ms']:.1f} ms"
    print(f"  {result['form']:<24} recall@10 {result['recall']:.3f}  {times}")


def size_of(folder: Path) -> int:
    """Bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
