"""Amazon's Shopping Queries (ESCI), with the photos of SQID: human grades of the products shown for a query.

ESCI (arXiv 2206.06588, Apache-2.0) has two Parquet files: examples, one row a judgement, and products, by locale.
`--subset us`, `es` or `jp` is the small version, on which its ranking task is defined; `us-large` is the large one.
The split of the queries is kept. Products have none: those judged for a test query are the `test` split, and so the
gallery. Training queries may name them too, as published. A grade is ESCI's gain: exact 1, substitute 0.1, complement
0.01, irrelevant 0; exact is positive, irrelevant negative.

SQID (arXiv 2405.15190, MIT) has CSV files of product_id and image_url, of the American test products; put them anywhere
below the folder. Many addresses are gone: what `--fetch` cannot have is listed.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from moon2.catalog.importing.columns import ColumnMapping, fill_mapping
from moon2.catalog.importing.csv_rows import open_csv
from moon2.catalog.importing.log_columns import LogMapping
from moon2.catalog.importing.sources import BadRow, LogTable, ShopTables, Source, SplitRows
from moon2.catalog.schema import CatalogError
from moon2.errors import one_line

LOCALES = ("us", "es", "jp")
GAINS = {"E": 1.0, "S": 0.1, "C": 0.01, "I": 0.0}
LICENCE = "apache-2.0"
EXAMPLES, PRODUCTS = "shopping_queries_dataset_examples.parquet", "shopping_queries_dataset_products.parquet"
IMAGES = ("product_image_urls.csv", "supp_product_image_urls.csv")
_NO_PHOTO = "Default_Background_Art"  # of videos without a picture of their own, says SQID
_JUDGED = ("query_id", "query", "product_id", "esci_label", "split", "product_locale")


def open_esci(source: str, subset: str | None, columns: ColumnMapping, log_columns: LogMapping) -> ShopTables:
    """ESCI from a folder with its two Parquet files, and SQID's CSV files if there are any.

    Args:
        source: the folder.
        subset: locale, and "-large" for the large version; "us" when not given.
        columns, log_columns: what they name wins, such as `positive_if="0.1"`.

    Raises:
        CatalogError: a file is missing or of another layout, or there is no such subset.
    """
    locale, _, version = (subset or LOCALES[0]).partition("-")
    if locale not in LOCALES or version not in ("", "large"):
        raise CatalogError(f"--subset {subset}: of ESCI there are us, es and jp, and us-large, es-large and jp-large")
    examples, products = _find(source, EXAMPLES), _find(source, PRODUCTS)
    version_column = "large_version" if version else "small_version"
    judged = _read_judged(examples, locale, version_column)
    in_test = set(judged.filter(pc.equal(judged["split"], "test"))["product_id"].to_pylist())
    wanted = set(judged["product_id"].to_pylist())
    images, unread = _read_images(Path(source), wanted)
    rows = chain(((None, row) for row in unread), _product_rows(products, locale, wanted, in_test, images))
    made = ["description", "brand", "colour", "image"]
    table = Source(
        products.name,
        ["product_id", "product_title", *made],
        rows,
        products.parent,
        len(wanted),
    )
    mapping = ColumnMapping.only(
        id="product_id",
        title="product_title",
        description="description",
        attributes=("brand", "colour"),
        images="image",
    )
    log = Source(
        examples.name, ["query_id", "query", "product_id", "gain", "split"], _log_rows(judged), total=len(judged)
    )
    log_mapping = LogMapping.only(
        id="query_id",
        text="query",
        exposures="product_id",
        grade="gain",
        positive_if=str(GAINS["E"]),
        split="split",
    )
    log_table = LogTable(log, fill_mapping(log_columns, log_mapping))
    return ShopTables(table, fill_mapping(columns, mapping), [log_table], LICENCE)


def _find(source: str, name: str) -> Path:
    path = next(iter(sorted(Path(source).rglob(name))), None) if Path(source).is_dir() else None
    if path is None:
        raise CatalogError(f"{source}: holds no {name}; give the folder of ESCI's two Parquet files")
    return path


def _read_judged(path: Path, locale: str, version: str) -> pa.Table:
    """The judgements of one locale and version; their text and labels are in memory, about 100 bytes each."""
    try:
        table = pq.read_table(path, columns=[*_JUDGED], filters=[("product_locale", "==", locale), (version, "==", 1)])
        if lacking := {*_JUDGED} - {*table.column_names}:
            raise ValueError(f"it has no column {sorted(lacking)[0]}")
    except (OSError, pa.ArrowException, ValueError) as error:
        raise CatalogError(f"{path}: is not ESCI's table of examples ({one_line(error)})") from None
    if not len(table):
        raise CatalogError(f"{path}: has no judgements of {locale} with {version} 1; choose another --subset")
    return table


def _log_rows(judged: pa.Table) -> SplitRows:
    for batch in judged.to_batches(max_chunksize=10_000):
        for row in batch.to_pylist():
            label = row["esci_label"]
            if label not in GAINS:
                message = f"query {row['query_id']} has the label {label!r}, which is not E, S, C or I"
                yield None, BadRow("bad_grade", message)
            else:
                yield None, row | {"gain": GAINS[label]}


def _product_rows(path: Path, locale: str, wanted: set[str], in_test: set[str], images: dict[str, str]) -> SplitRows:
    names = [f"product_{name}" for name in ("id", "title", "description", "bullet_point", "brand", "color", "locale")]
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=10_000, columns=names):
            for row in batch.filter(pc.equal(batch["product_locale"], locale)).to_pylist():
                id = row["product_id"]
                if id in wanted:
                    yield "test" if id in in_test else "train", _product(row, images.get(id, ""))
    except (OSError, pa.ArrowException, KeyError) as error:
        raise CatalogError(f"{path}: is not ESCI's table of products ({one_line(error)})") from None


def _product(row: dict[str, Any], image: str) -> dict[str, Any]:
    texts = (row["product_description"], row["product_bullet_point"])
    return row | {
        "description": " ".join(text for text in texts if text),
        "brand": row["product_brand"],
        "colour": row["product_color"],
        "image": image,
    }


def _read_images(folder: Path, wanted: set[str]) -> tuple[dict[str, str], list[BadRow]]:
    """Product → address of its photo, and the rows of SQID that cannot be read."""
    images: dict[str, str] = {}
    unread: list[BadRow] = []
    for path in (path for name in IMAGES for path in sorted(folder.rglob(name))):
        table = open_csv([path])
        if lacking := {"product_id", "image_url"} - {*table.columns}:
            raise CatalogError(f"{path}: is not SQID's table of images (it has no column {sorted(lacking)[0]})")
        for _, row in table.rows:
            if isinstance(row, BadRow):
                unread.append(row)
            elif row["product_id"] in wanted and row["image_url"] and _NO_PHOTO not in row["image_url"]:
                images[row["product_id"]] = row["image_url"]
    return images, unread
