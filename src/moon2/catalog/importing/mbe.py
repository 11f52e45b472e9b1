"""MBE and MBE2.0, the benchmarks of MOON and MOON2.0: rows of a search, each with the product that answered it.

Public code shows the product's columns: id, doc_title, doc_image, doc_industry_name, doc_cate1_name to doc_cate4_name,
and doc_attributes: `key:value` pairs joined by `,,`, with several values of a key joined by `!!!`. The columns of the
query, and of MBE2.0's negatives, are unknown. Likely names are tried; if none fits, the error lists the columns of the
table. Rows are read three times: as test products, as training products, and as searches. So a product of both splits
is a test product in any order of the files, and the training searches that found it are rejected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b

from moon2.catalog.importing.cells import to_split, to_text
from moon2.catalog.importing.columns import ColumnMapping, as_names, fill_mapping
from moon2.catalog.importing.log_columns import LogMapping
from moon2.catalog.importing.public_datasets import open_files, pairs_of
from moon2.catalog.importing.sources import PLACE, BadRow, LogTable, Row, ShopTables, Source, SplitRows
from moon2.catalog.schema import CatalogError
from moon2.records import RecordError

# Of the product's columns; the first prefix with a title is taken.
PREFIXES = ("doc_", "pos_doc_", "positive_doc_", "positive_", "pos_", "item_", "product_", "")
NEGATIVE_PREFIXES = ("neg_doc_", "negative_doc_", "negative_", "neg_")
IDS = ("id", "item_id", "doc_id")
IMAGES = ("image", "images", "image_url", "img", "pic")
CATEGORY = ("industry_name", "cate1_name", "cate2_name", "cate3_name", "cate4_name")
QUERY_TEXTS = ("query", "query_text", "query_title", "search_query", "keyword", "keywords", "search_term")
QUERY_IMAGES = ("query_image", "query_image_url", "query_img", "query_pic", "query_picture")
QUERY_IDS = ("query_id", "qid", "search_id")
NEGATIVES = ("negative_ids", "neg_ids", "negative_id", "neg_id", "neg_doc_id")
EXPOSURES = ("exposed_ids", "exposures", "exposure_ids")
# As the datasets state them.
LICENCES = {"mbe": "apache-2.0", "mbe2": "unknown"}


def open_mbe(
    source: str, subset: str | None, columns: ColumnMapping, log_columns: LogMapping, *, licence: str = "unknown"
) -> ShopTables:
    """Opens MBE or MBE2.0 from the hub or a local copy.

    Args:
        source: hub id, or folder or file (parquet, csv, json, jsonl).
        subset: configuration of the hub dataset.
        columns: columns of the product; those left open are guessed.
        log_columns: columns of the query; `text=""` without an image leaves the queries out.

    Raises:
        CatalogError: the source cannot be read, or a needed column is neither named nor found; the message lists the
            columns of the table.
    """
    table = open_files(source, subset)
    mapping = fill_mapping(columns, _guess_product(table.columns)).resolve(table.columns, table.name)
    in_test: set[str] = set()
    rows = _product_rows(table, lambda: open_files(source, subset), mapping, in_test)
    tables = ShopTables(replace(table, rows=rows), mapping, licence=licence)
    if log_columns.text == "" and not log_columns.image and not log_columns.product_id:
        return tables
    log_mapping = fill_mapping(log_columns, _guess_query(table.columns, mapping))
    if not (log_mapping.text or log_mapping.image or log_mapping.product_id):
        raise CatalogError(
            f"{table.name}: which column is the query? Name it with --log_columns.text or --log_columns.image, or "
            f'leave queries out with --log_columns.text ""; its columns are {", ".join(table.columns)}'
        )
    searches = open_files(source, subset)
    negative = _negative_columns(table.columns, mapping)
    searches = replace(searches, rows=_search_rows(searches, mapping, negative, in_test))
    if negative:
        searches.columns = [*searches.columns, "negative product"]
        if not log_mapping.negatives:
            log_mapping = replace(log_mapping, negatives="negative product")
    tables.logs = [LogTable(searches, log_mapping)]
    return tables


def _guess_product(columns: list[str]) -> ColumnMapping:
    prefix = next((p for p in PREFIXES if f"{p}title" in columns), "doc_")

    def first(*names: str) -> str | None:
        return next((name for name in names if name in columns), None)

    return ColumnMapping(
        id=first(*(f"{prefix}{name}" for name in IDS), *IDS),
        title=first(f"{prefix}title"),
        images=first(*(f"{prefix}{name}" for name in IMAGES)),
        category=tuple(f"{prefix}{name}" for name in CATEGORY if f"{prefix}{name}" in columns) or None,
        attributes=first(f"{prefix}attributes", f"{prefix}attribute"),
    )


def _guess_query(columns: list[str], products: ColumnMapping) -> LogMapping:
    def first(names: tuple[str, ...]) -> str:
        return next((name for name in names if name in columns), "")

    return LogMapping(
        id=first(QUERY_IDS),
        text=first(QUERY_TEXTS),
        image=first(QUERY_IMAGES),
        product_id="",
        positives=products.id,
        negatives=first(NEGATIVES),
        exposures=first(EXPOSURES),
        split=products.split,
    )


def _negative_columns(columns: list[str], mapping: ColumnMapping) -> dict[str, str]:
    """The product's columns → the columns of the row's negative product; empty if rows have no such product."""
    title = _title(mapping)
    prefix = next((p for p in PREFIXES if p and title.startswith(p)), "")
    for other in NEGATIVE_PREFIXES:
        negative = {f"{prefix}{name[len(other) :]}": name for name in columns if name.startswith(other)}
        if title in negative:
            return negative
    return {}


def _product_rows(table: Source, reopen: Callable[[], Source], mapping: ColumnMapping, in_test: set[str]) -> SplitRows:
    """Every product once, those of test rows first; their ids are added to `in_test`."""
    negative = _negative_columns(table.columns, mapping)
    seen: set[int] = set()
    for of_test in (True, False):
        for split, row in (table if of_test else reopen()).rows:
            if _is_test(split, row, mapping) != of_test:
                continue
            if isinstance(row, BadRow):
                yield split, row
                continue
            for product in (row, _negative(row, mapping, negative)):
                if product is None:
                    continue
                # A product comes once for each search that found it. Another title under its id is listed as a fault.
                id = to_text(product.get(mapping.id or "")).strip()
                key = hash((id, to_text(product.get(_title(mapping)))))
                if id and key in seen:
                    continue
                seen.add(key)
                if of_test:
                    in_test.add(id)
                yield split, _with_attributes(product, mapping)


def _is_test(split: str | None, row: Row | BadRow, mapping: ColumnMapping) -> bool:
    if isinstance(row, BadRow):
        return False
    try:
        return to_split(row.get(mapping.split) if mapping.split else split) == "test"
    except RecordError:  # the import rejects the row
        return False


def _search_rows(table: Source, mapping: ColumnMapping, negative: dict[str, str], in_test: set[str]) -> SplitRows:
    for split, row in table.rows:
        if isinstance(row, BadRow):
            yield split, row
            continue
        id = to_text(row.get(mapping.id or "")).strip()
        if id in in_test and not _is_test(split, row, mapping):
            message = f"product {id!r} of this training search is a test product; the row is left out"
            yield split, BadRow("in_both_splits", message, row.get(PLACE))
            continue
        if negative:
            product = _negative(row, mapping, negative)
            ids = [] if product is None else [to_text(product.get(mapping.id or "")).strip()]
            row = {**row, "negative product": ids}
        yield split, row


def _title(mapping: ColumnMapping) -> str:
    return next(iter(as_names(mapping.title)), "")


def _negative(row: Row, mapping: ColumnMapping, negative: dict[str, str]) -> Row | None:
    """The row with its negative as the product; None if it has none. A negative without an id gets one."""
    title = row.get(negative.get(_title(mapping), ""))
    if not to_text(title).strip():
        return None
    product: Row = {**row, **{name: row.get(other) for name, other in negative.items()}}
    id = mapping.id or ""
    if not id and PLACE in row:  # numbered, it is another product than that of its row
        product[PLACE] = row[PLACE]._replace(number=-row[PLACE].number)
    if id and id not in negative:
        images = (row.get(negative.get(name, "")) for name in mapping.images or ())
        # Bytes of images are not part of the id, only names and URLs.
        known = repr([to_text(title), *(image if isinstance(image, str) else "" for image in images)])
        product[id] = f"negative-{blake2b(known.encode(), digest_size=8).hexdigest()}"
    return product


def _with_attributes(row: Row, mapping: ColumnMapping) -> Row:
    texts = {name: row.get(name) for name in mapping.attributes or ()}
    pairs = {n: pairs_of(t, ",,", ":", "!!!") for n, t in texts.items() if isinstance(t, str) and ":" in t}
    return {**row, **pairs} if pairs else row
