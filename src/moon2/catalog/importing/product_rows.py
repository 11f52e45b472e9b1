"""Rows of a shop's table become products of a catalog."""

from __future__ import annotations

from collections.abc import Sequence

from moon2.catalog.importing.cells import to_split
from moon2.catalog.importing.image_cells import ImageCell
from moon2.catalog.importing.importer import Downloads, Fault, Importer
from moon2.catalog.importing.product_fields import KEPT, ProductReader
from moon2.catalog.importing.sources import Row, Source
from moon2.records import Product, RecordError


def add_products(importer: Importer, table: Source, reader: ProductReader) -> None:
    """Writes the products of a table."""
    mapping = reader.mapping

    def add(id: str, row: Row, stated: str | None, images: Sequence[ImageCell], downloads: Downloads) -> list[Fault]:
        split = to_split(row.get(mapping.split) if mapping.split else stated)
        if id in importer.writer.product_ids:
            raise RecordError("duplicate_id", f"product {id!r}: an earlier row has this id; the first is kept")
        product, faults = _read(importer, reader, id, row, images, downloads)
        importer.writer.add_product(product, split)
        importer.count_product(product)
        return faults

    importer.add_rows(table, mapping.id or "", mapping, add)


def _read(
    importer: Importer,
    reader: ProductReader,
    id: str,
    row: Row,
    cells: Sequence[ImageCell],
    downloads: Downloads,
) -> tuple[Product, list[Fault]]:
    """The product of one row, and the faults of the fields and images that it is kept without.

    Raises:
        RecordError: it has no id, or neither a title nor an image is left.
    """
    images, lost = importer.readable(f"product {id!r}", cells, downloads)
    try:
        product, faults = reader.read(row, images, id)
    except RecordError as error:
        if error.reason == "no_content" and lost:
            message = f"{lost[0].message}, and neither a title nor an image is left"
            raise RecordError(lost[0].reason, message) from None
        raise
    return product, [*faults, *(fault._replace(message=f"{fault.message}{KEPT} it") for fault in lost)]
