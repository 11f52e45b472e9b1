"""Rows of a search log become interactions of a catalog; products that the catalog lacks are listed."""

from __future__ import annotations

from moon2.catalog.importing.cells import to_ids, to_split, to_text
from moon2.catalog.importing.columns import ColumnMapping
from moon2.catalog.importing.image_cells import read_images
from moon2.catalog.importing.importer import Downloads, Fault, ImageCell, Importer
from moon2.catalog.importing.log_columns import LogMapping
from moon2.catalog.importing.sources import LogTable, Row
from moon2.catalog.schema import is_url
from moon2.records import Interaction, Query, RecordError


def add_log(importer: Importer, log: LogTable) -> None:
    """Writes the interactions of a log, whose products were added before."""
    table, mapping = log.table, log.columns
    images_of = ColumnMapping(id="", images=(mapping.image,) if mapping.image else ())

    def add(id: str, row: Row, stated: str | None, downloads: Downloads) -> list[Fault]:
        split = log.split or to_split(row.get(mapping.split) if mapping.split else stated)
        images = read_images(row, images_of, table.folder)[:1]
        images, _ = importer.readable(f"query {id!r}", images, downloads)
        interaction, unknown = _interaction(
            importer.writer.product_ids, id, row, mapping, images[0] if images else None
        )
        importer.writer.add_interaction(interaction, split)
        importer.interactions += 1
        importer.unfetched += sum(map(is_url, images))
        return [
            Fault(
                "product_id",
                "unknown_product",
                f"query {id!r}: product {product!r} is not in the catalog and was left out",
            )
            for product in unknown
        ]

    importer.add_rows(table, mapping.id or "", images_of, " queries", add)


def _interaction(
    known: set[str], id: str, row: Row, mapping: LogMapping, image: ImageCell | None
) -> tuple[Interaction, list[str]]:
    """The interaction with the products that the catalog has, and the ids of the others."""
    positives, negatives, exposures = (
        to_ids(row.get(name) if name else None, known.__contains__)
        for name in (mapping.positives, mapping.negatives, mapping.exposures)
    )
    # The products bought are among the exposures, which is no contradiction.
    negatives = tuple(dict.fromkeys((*negatives, *(id for id in exposures if id not in positives))))
    shown = to_text(row.get(mapping.product_id)).strip() if mapping.product_id else ""
    if shown and shown not in known:
        raise RecordError("unknown_product", f"query {id!r}: its product, {shown!r}, is not in the catalog")
    if positives and not set(positives) & known:
        raise RecordError(
            "unknown_product", f"query {id!r}: the product bought, {positives[0]!r}, is not in the catalog"
        )
    text = to_text(row.get(mapping.text)).strip() if mapping.text else ""
    query = Query(id, text, image, product_id=shown or None)
    interaction = Interaction(
        query, tuple(p for p in positives if p in known), tuple(n for n in negatives if n in known)
    )
    return interaction, [product for product in (*positives, *negatives) if product not in known]
