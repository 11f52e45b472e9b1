"""Rows of a search log become interactions of a catalog; products that the catalog lacks are listed.

A wide log, with one row a query, is read row by row after the products. A long one is gathered before them, so that
what is unclear in it is refused before an image is read.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from moon2.catalog.importing.cells import to_split, to_text
from moon2.catalog.importing.columns import ColumnMapping
from moon2.catalog.importing.id_matching import IdMatcher
from moon2.catalog.importing.image_cells import ImageCell
from moon2.catalog.importing.importer import Downloads, Fault, Importer
from moon2.catalog.importing.log_columns import LogMapping
from moon2.catalog.importing.log_outcomes import Judgement, OutcomeReader
from moon2.catalog.importing.long_log import Cell, GatheredRow, gather
from moon2.catalog.importing.sources import BadRow, LogTable, Row
from moon2.catalog.schema import is_url
from moon2.records import Interaction, Query, RecordError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenLog:
    """A log whose columns are known; the rows of a long one are gathered, and its outcomes are known too."""

    log: LogTable
    outcomes: OutcomeReader | None = None


@dataclass(frozen=True)
class _Products:
    """The products that one query names; `unknown` are ids that the catalog lacks, those bought first."""

    positives: tuple[str, ...]
    negatives: tuple[str, ...]
    unknown: tuple[str, ...]
    grades: dict[str, float] = field(default_factory=dict)


def open_log(log: LogTable) -> OpenLog:
    """Finds the columns of a log, and gathers the rows of a long one.

    Raises:
        CatalogError: a column is missing, or it is unclear what the log says.
    """
    mapping = log.columns.resolve(log.table.columns, log.table.name)
    log, asked = replace(log, columns=mapping), log.columns
    if not mapping.is_long:
        return OpenLog(log)
    rows, outcomes = gather(log)
    verdict = outcomes.decide(grade_is_guessed=asked.grade is None, lowest_is_negative=log.lowest_is_negative)
    queries = "1 query" if len(rows) == 1 else f"{len(rows):,} queries"
    logger.info(f"{log.table.name}: one row a product shown, {queries}; {verdict}")
    table = replace(log.table, rows=((None, row) for row in rows), total=len(rows))
    return OpenLog(replace(log, table=table), outcomes)


def add_log(importer: Importer, open_log: OpenLog) -> None:
    """Writes the interactions of a log, whose products were added before."""
    log, mapping = open_log.log, open_log.log.columns
    matcher = IdMatcher(importer.writer.product_ids)
    images_of = ColumnMapping(id="", images=(mapping.image,) if mapping.image else ())

    def add(id: str, row: Row, stated: str | None, images: Sequence[ImageCell], downloads: Downloads) -> list[Fault]:
        if isinstance(row, GatheredRow):
            assert open_log.outcomes is not None
            split, products = row.split, _judged_products(row, open_log.outcomes, matcher)
        else:
            split = log.split or to_split(row.get(mapping.split) if mapping.split else stated)
            products = _listed_products(row, mapping, matcher)
        if not products.positives and products.unknown:
            bought = f"query {id!r}: what was bought is unknown: {matcher.explain(products.unknown[0])}"
            raise RecordError("unknown_product", bought)
        query, faults = _query(importer, id, row, mapping, matcher, images[:1], downloads)
        interaction = Interaction(query, products.positives, products.negatives, products.grades)
        importer.writer.add_interaction(interaction, split)
        importer.interactions += 1
        importer.unfetched += is_url(query.image)
        messages = (f"query {id!r}: {matcher.explain(product)}; it was left out" for product in products.unknown)
        return [*faults, *(Fault("product_id", "unknown_product", message) for message in messages)]

    importer.add_rows(log.table, mapping.id or "", images_of, add)
    for sentence in matcher.summary():
        logger.info(f"{log.table.name}: {sentence}")


def query_lines(open_log: OpenLog) -> Iterator[str]:
    """A line for each query that has a positive, such as `"red mat": positive P1; negative P2`, with the log's ids."""
    log, mapping, outcomes = open_log.log, open_log.log.columns, open_log.outcomes
    for _, row in log.table.rows:
        if isinstance(row, BadRow):
            continue
        if isinstance(row, GatheredRow):
            assert outcomes is not None
            cells = row.judgements.items()
            positive: list[Cell] = [cell for cell, judgement in cells if outcomes.is_positive(judgement)]
            negative: list[Cell] = [cell for cell, judgement in cells if outcomes.is_negative(judgement)]
        else:
            positive = [to_text(row.get(mapping.positives or ""))]
            negative = [to_text(row.get(mapping.negatives or mapping.exposures or ""))]
        positives, negatives = (", ".join(filter(None, map(to_text, cells))) for cells in (positive, negative))
        if positives:
            words = to_text(row.get(mapping.text or "")).strip() or "a photo"
            shown = "negative" if mapping.negatives or isinstance(row, GatheredRow) else "shown"
            yield f'"{words:.60}": positive {positives:.80}' + (f"; {shown} {negatives:.80}" if negatives else "")


def _listed_products(row: Row, mapping: LogMapping, matcher: IdMatcher) -> _Products:
    """The products of a row that lists them."""
    clicked_column = mapping.clicked if isinstance(mapping.clicked, str) else ""
    positives, negatives, exposures, clicked = (
        matcher.read(row.get(name) if name else None)
        for name in (mapping.positives, mapping.negatives, mapping.exposures, clicked_column)
    )
    if mapping.click_is == "positive":
        positives = tuple(dict.fromkeys(positives[0] + clicked[0])), positives[1] + clicked[1]
    # The products bought are among the exposures, which is no contradiction.
    left = [id for id in exposures[0] if id not in positives[0] and id not in clicked[0]]
    unknown = dict.fromkeys((*positives[1], *negatives[1], *exposures[1]))
    return _Products(positives[0], tuple(dict.fromkeys((*negatives[0], *left))), tuple(unknown))


def _judged_products(row: GatheredRow, outcomes: OutcomeReader, matcher: IdMatcher) -> _Products:
    """The products of a query whose rows were gathered."""
    judgements: dict[str, Judgement] = {}
    unknown: dict[str, bool] = {}
    for cell, judgement in row.judgements.items():
        known, others = matcher.read(cell)
        for id in known:
            judgements[id] = judgement.joined(judgements[id]) if id in judgements else judgement
        unknown |= dict.fromkeys(others, outcomes.is_positive(judgement))
    positives = tuple(id for id, judgement in judgements.items() if outcomes.is_positive(judgement))
    negatives = tuple(id for id, judgement in judgements.items() if outcomes.is_negative(judgement))
    grades = {id: judgement.grade for id, judgement in judgements.items() if judgement.grade is not None}
    if not positives and not any(unknown.values()):
        raise RecordError("no_positive", outcomes.without_positive(list(row.judgements.values())))
    return _Products(positives, negatives, tuple(sorted(unknown, key=unknown.__getitem__, reverse=True)), grades)


def _query(
    importer: Importer,
    id: str,
    row: Row,
    mapping: LogMapping,
    matcher: IdMatcher,
    images: Sequence[ImageCell],
    downloads: Downloads,
) -> tuple[Query, list[Fault]]:
    """The query of a row. A photo that cannot be had costs itself, and the row only if the query has no words.

    Raises:
        RecordError: nothing is left of the query.
    """
    text = to_text(row.get(mapping.text)).strip() if mapping.text else ""
    readable, faults = importer.readable(f"query {id!r}", images, downloads)
    faults = [fault._replace(message=f"{fault.message}; the query is kept without it") for fault in faults]
    shown = to_text(row.get(mapping.product_id)).strip() if mapping.product_id else ""
    product_id = matcher.find(shown) if shown else None
    if shown and product_id is None:
        message = f"query {id!r}: the product in its photo is unknown: {matcher.explain(shown)}"
        faults.append(Fault("image", "unknown_product", f"{message}; the query is kept without it"))
    if faults and not text and not readable and product_id is None:
        raise RecordError(faults[0].reason, faults[0].message.removesuffix("; the query is kept without it"))
    return Query(id, text, readable[0] if readable else None, product_id=product_id), faults
