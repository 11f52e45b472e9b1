"""MBE and MBE2.0, the benchmarks of MOON and MOON2.0: rows of a search, each with the product that answered it.

The product's columns are known from public code: id, doc_title, doc_image, doc_industry_name, doc_cate1_name to
doc_cate4_name, and doc_attributes, `key:value` pairs joined by `,,` with several values of a key joined by `!!!`. The
columns of the query, and of MBE2.0's negatives, were not seen: likely names are tried, and when none fits the columns
there are stand in the message, so that they can be named. Rows are read three times: as products of the test part, as
those of training, and as searches. A product of both parts is thus a test product, whatever the order of the files, and
the training searches that found it are put aside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from moon2.catalog.importing.columns import ColumnMapping, LogMapping, to_split, to_text
from moon2.catalog.importing.public_datasets import PublicSet, Row, open_files, over, pairs_of
from moon2.catalog.importing.sources import BadRow, Source
from moon2.catalog.schema import CatalogError
from moon2.records import RecordError

# Before the name of a product's column; the first with a title is taken.
PREFIXES = ("doc_", "pos_doc_", "positive_doc_", "positive_", "pos_", "item_", "product_", "")
NEGATIVE_PREFIXES = ("neg_doc_", "negative_doc_", "negative_", "neg_")
IDS = ("id", "item_id", "doc_id")
CATEGORY = ("industry_name", "cate1_name", "cate2_name", "cate3_name", "cate4_name")
QUERY_TEXTS = ("query", "query_text", "query_title", "search_query", "keyword", "keywords", "search_term")
QUERY_IMAGES = ("query_image", "query_image_url", "query_img", "query_pic", "query_picture")
QUERY_IDS = ("query_id", "qid", "search_id")
NEGATIVES = ("negative_ids", "neg_ids", "negative_id", "neg_id", "neg_doc_id")
EXPOSURES = ("exposed_ids", "exposures", "exposure_ids")
# What the two sets state for themselves.
LICENCES = {"mbe": "apache-2.0", "mbe2": "unknown"}


def open_mbe(
    source: str | Path,
    subset: str | None,
    columns: ColumnMapping | None,
    log_columns: LogMapping | None,
    *,
    licence: str = "unknown",
) -> PublicSet:
    """Opens MBE or MBE2.0 from the hub or a local copy.

    Args:
        source: hub id, or folder or file (parquet, csv, json, jsonl).
        subset: of the hub dataset, its configuration.
        columns: which column of the product means what; what is open is guessed.
        log_columns: the same of the query; `text=""` with no picture leaves the queries out.

    Raises:
        CatalogError: the source cannot be read, or a needed column is neither named nor found; the message lists
            those that are there.
    """
    table = open_files(source, subset)
    mapping = over(columns, _guess_product(table.columns)).resolve(table.columns, table.name)
    in_test: set[str] = set()
    rows = _product_rows(lambda: open_files(source, subset), table, mapping, in_test)
    products = replace(table, rows=rows)
    found = PublicSet(products, mapping, licence=licence)
    asked = log_columns or LogMapping()
    if asked.text == "" and not asked.image and not asked.product_id:
        return found
    log_mapping = over(asked, _guess_query(table.columns, mapping))
    if not (log_mapping.text or log_mapping.image or log_mapping.product_id):
        raise CatalogError(
            f"{table.name}: which column is the query? Name it with --log_columns.text or --log_columns.image, or "
            f'leave queries out with --log_columns.text ""; its columns are {", ".join(table.columns)}'
        )
    searches = open_files(source, subset)
    side = _negative_side(table.columns, mapping)
    searches = replace(searches, rows=_search_rows(searches, mapping, side, in_test))
    if side:
        searches = replace(searches, columns=[*searches.columns, "negative product"])
        if not log_mapping.negatives:
            log_mapping = replace(log_mapping, negatives="negative product")
    found.logs = [(None, searches, log_mapping)]
    return found


def _guess_product(columns: list[str]) -> ColumnMapping:
    prefix = next((p for p in PREFIXES if f"{p}title" in columns), "doc_")

    def first(*names: str) -> str | None:
        return next((name for name in names if name in columns), None)

    return ColumnMapping(
        id=first(*(f"{prefix}{name}" for name in IDS), *IDS),
        title=first(f"{prefix}title"),
        images=first(*(f"{prefix}{name}" for name in ("image", "images", "image_url", "img", "pic"))),
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


def _negative_side(columns: list[str], mapping: ColumnMapping) -> dict[str, str]:
    """The product's columns → those of a negative that the row holds too; empty where it holds none."""
    prefix = next((p for p in PREFIXES if p and (mapping.title or "").startswith(p)), "")
    for other in NEGATIVE_PREFIXES:
        side = {f"{prefix}{name[len(other) :]}": name for name in columns if name.startswith(other)}
        if mapping.title in side:
            return side
    return {}


def _product_rows(
    again: Callable[[], Source], table: Source, mapping: ColumnMapping, in_test: set[str]
) -> Iterator[tuple[str | None, Row | BadRow]]:
    """Every product once, those of test rows first; their ids are added to `in_test`."""
    side = _negative_side(table.columns, mapping)
    seen: set[int] = set()
    for wanted, rows in ((True, table.rows), (False, _rows_of(again))):
        for split, row in rows:
            if _is_test(split, row, mapping) != wanted:
                continue
            if isinstance(row, BadRow):
                yield split, row
                continue
            for product in (row, _negative(row, mapping, side)) if side else (row,):
                if product is None:
                    continue
                # A product comes once for each search that found it; another title under its id is a fault, and listed.
                id = to_text(product.get(mapping.id or "")).strip()
                same = hash((id, to_text(product.get(mapping.title or ""))))
                if id and same in seen:
                    continue
                seen.add(same)
                if wanted:
                    in_test.add(id)
                yield split, _with_attributes(product, mapping)


def _rows_of(again: Callable[[], Source]) -> Iterator[tuple[str | None, Row | BadRow]]:
    """The rows of a table that is opened only when the first of them is asked for."""
    yield from again().rows


def _is_test(split: str | None, row: Row | BadRow, mapping: ColumnMapping) -> bool:
    if isinstance(row, BadRow):
        return False
    try:
        return to_split(row.get(mapping.split) if mapping.split else split) == "test"
    except RecordError:  # put aside by the import, which says why
        return False


def _search_rows(
    table: Source, mapping: ColumnMapping, side: dict[str, str], in_test: set[str]
) -> Iterator[tuple[str | None, Row | BadRow]]:
    for split, row in table.rows:
        if isinstance(row, BadRow):
            yield split, row
            continue
        id = to_text(row.get(mapping.id or "")).strip()
        if id in in_test and not _is_test(split, row, mapping):
            message = f"{table.name}: product {id!r} of this training search is a test product; it is not learned from"
            yield split, BadRow("in_both_splits", message)
            continue
        if side:
            negative = _negative(row, mapping, side)
            found = [] if negative is None else [to_text(negative.get(mapping.id or "")).strip()]
            row = {**row, "negative product": found}
        yield split, row


def _negative(row: Row, mapping: ColumnMapping, side: dict[str, str]) -> Row | None:
    """The row as if the negative were its product; None where it has none. Without an id of its own, it gets one."""
    title = row.get(side.get(mapping.title or "", ""))
    if not to_text(title).strip():
        return None
    negative: Row = {**row, **{own: row.get(other) for own, other in side.items()}}
    id = mapping.id or ""
    if id not in side:
        known = repr([to_text(title), *(_named(row.get(side.get(name, ""))) for name in mapping.images or ())])
        negative[id] = f"negative-{blake2b(known.encode(), digest_size=8).hexdigest()}"
    return negative


def _named(picture: Any) -> str:
    """A picture's name or URL; what is bytes or pixels takes no part in a made-up id."""
    return picture if isinstance(picture, str) else ""


def _with_attributes(row: Row, mapping: ColumnMapping) -> Row:
    texts = {name: row.get(name) for name in mapping.attributes or ()}
    pairs = {n: pairs_of(t, ",,", ":", "!!!") for n, t in texts.items() if isinstance(t, str) and ":" in t}
    return {**row, **pairs} if pairs else row
