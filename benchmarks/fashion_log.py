"""Imports the fashion search log, a real fashion catalog with a simulated log, which the fashion benchmarks need.

    python benchmarks/fashion_log.py FOLDER --out DATA [--hold_out] [--rows 1000]

FOLDER has products.parquet (its split `dev` becomes `test`), train_log.parquet (the training interactions) and
dev_queries.parquet (the test interactions). Another file lists the wrong rows of the log, for measuring only; it is not
read here.

With `--hold_out` the test set is left alone: as many products of the training split take its place, whole styles drawn
by chance, and their queries with them. Settings are chosen on that, so that the test set is looked at once. With
`--rows` the shop is small: so many rows of the training log, drawn by chance, and the products that they name.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

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
TEST_PRODUCTS = 4_442
TEST_QUERIES = 636


def open_fashion_log(folder: Path, with_log: bool = True) -> ShopTables:
    """The three tables, ready to be imported, or the two without the training log.

    Raises:
        CatalogError: one of them is missing.
    """
    products, train, test = (
        open_source(folder / f"{name}.parquet", "parquet") for name in ("products", "train_log", "dev_queries")
    )
    logs = [LogTable(train, TRAIN_COLUMNS, "train"), LogTable(test, TEST_COLUMNS, "test")]
    return ShopTables(products, COLUMNS, logs if with_log else logs[1:])


def hold_out(folder: Path, out: Path) -> None:
    """Writes the same three tables to `out`, with training styles and their queries in the place of the test set.

    A query's answers are the products of its photo's style (brand, gender, article type, colour), as in the test set.
    Rows whose purchase is of another style, which are mostly false, are no queries; nor do they stay in training.
    """
    out.mkdir()
    products = pq.read_table(folder / "products.parquet")
    products = products.filter(pc.equal(products["split"], "train"))
    styles: dict[tuple[str | None, ...], list[str]] = defaultdict(list)
    columns = (products[name].to_pylist() for name in ("id", "brand", "category", "attributes"))
    for id, brand, category, attributes in zip(*columns, strict=True):
        known = json.loads(attributes)
        styles[brand, known.get("gender"), category[-1], known.get("base_colour")].append(id)
    order = sorted(styles, key=str)
    random.Random(0).shuffle(order)
    style_of: dict[str, tuple[str | None, ...]] = {}
    for style in order:
        if len(style_of) < TEST_PRODUCTS:
            style_of |= dict.fromkeys(styles[style], style)
    log = pq.read_table(folder / "train_log.parquet")
    training, queries = [], []
    for row in log.to_pylist():
        shown = row["query_image_product_id"]
        style = style_of.get(shown)
        if style is None and row["purchased_id"] not in style_of:
            training.append(row | {"ignored_ids": [id for id in row["ignored_ids"] if id not in style_of]})
        elif style is not None and style == style_of.get(row["purchased_id"]):
            query = {name: row[name] for name in ("query_id", "query_text", "query_image_product_id")}
            queries.append(query | {"relevant_ids": [id for id in styles[style] if id != shown]})
    split = pa.array(["dev" if id in style_of else "train" for id in products["id"].to_pylist()])
    held = products.set_column(products.schema.get_field_index("split"), "split", split)
    pq.write_table(held, out / "products.parquet")
    pq.write_table(pa.Table.from_pylist(training), out / "train_log.parquet")
    pq.write_table(
        pa.Table.from_pylist(random.Random(0).sample(queries, min(TEST_QUERIES, len(queries)))),
        out / "dev_queries.parquet",
    )


def small_shop(folder: Path, out: Path, rows: int) -> None:
    """Writes the same three tables to `out` with so many rows of the training log and the products that they name."""
    out.mkdir()
    log = pq.read_table(folder / "train_log.parquet")
    log = log.take(sorted(random.Random(0).sample(range(len(log)), rows)))
    ignored = log["ignored_ids"].combine_chunks().flatten()
    named = {id for ids in (log["query_image_product_id"], log["purchased_id"], ignored) for id in ids.to_pylist()}
    products = pq.read_table(folder / "products.parquet")
    kept = pc.or_(pc.is_in(products["id"], pa.array(sorted(named))), pc.not_equal(products["split"], "train"))
    pq.write_table(products.filter(kept), out / "products.parquet")
    pq.write_table(log, out / "train_log.parquet")
    shutil.copy(folder / "dev_queries.parquet", out)


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the catalog and prints what was imported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--hold_out", action="store_true", help="test on queries of the training split")
    parser.add_argument("--rows", type=int, help="of the training log; all when not given")
    options = parser.parse_args(arguments)
    print(import_fashion(options.folder, options.out, options.hold_out, options.rows, overwrite=options.overwrite))


def import_fashion(
    folder: Path,
    out: Path,
    held_out: bool = False,
    rows: int | None = None,
    *,
    with_log: bool = True,
    overwrite: bool = False,
) -> object:
    """Imports the log as the options of the command say; gives what the import reports."""
    with TemporaryDirectory() as place:
        current = folder
        if held_out:
            hold_out(current, current := Path(place, "held_out"))
        if rows is not None:
            small_shop(current, current := Path(place, "small"), rows)
        return import_tables(open_fashion_log(current, with_log), out=out, title=folder.name, overwrite=overwrite)


if __name__ == "__main__":
    main()
