"""The verbs that make a catalog: import, shop."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, get_args

from moon2.commands.verb import UsageError, Verb

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def _shop_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--out", required=True, metavar="DATA", help="folder of the new catalog")
    parser.add_argument("--products", type=int, default=600, help="products, of both splits together; at least 60")
    parser.add_argument("--queries", type=int, default=600, help="rows of the training log")
    parser.add_argument("--seed", type=int, default=0, help="seed of every draw; the same seed gives the same shop")
    parser.add_argument("--overwrite", action="store_true", help="replace the catalog at DATA")


def _shop(typed: Namespace) -> None:
    """Writes the generated shop as a catalog, to see the format or to try things on.

    Drawn product photos, titles, and a search log with known mistakes (they are listed in noise.parquet,
    which training never reads). It opens with datasets.load_dataset(DATA, "products", split="train").

    example:
      moon2 shop --out data/shop
    """
    from moon2.catalog.generated_shop.generate import write_shop

    catalog = write_shop(**{"folder" if name == "out" else name: value for name, value in vars(typed).items()})
    train, test = (len(catalog.interactions(split)) for split in ("train", "test"))
    print(f"{typed['out']}: {len(catalog):,} products, {train:,} training queries, {test:,} test queries")


def _import_arguments(parser: ArgumentParser) -> None:
    from moon2.catalog.importing.columns import ColumnMapping, LogMapping
    from moon2.catalog.importing.import_catalog import Format

    source = "file, folder or glob (csv, parquet), hub id (hub), folder (fashion-log), hub id or local copy (the rest)"
    parser.add_argument("source", help=source)
    formats = get_args(Format)
    parser.add_argument("--as", required=True, choices=formats, help="what SOURCE is")
    parser.add_argument("--out", required=True, metavar="DATA", help="folder of the new catalog")
    parser.add_argument("--log", metavar="FILE", help="CSV or Parquet table of the search log: queries and purchases")
    parser.add_argument("--subset", metavar="NAME", help="configuration of a hub dataset")
    parser.add_argument("--refer", action="store_true", help="leave pictures where they are and keep only their paths")
    parser.add_argument("--fetch", action="store_true", help="download pictures that are URLs into the catalog")
    private = "with --fetch, also from hosts in private networks and on this machine"
    parser.add_argument("--allow_private_hosts", action="store_true", help=private)
    parser.add_argument("--title", help="title of the dataset card; the name of SOURCE when not given")
    parser.add_argument("--licence", default="unknown", help="licence on the dataset card, such as cc-by-4.0")
    parser.add_argument("--overwrite", action="store_true", help="replace the catalog at DATA")
    parser.add_class_arguments(ColumnMapping, "columns")
    parser.add_class_arguments(LogMapping, "log_columns")


def _import(typed: Namespace) -> None:
    """Makes a catalog of your table of products and, if you have one, your search log.

    Columns are found by their usual names; name those that are not. Rows that cannot be used are put
    aside with a reason in DATA/rejects.parquet, and the rest goes on. Picture URLs stay URLs, unread,
    unless you ask with --fetch; killed and started again, what was fetched is not fetched again.

    Public sets are read in their own layout, from the hub or a local copy: mbe, mbe2 (the benchmarks of MOON
    and MOON2.0), fashion200k, m5product, fashion-products. Name the columns of MBE's queries if they are not
    found: --log_columns.text NAME, or "" to leave the queries out.

    examples:
      moon2 import products.csv --as csv --out data/mine --columns.title product_name
      moon2 import products.parquet --as parquet --out data/mine --log searches.csv
      moon2 import ashraq/fashion-product-images-small --as fashion-products --out data/fashion
      moon2 import downloads/MBE --as mbe --out data/mbe --fetch --log_columns.text query
    """
    from moon2.catalog.importing.columns import ColumnMapping, LogMapping
    from moon2.catalog.importing.import_catalog import import_catalog

    columns, log_columns = typed.get("columns"), typed.get("log_columns")
    result = import_catalog(
        typed["source"],
        typed["out"],
        format=typed["as"],
        columns=ColumnMapping(**vars(columns)) if columns else None,
        log=typed.get("log"),
        log_columns=LogMapping(**vars(log_columns)) if log_columns else None,
        subset=typed.get("subset"),
        embed_images=not typed.get("refer"),
        fetch_images=typed.get("fetch", False),
        allow_private_hosts=typed.get("allow_private_hosts", False),
        title=typed.get("title"),
        licence=typed.get("licence", "unknown"),
        overwrite=typed.get("overwrite", False),
    )
    print(result)
    if result.unfetched:
        told = f"{result.unfetched:,} pictures are URLs, which training and evaluation cannot read"
        print(f"{told}; download them by importing with --fetch", file=sys.stderr)
    if typed.get("log") and not result.interactions:
        rejects = result.catalog.folder / "rejects.parquet"
        raise UsageError(
            f"{typed['log']}: not one row of the log could be used; {rejects} says why (the products are imported)"
        )


VERBS = {
    "shop": Verb(_shop, _shop_arguments, "--out DATA [--products 600] [--queries 600] [--seed 0] [--overwrite]"),
    "import": Verb(
        _import, _import_arguments, "SOURCE --as FORMAT --out DATA [--log FILE] [--columns.title NAME …] [options]"
    ),
}
