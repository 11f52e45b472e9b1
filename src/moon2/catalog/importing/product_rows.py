"""Rows of a shop's table become products of a catalog."""

from __future__ import annotations

from moon2.catalog.importing.cells import to_split
from moon2.catalog.importing.columns import ColumnMapping
from moon2.catalog.importing.image_cells import read_images
from moon2.catalog.importing.importer import Downloads, Fault, Importer
from moon2.catalog.importing.product_fields import read_fields
from moon2.catalog.importing.sources import Row, Source
from moon2.catalog.schema import is_url
from moon2.records import Product, RecordError


def add_products(importer: Importer, table: Source, mapping: ColumnMapping) -> None:
    """Writes the products of a table."""

    def add(id: str, row: Row, stated: str | None, downloads: Downloads) -> list[Fault]:
        split = to_split(row.get(mapping.split) if mapping.split else stated)
        fields = read_fields(row, mapping)
        if id in importer.writer.product_ids:
            raise RecordError("duplicate_id", f"product {id!r}: an earlier row has this id; the first is kept")
        faults: list[Fault] = []
        try:
            Product(id=id or "?", title="?", description=fields["description"])
        except RecordError as error:
            fields["description"] = ""
            faults.append(Fault("field", error.reason, f"{error}; the product is kept without its description"))
        images, image_faults = importer.readable(f"product {id!r}", read_images(row, mapping, table.folder), downloads)
        product = Product(images=tuple(images), **fields)
        importer.writer.add_product(product, split)
        importer.products += 1
        importer.unfetched += sum(map(is_url, product.images))
        faults += (fault._replace(message=f"{fault.message}; the product is kept without it") for fault in image_faults)
        return faults

    importer.add_rows(table, mapping.id or "", mapping, " products", add)
