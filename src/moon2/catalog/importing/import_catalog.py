"""Importing a shop: a table of products, perhaps a search log, becomes a catalog; what cannot be used is listed.

Rows stream through: one is read, checked, its pictures decoded once to know that they can be, and written; memory does
not grow with the pictures (those fetched by URL come a bounded number of rows ahead). A row that breaks a rule is put
aside with its reason. A fault in what a product can do without (one of several pictures, the description) costs only
that part, which is listed as well.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from tqdm.auto import tqdm

from moon2.catalog.importing import fashion, mbe
from moon2.catalog.importing import public_datasets as public
from moon2.catalog.importing.columns import (
    ColumnMapping,
    LogMapping,
    read_fields,
    read_pictures,
    to_ids,
    to_split,
    to_text,
)
from moon2.catalog.importing.download import FetchError, PictureFetcher
from moon2.catalog.importing.sources import BadRow, Source, open_source
from moon2.catalog.schema import CatalogError, Reject, is_url
from moon2.catalog.store import Catalog, CatalogWriter
from moon2.images import ImageError, open_image
from moon2.records import Interaction, Product, Query, RecordError

Format = Literal["csv", "parquet", "hub", "fashion-log", "mbe", "mbe2", "fashion200k", "m5product", "fashion-products"]
_PUBLIC: dict[str, Callable[..., public.PublicSet]] = {
    **{name: partial(mbe.open_mbe, licence=licence) for name, licence in mbe.LICENCES.items()},
    "fashion200k": public.open_fashion200k,
    "m5product": public.open_m5product,
    "fashion-products": public.open_fashion_products,
}
# The number of a row, the split that the table states for it, and what it holds.
_Row: TypeAlias = tuple[int, str | None, dict[str, Any] | BadRow]


@dataclass(frozen=True)
class ImportResult:
    """What an import did.

    Attributes:
        catalog: the new catalog, opened.
        products: how many products it has.
        interactions: how many events of a search log it has.
        rejected: rows put aside, of products and log together.
        dropped: pictures, descriptions and log entries left out of rows that were kept.
        reasons: how often each reason was met; they sum to `rejected` + `dropped`.
        unfetched: pictures that stayed URLs, which training and evaluation cannot read.
    """

    catalog: Catalog
    products: int
    interactions: int
    rejected: int
    dropped: int
    reasons: dict[str, int]
    unfetched: int = 0

    def __str__(self) -> str:
        told = f"{self.catalog.folder}: {self.products:,} products, {self.interactions:,} log entries"
        if not self.reasons:
            return f"{told}; nothing was put aside"
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in self.reasons.items())
        return (
            f"{told}; {self.rejected:,} rows put aside, {self.dropped:,} parts dropped ({reasons}): see rejects.parquet"
        )


def import_catalog(
    source: str | Path,
    out: str | Path,
    *,
    format: Format,
    columns: ColumnMapping | None = None,
    log: str | Path | None = None,
    log_columns: LogMapping | None = None,
    subset: str | None = None,
    embed_images: bool = True,
    fetch_images: bool = False,
    allow_private_hosts: bool = False,
    title: str | None = None,
    licence: str = "unknown",
    overwrite: bool = False,
    show_progress: bool = True,
) -> ImportResult:
    """Makes a catalog of a table of products and, perhaps, a search log.

    Args:
        source: file, folder or glob (csv, parquet), hub id or local folder (hub), the data's folder (fashion-log), hub
            id or local copy (the public sets, see `public.py` and `mbe.py`).
        out: the new catalog; it appears when the import is complete, never half.
        format: what `source` is.
        columns: which column means what; what it leaves open is found by the usual names.
        log: a second table, CSV or Parquet by its ending, with queries and the products bought.
        log_columns: which column of `log` means what.
        subset: of a hub dataset, its configuration.
        embed_images: put the bytes of picture files into the catalog; otherwise it refers to the files where they
            are.
        fetch_images: download the pictures that are URLs and put their bytes into the catalog; otherwise they stay
            URLs, unread. One that cannot be fetched counts as one that cannot be read. What was fetched is kept beside
            `out` until the catalog is complete, so that an import that was killed does not fetch it again.
        allow_private_hosts: download also from hosts in private networks and on this machine.
        title, licence: for the dataset card.
        overwrite: replace a catalog that is at `out`; anything else there is never replaced.
        show_progress: a bar on standard error.

    Raises:
        CatalogError: the source cannot be read, a column is missing, `out` is in use, no product could be used, or
            arguments exclude each other.
    """
    if format not in get_args(Format):
        raise CatalogError(f"{source}: format {format!r} is not known; formats are {', '.join(get_args(Format))}")
    if fetch_images and not embed_images:
        raise CatalogError(f"{source}: --fetch brings pictures in, --refer leaves them where they are; choose one")
    if allow_private_hosts and not fetch_images:
        raise CatalogError(f"{source}: --allow_private_hosts says what --fetch may do; add --fetch")
    logs: list[tuple[str | None, Source, LogMapping | None]] = []
    if format == "fashion-log":
        if columns or log or log_columns:
            raise CatalogError(f"{source}: fashion-log knows its columns and its log; leave the mapping and log out")
        table, columns = fashion.open_products(source), fashion.COLUMNS
        logs = list(fashion.open_logs(source))
    elif format in _PUBLIC:
        found = _PUBLIC[format](source, subset, columns, log_columns)
        table, columns, logs = found.products, found.columns, list(found.logs)
        licence = found.licence if licence == "unknown" else licence
    else:
        table = open_source(source, format, subset)
    if log is not None:
        kind = "parquet" if Path(log).suffix.lower() in (".parquet", ".pq") or Path(log).is_dir() else "csv"
        logs = [(None, open_source(log, kind), log_columns)]
    mapping = (columns or ColumnMapping()).resolve(table.columns, table.name)
    resolved = [(split, entry, (m or LogMapping()).resolve(entry.columns, entry.name)) for split, entry, m in logs]

    writer = CatalogWriter(out, title=title or Path(source).stem, licence=licence, overwrite=overwrite)
    kept = writer.folder.with_name(f".{writer.folder.name}.fetched")
    with writer, ExitStack() as stack:
        fetcher = None
        if fetch_images:
            fetcher = stack.enter_context(PictureFetcher(allow_private_hosts=allow_private_hosts, keep=kept))
        importer = _Importer(writer, embed_images, fetcher)
        bar = tqdm(total=table.total, unit=" products", desc=f"import {table.name}", disable=not show_progress)
        with bar:
            importer.add_products(table, mapping, bar)
        if not importer.products:
            why = f"; the first: {importer.first_reject}" if importer.first_reject else "; the table has no rows"
            raise CatalogError(f"{source}: no product could be used{why}")
        for split, entry, log_mapping in resolved:
            bar = tqdm(total=entry.total, unit=" queries", desc=f"import {entry.name}", disable=not show_progress)
            with bar:
                importer.add_log(entry, log_mapping, split, bar)
    shutil.rmtree(kept, ignore_errors=True)
    return ImportResult(
        catalog=Catalog.open(out),
        products=importer.products,
        interactions=importer.interactions,
        rejected=importer.rejected,
        dropped=importer.dropped,
        reasons=dict(importer.reasons.most_common()),
        unfetched=importer.unfetched,
    )


class _Importer:
    """Checks rows and hands them to the writer, keeping count of what was put aside."""

    def __init__(self, writer: CatalogWriter, embed_images: bool, fetcher: PictureFetcher | None) -> None:
        self.writer, self.embed_images, self.fetcher = writer, embed_images, fetcher
        self.products = self.interactions = self.rejected = self.dropped = self.unfetched = 0
        self.reasons: Counter[str] = Counter()
        self.first_reject = ""

    def reject(self, row: int, id: str, reason: str, message: str) -> None:
        """Lists a row that is put aside."""
        self.rejected += 1
        self.first_reject = self.first_reject or message
        self._list(row, id, reason, message)

    def drop(self, row: int, id: str, reason: str, message: str) -> None:
        """Lists a part that is left out of a row that is kept."""
        self.dropped += 1
        self._list(row, id, reason, message)

    def _list(self, row: int, id: str, reason: str, message: str) -> None:
        self.reasons[reason] += 1
        self.writer.add_reject(Reject(row, id, reason, message))

    def add_products(self, table: Source, mapping: ColumnMapping, bar: tqdm[Any]) -> None:
        for (number, stated, row), fetched in self._fetched(table, mapping, bar):
            id = ""
            if isinstance(row, BadRow):
                self.reject(number, id, row.reason, row.message)
                continue
            try:
                id = to_text(row.get(mapping.id or "")).strip()
                split = to_split(row.get(mapping.split) if mapping.split else stated)
                fields = read_fields(row, mapping)
                if id in self.writer.product_ids:
                    raise RecordError("duplicate_id", f"product {id!r}: this id was there before; the first is kept")
                faults: list[tuple[str, str]] = []
                fields["description"] = _usable_description(id, fields["description"], faults)
                fields["images"] = self._readable(id, read_pictures(row, mapping, table.folder), fetched, faults)
                product = Product(**fields)
            except RecordError as error:
                self.reject(number, id, error.reason, f"{table.name} row {number}: {error}")
                continue
            for reason, message in faults:
                self.drop(number, id, reason, f"{table.name} row {number}: {message}")
            self.writer.add_product(product, split)
            self.products += 1
            self.unfetched += sum(isinstance(picture, str) and is_url(picture) for picture in product.images)

    def _fetched(
        self, table: Source, mapping: ColumnMapping, bar: tqdm[Any]
    ) -> Iterator[tuple[_Row, dict[str, Future[bytes]]]]:
        """The rows, each with its pictures that are being fetched, by URL; with none when nothing is to be fetched."""

        def urls(row: _Row) -> list[str]:
            if isinstance(row[2], BadRow) or to_text(row[2].get(mapping.id or "")).strip() in self.writer.product_ids:
                return []
            pictures = read_pictures(row[2], mapping, table.folder)
            return [picture for picture in pictures if isinstance(picture, str) and is_url(picture)]

        rows = _numbered(table, bar)
        return ((row, {}) for row in rows) if self.fetcher is None else self.fetcher.ahead(rows, urls)

    def _readable(
        self, id: str, pictures: list[Any], fetched: Mapping[str, Future[bytes]], faults: list[tuple[str, str]]
    ) -> tuple[Any, ...]:
        """The pictures that can be decoded; bytes stay the bytes they were."""
        kept: list[Any] = []
        unusable: list[tuple[str, str]] = []
        for i, picture in enumerate(pictures):
            if isinstance(picture, str) and is_url(picture):
                try:
                    kept.append(fetched[picture].result() if picture in fetched else picture)
                except FetchError as error:
                    message = f"product {id!r}: image {i} ({picture:.200}) could not be fetched: {error}"
                    unusable.append(("picture_not_fetched", message))
                continue
            try:
                open_image(picture, f"product {id!r}: image {i}")
                kept.append(picture.read_bytes() if isinstance(picture, Path) and self.embed_images else picture)
            except ImageError as error:
                unusable.append(("unreadable_picture", str(error)))
        if unusable and not kept:
            raise RecordError(*unusable[0])
        faults += [(reason, f"{message}; the product is kept without it") for reason, message in unusable]
        return tuple(kept)

    def add_log(self, table: Source, mapping: LogMapping, split: str | None, bar: tqdm[Any]) -> None:
        # A query's picture is read as a product's would be.
        shown = ColumnMapping(id="", images=(mapping.image,) if mapping.image else ())
        for (number, stated, row), fetched in self._fetched(table, shown, bar):
            id = ""
            if isinstance(row, BadRow):
                self.reject(number, id, row.reason, row.message)
                continue
            faults: list[str] = []
            try:
                id = to_text(row.get(mapping.id)).strip() if mapping.id else f"{Path(table.name).stem}-{number}"
                into = split or to_split(row.get(mapping.split) if mapping.split else stated)
                pictures = read_pictures(row, shown, table.folder)[:1]
                image = self._readable_query_picture(id, pictures, fetched)
                interaction = self._interaction(id, row, mapping, image, faults)
            except RecordError as error:
                self.reject(number, id, error.reason, f"{table.name} row {number}: {error}")
                continue
            for message in faults:
                self.drop(number, id, "unknown_product", f"{table.name} row {number}: {message}")
            self.writer.add_interaction(interaction, into)
            self.interactions += 1

    def _readable_query_picture(self, id: str, pictures: list[Any], fetched: Mapping[str, Future[bytes]]) -> Any:
        """The shopper's picture, or None where the row has none.

        Raises:
            RecordError: it cannot be read or fetched.
        """
        try:
            kept = self._readable(id, pictures, fetched, [])
        except RecordError as error:
            raise RecordError(error.reason, str(error).replace("product ", "query ", 1)) from None
        self.unfetched += sum(isinstance(picture, str) and is_url(picture) for picture in kept)
        return kept[0] if kept else None

    def _interaction(
        self, id: str, row: Mapping[str, Any], mapping: LogMapping, image: Any, faults: list[str]
    ) -> Interaction:
        known = self.writer.product_ids
        positives, negatives, exposures = (
            to_ids(row.get(name) if name else None, known.__contains__)
            for name in (mapping.positives, mapping.negatives, mapping.exposures)
        )
        # What was bought was shown as well, which is no contradiction.
        negatives = tuple(dict.fromkeys((*negatives, *(id for id in exposures if id not in positives))))
        shown = to_text(row.get(mapping.product_id)).strip() if mapping.product_id else ""
        where = f"query {id!r}"
        missing = [product for product in (*positives, *negatives) if product not in known]
        if shown and shown not in known:
            raise RecordError("unknown_product", f"{where}: the product shown, {shown!r}, is not in the catalog")
        if positives and not set(positives) & known:
            raise RecordError(
                "unknown_product", f"{where}: the product bought, {positives[0]!r}, is not in the catalog"
            )
        faults += [f"{where}: product {product!r} is not in the catalog and was left out" for product in missing]
        text = to_text(row.get(mapping.text)).strip() if mapping.text else ""
        query = Query(id, text, image, product_id=shown or None)
        return Interaction(query, tuple(p for p in positives if p in known), tuple(n for n in negatives if n in known))


def _numbered(table: Source, bar: tqdm[Any]) -> Iterator[_Row]:
    for number, (split, row) in enumerate(table.rows, start=1):
        yield number, split, row
        bar.update()


def _usable_description(id: str, text: str, faults: list[tuple[str, str]]) -> str:
    try:
        Product(id=id or "?", title="?", description=text)
    except RecordError as error:
        faults.append((error.reason, f"{error}; the product is kept without its description"))
        return ""
    return text
