"""Checks the rows of a shop's tables and writes them to a catalog; what cannot be used is listed with its reason.

Rows are read, checked and written one at a time, so memory does not grow with the images; downloads come a bounded
number of rows ahead. A row that breaks a rule is rejected. A fault in a dispensable part (one of several images, the
description, a product of a log entry) costs only that part, which is listed as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from tqdm.auto import tqdm

from moon2.catalog.importing.cells import to_text
from moon2.catalog.importing.columns import ColumnMapping
from moon2.catalog.importing.download import FetchError, ImageFetcher
from moon2.catalog.importing.image_cells import BadImage, ImageCell, read_images
from moon2.catalog.importing.small_copies import small_copy
from moon2.catalog.importing.sources import BadRow, Place, Row, Source
from moon2.catalog.schema import Dropped, Reject, is_url
from moon2.catalog.store import CatalogWriter
from moon2.images import ImageError, open_image
from moon2.progress import progress_bar
from moon2.records import Product, RecordError

Image: TypeAlias = bytes | str | Path
"""Bytes, a URL, or a path."""
_PlacedRow: TypeAlias = tuple[Place, str | None, Row | BadRow]
"""Where a row stands, the split that the table states for it, and what it holds."""
Downloads: TypeAlias = Mapping[str, Future[bytes]]


class Fault(NamedTuple):
    """A part of a row that was left out while the row was kept; as in `Reject`."""

    dropped: Dropped
    reason: str
    message: str


class Importer:
    """Checks rows, hands them to the writer, and counts what is left out.

    Args:
        writer: of the catalog.
        embed: put image files into the catalog; off, their paths.
        fetcher: downloads images by URL; None leaves them URLs.
        max_side: of the images put into the catalog, in pixels; 0 leaves them as they are.
    """

    def __init__(self, writer: CatalogWriter, embed: bool, fetcher: ImageFetcher | None, max_side: int = 0) -> None:
        self.max_side = max_side
        self.writer, self.embed, self.fetcher = writer, embed, fetcher
        self.products = self.interactions = self.rejected = self.dropped = self.unfetched = 0
        self.reasons: Counter[str] = Counter()
        self.having: Counter[str] = Counter(dict.fromkeys(("title", "image", "price", "category"), 0))
        self.first_reject = ""

    def count_product(self, product: Product) -> None:
        """Counts a product that was written, and which of its optional fields it has."""
        self.products += 1
        self.unfetched += sum(map(is_url, product.images))
        has = (product.title, product.images, product.price is not None, product.category)
        self.having.update(name for name, value in zip(self.having, has, strict=True) if value)

    def add_rows(
        self,
        table: Source,
        id_column: str,
        images_of: ColumnMapping,
        add: Callable[[str, Row, str | None, Sequence[ImageCell], Downloads], list[Fault]],
    ) -> None:
        """Adds each row of a table; faults that `add` returns are listed as dropped, those that it raises as rejected.

        Without an id column, rows are numbered.
        """
        with progress_bar(total=table.total, unit="rows", desc=f"import {table.name}") as bar:
            for (place, stated, row), downloads in self._rows_and_downloads(table, images_of, bar):
                if isinstance(row, BadRow):
                    self._reject(place.row, "", row.reason, f"{place}: {row.message}")
                    continue
                cell = row.get(id_column) if id_column else table.id_at(place)
                if isinstance(cell, (dict, list, tuple)):
                    message = f"{place}: column {id_column!r} holds {cell!r:.60}; an id must be a text or a number"
                    self._reject(place.row, "", "no_id", message)
                    continue
                id = to_text(cell).strip()
                try:
                    faults = add(id, row, stated, read_images(row, images_of, place.folder), downloads)
                except RecordError as error:
                    self._reject(place.row, id, error.reason, f"{place}: {error}")
                    continue
                self.dropped += len(faults)
                for fault in faults:
                    self._list(place.row, id, fault._replace(message=f"{place}: {fault.message}"))

    def _rows_and_downloads(
        self, table: Source, images_of: ColumnMapping, bar: tqdm[Any]
    ) -> Iterator[tuple[_PlacedRow, Downloads]]:
        """The rows, each with the downloads of its images by URL; without any if nothing is to be downloaded."""

        def rows() -> Iterator[_PlacedRow]:
            for placed in table.placed_rows():
                yield placed
                bar.update()

        def urls(placed: _PlacedRow) -> list[str]:
            place, _, row = placed
            if isinstance(row, BadRow) or to_text(row.get(images_of.id or "")).strip() in self.writer.product_ids:
                return []
            return [image for image in read_images(row, images_of, place.folder) if isinstance(image, str)]

        return ((row, {}) for row in rows()) if self.fetcher is None else self.fetcher.ahead(rows(), urls)

    def readable(
        self, where: str, images: Sequence[ImageCell], downloads: Downloads
    ) -> tuple[list[Image], list[Fault]]:
        """The images that can be decoded, as the bytes of their files, and the faults of the others."""
        readable: list[Image] = []
        faults: list[Fault] = []
        for number, image in enumerate(images, start=1):
            name = f"{where}: image {number}"
            try:
                if isinstance(image, BadImage):
                    faults.append(Fault("image", image.reason, f"{name}: {image.message}"))
                    continue
                source = downloads[image].result() if isinstance(image, str) and image in downloads else image
                if isinstance(source, str):
                    readable.append(source)
                elif self.max_side:
                    readable.append(small_copy(source, name, self.max_side))
                else:
                    if source is image:  # what was downloaded has been opened
                        open_image(source, name)
                    readable.append(source.read_bytes() if isinstance(source, Path) and self.embed else source)
            except FetchError as error:
                faults.append(
                    Fault("image", "image_not_fetched", f"{name} ({image!s:.200}) could not be fetched: {error}")
                )
            except ImageError as error:
                faults.append(Fault("image", "unreadable_image", str(error)))
        return readable, faults

    def _reject(self, row: int, id: str, reason: str, message: str) -> None:
        self.rejected += 1
        self.first_reject = self.first_reject or message
        self._list(row, id, Fault("row", reason, message))

    def _list(self, row: int, id: str, fault: Fault) -> None:
        self.reasons[fault.reason] += 1
        self.writer.add_reject(Reject(row, id, *fault))
