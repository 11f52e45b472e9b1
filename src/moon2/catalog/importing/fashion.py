"""The fashion search log: a real fashion catalog with a simulated log, as a folder of three Parquet files.

`products.parquet` becomes the products (its split `dev` is our `test`, its column `brand` an attribute),
`train_log.parquet` the training interactions and `dev_queries.parquet` the test ones. Which rows of the log are wrong
is told by a file of its own, for measuring only: nothing here reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from moon2.catalog.importing.columns import ColumnMapping, LogMapping
from moon2.catalog.importing.sources import Source, open_source
from moon2.catalog.schema import CatalogError

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
_QUERY = {"id": "query_id", "text": "query_text", "product_id": "query_image_product_id", "split": ""}
_LOGS = {
    "train": ("train_log.parquet", LogMapping(**_QUERY, positives="purchased_id", negatives="ignored_ids")),
    "test": ("dev_queries.parquet", LogMapping(**_QUERY, positives="relevant_ids", negatives="")),
}


def open_products(folder: str | Path) -> Source:
    """The products, read by `COLUMNS`.

    Raises:
        CatalogError: there is no `products.parquet` in the folder.
    """
    return _open(folder, "products.parquet")


def open_logs(folder: str | Path) -> Iterator[tuple[str, Source, LogMapping]]:
    """Split, table and mapping of the training log and of the test queries.

    Raises:
        CatalogError: one of them is not in the folder.
    """
    for split, (name, mapping) in _LOGS.items():
        yield split, _open(folder, name), mapping


def _open(folder: str | Path, name: str) -> Source:
    if not (Path(folder) / name).is_file():
        raise CatalogError(f"{folder}: has no {name}; a fashion-log is a folder with products, log and queries")
    return open_source(Path(folder) / name, "parquet")
