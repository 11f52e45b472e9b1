"""Importing a shop: a table of products, perhaps a search log, becomes a catalog; what cannot be used is listed.

`import_catalog` is the command `moon2 import`; `import_tables` takes tables that a program has opened itself.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from moon2.catalog.importing import esci, marqo_gs, mbe, public_datasets
from moon2.catalog.importing.columns import USUAL_COLUMNS, ColumnMapping
from moon2.catalog.importing.download import ImageFetcher
from moon2.catalog.importing.feeds.feed import FEED_SETTINGS, FeedSettings, feed_of
from moon2.catalog.importing.feeds.google_merchant import open_google_merchant
from moon2.catalog.importing.feeds.shopify import open_shopify
from moon2.catalog.importing.feeds.woocommerce import open_woocommerce
from moon2.catalog.importing.image_cells import IMAGE_REASONS
from moon2.catalog.importing.importer import Importer
from moon2.catalog.importing.layouts import layout_of, open_source
from moon2.catalog.importing.log_columns import USUAL_LOG_COLUMNS, LogMapping
from moon2.catalog.importing.log_rows import OpenLog, add_log, open_log, query_lines
from moon2.catalog.importing.product_fields import ProductReader
from moon2.catalog.importing.product_rows import add_products
from moon2.catalog.importing.results import DryRun, ImportResult
from moon2.catalog.importing.sources import HEAD_ROWS, LogTable, ShopTables, Source, first_rows
from moon2.catalog.importing.understood import log_understood, products_understood
from moon2.catalog.schema import CatalogError
from moon2.catalog.store import Catalog, CatalogWriter, require_target
from moon2.files import exclusive_lock

Layout = Literal[
    "auto",
    "csv",
    "parquet",
    "json",
    "jsonl",
    "xlsx",
    "hub",
    "shopify",
    "woocommerce",
    "google-merchant",
    "mbe",
    "mbe2",
    "fashion200k",
    "m5product",
    "fashion-products",
    "esci",
    "marqo-gs-10m",
]
_PUBLIC: dict[str, Callable[[str, str | None, ColumnMapping, LogMapping], ShopTables]] = {
    **{name: partial(mbe.open_mbe, licence=licence) for name, licence in mbe.LICENCES.items()},
    "fashion200k": public_datasets.open_fashion200k,
    "m5product": public_datasets.open_m5product,
    "fashion-products": public_datasets.open_fashion_products,
    "esci": esci.open_esci,
    "marqo-gs-10m": marqo_gs.open_marqo_gs,
}
_FEEDS: dict[str, Callable[[str, FeedSettings, ColumnMapping, str | None], ShopTables]] = {
    "shopify": open_shopify,
    "woocommerce": open_woocommerce,
    "google-merchant": open_google_merchant,
}
_TEXT = {"csv", "json", "jsonl", *_FEEDS}

SMALLEST_SIDE = 16
"""Of copies: less shows no product."""

logger = logging.getLogger(__name__)


def import_catalog(
    source: str,
    *,
    layout: Layout = "auto",
    out: Path,
    log: Path | None = None,
    columns: ColumnMapping = USUAL_COLUMNS,
    log_columns: LogMapping = USUAL_LOG_COLUMNS,
    feed: FeedSettings = FEED_SETTINGS,
    subset: str | None = None,
    encoding: str | None = None,
    refer: bool = False,
    max_side: int = 0,
    fetch: bool = False,
    allow_private_hosts: bool = False,
    title: str | None = None,
    licence: str = "unknown",
    overwrite: bool = False,
    dry_run: bool = False,
) -> ImportResult | DryRun:
    """Import a shop's products and search log as a catalog.

    Columns are found by their usual names in fourteen languages; name the others. --dry_run shows what was
    understood and writes nothing. A field or image that cannot be read is left out, a row without any
    title or image is put aside; OUT/rejects.parquet gives the reasons. Images that are URLs stay URLs,
    which training cannot read, unless you give --fetch. If an import is killed, the next one does not
    download the same images again.

    The ending of a file says what it is; exports of shop systems are named: shopify, woocommerce,
    google-merchant (tabs or XML). So are public datasets, from the hub or a local copy: mbe, mbe2 (the
    benchmarks of MOON and MOON2.0), fashion200k, m5product, fashion-products; and from a local copy esci and
    marqo-gs-10m, which have grades. docs/import.md has an example of each, and the rules of reading. If the
    columns of MBE's queries are not found, name them: --log_columns.text NAME, or "" to leave the queries out.

    examples:
      moon2 import products.csv --out data/mine --columns.title product_name --dry_run
      moon2 import products.parquet --out data/mine --log searches.csv
      moon2 import artikel.xlsx --out data/mine --subset Artikel
      moon2 import products_export.csv --as shopify --out data/mine --fetch
      moon2 import feed.xml --as google-merchant --out data/mine --fetch
      moon2 import ashraq/fashion-product-images-small --as fashion-products --out data/fashion
      moon2 import downloads/MBE --as mbe --out data/mbe --fetch --log_columns.text query
      moon2 import downloads/esci --as esci --out data/esci --subset us --fetch --max_side 384

    Args:
        source: file, folder or glob, plain or compressed; hub id or folder (hub); hub id or local copy (public sets)
        layout: what SOURCE is; auto goes by its ending (csv, tsv, parquet, json, jsonl, xlsx)
        out: folder of the new catalog; it appears as a whole or not at all
        log: table of the search log, queries and purchases: csv, parquet, json, jsonl or xlsx, by its ending
        columns: columns of the products
        log_columns: columns of the log
        feed: how the exports of shop systems are read
        subset: configuration of a hub dataset; sheet of an Excel file; locale (esci) or test (marqo-gs-10m)
        encoding: of text files, such as cp1250 or gb18030; found by their bytes when not given
        refer: leave image files where they are and store only their paths
        max_side: store JPEG copies of this many pixels a side in the place of larger images, such as 512; 0: never
        fetch: download the images that are URLs into the catalog
        allow_private_hosts: with --fetch, download from private networks and this machine too
        title: title of the dataset card; the name of SOURCE when not given
        licence: licence on the dataset card, such as cc-by-4.0
        overwrite: replace the catalog at OUT
        dry_run: show what is understood of the columns, three products and three queries; write and download nothing

    Raises:
        CatalogError: the source cannot be read, a column is missing, OUT is in use or is the source, no product could
            be used, or options exclude each other; also, once the products are imported, if no row of `log` could be
            used.
    """
    if max_side and refer:
        raise CatalogError(f"{source}: --max_side stores copies, --refer leaves images outside; choose one")
    if max_side and max_side < SMALLEST_SIDE:
        raise CatalogError(f"{source}: --max_side is {max_side}; give {SMALLEST_SIDE} pixels or more, or 0")
    if fetch and refer:
        raise CatalogError(f"{source}: --fetch puts images into the catalog, --refer leaves them outside; choose one")
    if allow_private_hosts and not fetch:
        raise CatalogError(f"{source}: --allow_private_hosts is for downloads; add --fetch")
    if layout not in _FEEDS and feed != FEED_SETTINGS:
        raise CatalogError(f"{source}: --feed.… is for the layouts {', '.join(_FEEDS)}; name one with --as")
    if log is None and layout not in _PUBLIC and log_columns != USUAL_LOG_COLUMNS:
        raise CatalogError(f"{source}: --log_columns.… names columns of a search log; give it with --log")
    known = layout_of(source) if layout == "auto" else layout
    if subset is not None and known not in (*_PUBLIC, "hub", "xlsx"):
        raise CatalogError(f"{source}: --subset is for Excel files, datasets of the hub and public sets")
    if encoding is not None and not {known, "" if log is None else layout_of(log)} & _TEXT:
        raise CatalogError(f"{source}: --encoding is for text files ({', '.join(sorted(_TEXT))}); leave it out here")
    if not dry_run:
        # Before the source is opened, which may be a download.
        require_target(out, overwrite=overwrite, sources=filter(None, (source, log)))
    if layout in _FEEDS:
        tables = _FEEDS[layout](source, feed, columns, encoding)
    elif layout in _PUBLIC:
        tables = _PUBLIC[layout](source, subset, columns, log_columns)
    else:
        tables = ShopTables(open_source(source, known, subset, encoding), columns)
        if known != "hub" and (system := feed_of(tables.products.columns)):
            logger.warning(f"{tables.products.name}: looks like an export that --as {system} reads as a whole")
    if log is not None:
        tables.logs = [LogTable(open_source(log, layout_of(log), encoding=encoding), log_columns)]
    if licence != "unknown":
        tables.licence = licence
    if dry_run:
        return _dry_run(tables, refer)
    result = import_tables(
        tables,
        out=out,
        title=title or Path(source).stem,
        refer=refer,
        max_side=max_side,
        fetch=fetch,
        allow_private_hosts=allow_private_hosts,
        overwrite=overwrite,
    )
    if result.unfetched:
        logger.warning(
            f"{result.unfetched:,} images are URLs, which training and evaluation cannot read; import with --fetch to "
            f"download them"
        )
    if log is not None and not result.interactions:
        raise CatalogError(
            f"{log}: not one row of the log could be used; {result.catalog.folder / 'rejects.parquet'} says why (the "
            f"{result.products:,} products are imported)"
        )
    return result


def import_tables(
    tables: ShopTables,
    *,
    out: Path,
    title: str,
    refer: bool = False,
    max_side: int = 0,
    fetch: bool = False,
    allow_private_hosts: bool = False,
    overwrite: bool = False,
) -> ImportResult:
    """Imports opened tables, such as those of a layout of your own; arguments as of `import_catalog`.

    Raises:
        CatalogError: a column is missing, `out` holds something, no product could be used, or the disk is full.
        FolderInUseError: another process is writing `out`.
        OutputError: nothing can be written at `out`.
    """
    shop = _understand(tables)
    logger.info("\n".join(shop.lines))
    cache = out.absolute().with_name(f".{out.absolute().name}.fetched")
    with exclusive_lock(out, "`moon2 import`"), ExitStack() as stack:
        writer = CatalogWriter(out, title=title, licence=tables.licence, overwrite=overwrite)
        fetcher = None
        if fetch:
            fetcher = stack.enter_context(ImageFetcher(allow_private_hosts=allow_private_hosts, cache=cache))
        result = _write(shop, writer, Importer(writer, not refer, fetcher, max_side))
        shutil.rmtree(cache, ignore_errors=True)
    if not result.having["image"]:
        columns = ", ".join(shop.reader.mapping.images or ())
        why = "because no column was taken for images; if there is one, name it with --columns.images"
        if columns and result.reasons.keys() & IMAGE_REASONS:
            why = (
                f"though {columns} should name them: {result.catalog.folder / 'rejects.parquet'} says why; the folder "
                f"of relative paths is --columns.image_root"
            )
        elif columns:
            why = f"because {columns} is empty; if there is another column, name it with --columns.images"
        logger.warning(f"{shop.table.name}: not one product has an image, {why}")
    return result


@dataclass(frozen=True)
class _Shop:
    """Tables whose columns are understood; `lines` say how."""

    table: Source
    reader: ProductReader
    logs: list[OpenLog]
    lines: list[str]


def _understand(tables: ShopTables) -> _Shop:
    head, table = first_rows(tables.products)
    reader = ProductReader(tables.columns.resolve(table.columns, table.name), head)
    logs = [open_log(log) for log in tables.logs]
    lines = [f"{table.name}:", *(f"  {line}" for line in products_understood(tables.columns, reader, table, head))]
    for log in logs:
        lines += [f"{log.log.table.name}, the search log:", *(f"  {line}" for line in log_understood(log.log, table))]
    return _Shop(table, reader, logs, lines)


def _write(shop: _Shop, writer: CatalogWriter, importer: Importer) -> ImportResult:
    with writer:
        add_products(importer, shop.table, shop.reader)
        if not importer.products:
            why = f"; the first: {importer.first_reject}" if importer.first_reject else "; the table has no rows"
            raise CatalogError(f"{shop.table.name}: no product could be used{why}")
        for log in shop.logs:
            add_log(importer, log)
    return ImportResult(
        catalog=Catalog.open(writer.folder),
        products=importer.products,
        having=dict(importer.having),
        interactions=importer.interactions,
        rejected=importer.rejected,
        dropped=importer.dropped,
        reasons=dict(importer.reasons.most_common()),
        unfetched=importer.unfetched,
    )


def _dry_run(tables: ShopTables, refer: bool) -> DryRun:
    """Imports the first rows into a folder that is removed again."""
    shop = _understand(tables)
    table = replace(shop.table, rows=islice(shop.table.rows, HEAD_ROWS), total=None)
    with TemporaryDirectory() as folder:
        writer = CatalogWriter(Path(folder) / "catalog", title="")
        result = _write(replace(shop, table=table, logs=[]), writer, Importer(writer, not refer, None))
        products = list(islice(result.catalog.products(), 3))
        # Of each reason the first, because one may hold for every row.
        first = {reject.reason: reject.message for reject in reversed(list(result.catalog.rejects()))}
        rejects = [first[reason] for reason in result.reasons if reason in first]
    counts = f"of the first {result.products + result.rejected:,} rows: {result.products:,} products; {result.losses()}"
    queries = list(islice(chain.from_iterable(map(query_lines, shop.logs)), 3))
    return DryRun(shop.lines, products, queries, rejects, f"{counts}; {result.fields()}")
