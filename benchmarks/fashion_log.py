"""Imports the fashion search log, a real fashion catalog with a simulated log, which the fashion benchmarks need.

    python benchmarks/fashion_log.py FOLDER --out DATA

FOLDER has products.parquet (its split `dev` becomes `test`), train_log.parquet (the training interactions) and
dev_queries.parquet (the test interactions). Another file lists the wrong rows of the log, for measuring only; it is not
read here.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from moon2.catalog.importing.columns import ColumnMapping
from moon2.catalog.importing.import_catalog import import_tables
from moon2.catalog.importing.layouts import open_source
from moon2.catalog.importing.log_columns import LogMapping
from moon2.catalog.importing.sources import LogTable, ShopTables

COLUMNS = ColumnMapping(
    id="id",
    title="title",
    description="description",
    category="category",
    attributes=("attributes", "brand"),
    images="image",
    price="price",
    split="split",
)
_QUERY = {"id": "query_id", "text": "query_text", "product_id": "query_image_product_id"}
TRAIN_COLUMNS = LogMapping.only(**_QUERY, positives="purchased_id", negatives="ignored_ids")
TEST_COLUMNS = LogMapping.only(**_QUERY, positives="relevant_ids")


def open_fashion_log(folder: Path) -> ShopTables:
    """The three tables, ready to be imported.

    Raises:
        CatalogError: one of them is missing.
    """
    products, train, test = (
        open_source(folder / f"{name}.parquet", "parquet") for name in ("products", "train_log", "dev_queries")
    )
    logs = [LogTable(train, TRAIN_COLUMNS, "train"), LogTable(test, TEST_COLUMNS, "test")]
    return ShopTables(products, COLUMNS, logs)


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the catalog and prints what was imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args(arguments)
    tables = open_fashion_log(options.folder)
    print(import_tables(tables, out=options.out, title=options.folder.name, overwrite=options.overwrite))


if __name__ == "__main__":
    main()
