"""The verb that builds a benchmark from a shop's own catalog and log: benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moon2.commands.verb import Verb

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def _benchmark_arguments(parser: ArgumentParser) -> None:
    from moon2.catalog.benchmark.build import BenchmarkSettings

    parser.add_argument("what", choices=["build"], help="what to do")
    parser.add_argument("data", metavar="DATA", help="folder of a catalog with a search log")
    parser.add_argument("--out", required=True, metavar="BENCH", help="folder of the new benchmark")
    parser.add_argument("--title", help="title of the dataset card; DATA's name when not given")
    parser.add_argument("--licence", help="licence on the dataset card; that of DATA when not given")
    parser.add_argument("--overwrite", action="store_true", help="replace the catalog at BENCH")
    parser.add_class_arguments(BenchmarkSettings, None)


def _benchmark(typed: Namespace) -> None:
    """Builds a benchmark like MBE2.0 from a catalog and its search log.

    Products that are there twice are taken out, categories capped, and the rest split into train and
    test, so that no product, near-duplicate, style or query is on both sides. Purchases become positives,
    exposures negatives, save those that answer the query elsewhere or are like an answer. BENCH is a
    catalog: `moon2 evaluate` scores on it, and datasets.load_dataset(BENCH, "products", split="test")
    opens it. benchmark.json declares its tasks, rejects.parquet what was left out.

    To co-augment it, run `moon2 augment BENCH --out BENCH+`, which adds to the training part only.

    example:
      moon2 benchmark build data/mine --out data/mine-benchmark --category_cap 500
    """
    from moon2.catalog.benchmark.build import BenchmarkSettings, build_benchmark

    own = ("what", "data", "out", "title", "licence", "overwrite")
    settings = BenchmarkSettings(**{name: value for name, value in vars(typed).items() if name not in own})
    result = build_benchmark(
        typed["data"],
        typed["out"],
        settings,
        title=typed.get("title"),
        licence=typed.get("licence"),
        overwrite=typed.get("overwrite", False),
    )
    print(result)


VERBS = {
    "benchmark": Verb(
        _benchmark, _benchmark_arguments, "build DATA --out BENCH [--test_share 0.1] [--category_cap N] [--seed 0]"
    )
}
