"""Rows of a shop's table become products of a catalog."""

from __future__ import annotations

from moon2.catalog.importing.cells import to_split
from moon2.catalog.importing.image_cells import read_images
from moon2.catalog.importing.importer import Downloads, Fault, Importer
from moon2.catalog.importing.product_fields import ProductReader
from moon2.catalog.importing.sources import Row, Source
from moon2.records import Product, RecordError


def add_products(importer: Importer, table: Source, reader: ProductReader) -> None:
    """Writes the products of a table."""
    mapping = reader.mapping

    def add(id: str, row: Row, stated: str | None, downloads: Downloads) -> list[Fault]:
        split = to_split(row.get(mapping.split) if mapping.split else stated)
        if id in importer.writer.product_ids:
            raise RecordError("duplicate_id", f"product {id!r}: an earlier row has this id; the first is kept")
        product, faults = _read(importer, reader, id, row, table, downloads)
        importer.writer.add_product(product, split)
        importer.count_product(product)
        return faults

    importer.add_rows(table, mapping.id or "", mapping, " products", add)


def _read(
    importer: Importer, reader: ProductReader, id: str, row: Row, table: Source, downloads: Downloads
) -> tuple[Product, list[Fault]]:
    """The product of one row, and the faults of the fields and images that it is kept without.

    Raises:
        RecordError: nothing is left to embed, no title and no image, or it has no id.
    """
    cells = read_images(row, reader.mapping, table.folder)
    images, image_faults = importer.readable(f"product {id!r}", cells, downloads)
    fields, faults = reader.read(row, bool(images))
    try:
        product = Product(images=tuple(images), **fields)
    except RecordError as error:
        if error.reason == "no_content" and (image_faults or faults):
            lost = (image_faults or faults)[0]
            message = f"{lost.message.partition('; the product is kept')[0]}, and neither a title nor an image is left"
            raise RecordError(lost.reason, message) from None
        raise
    kept = "; the product is kept without it"
    return product, [*faults, *(fault._replace(message=f"{fault.message}{kept}") for fault in image_faults)]
