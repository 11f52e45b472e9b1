"""A log with one row a product shown: the rows of one query are gathered, wherever they stand in the log.

Rows with the same id of a query are one query. Without such an id, rows with the same words (without case and spacing),
the same photo and the same session are one. Memory is linear in the log.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from shlex import quote
from typing import Any, TypeAlias

from moon2.catalog.importing.cells import is_empty, to_split, to_text
from moon2.catalog.importing.columns import ColumnMapping
from moon2.catalog.importing.image_cells import read_images
from moon2.catalog.importing.log_columns import LogMapping
from moon2.catalog.importing.log_outcomes import EVENTS, Judgement, Outcome, OutcomeReader, to_flag, to_grade
from moon2.catalog.importing.sources import PLACE, BadRow, LogTable, Row
from moon2.catalog.importing.usual_names import plain_name
from moon2.catalog.schema import CatalogError
from moon2.records import RecordError

Cell: TypeAlias = str | tuple[str, ...]
"""One cell of product ids, as the log writes it."""
# A column with more values is no flag, event or grade.
MAX_VALUES = 20
# In a column so called, an empty cell or 0 may say that the product was left; "account" and "country" are none.
_OF_OUTCOMES = re.compile(r"purchas|order|bought|conver|revenue|sold|units|amount|click|(?<!ac)count(?!r)")

# A column so called that holds more than one value says what became of the product, in words or numbers of the shop's.
_IS_OUTCOME = re.compile(r"(?:user|item|order|purchase|payment|event|session)?(?:outcome|result|status|action)")


class GatheredRow(dict[str, Any]):
    """The columns of a query that are not about a product, and what all its rows say about each product."""

    def __init__(self, row: Mapping[str, Any], split: str) -> None:
        super().__init__(row)
        self.split = split
        self.judgements: dict[Cell, Judgement] = {}


def gather(log: LogTable) -> tuple[list[GatheredRow | BadRow], OutcomeReader]:
    """Reads a long log.

    Returns:
        Its queries in the order of their first rows, whose places they have, with the rows that cannot be read; and the
        reader of the outcomes, which has not decided yet.

    Raises:
        CatalogError: a column that no option names seems to say what became of the products.
    """
    mapping, name = log.columns, log.table.name
    outcomes = OutcomeReader(mapping, name)
    unnamed = None if outcomes.has_columns else _UnnamedColumns(log.table.columns, mapping)
    of_query = [column for column in (mapping.id, mapping.text, mapping.image, mapping.product_id) if column]
    images_of = ColumnMapping(id="", images=(mapping.image,) if mapping.image else ())
    rows: list[GatheredRow | BadRow] = []
    queries: dict[Hashable, GatheredRow] = {}
    for place, stated, row in log.table.placed_rows():
        try:
            if isinstance(row, BadRow):
                raise RecordError(row.reason, row.message)
            judgement = outcomes.read(row) if unnamed is None else Judgement(Outcome.BOUGHT)
            if unnamed is not None:
                unnamed.read(row)
            split = log.split or to_split(row.get(mapping.split) if mapping.split else stated)
        except RecordError as error:
            rows.append(BadRow(error.reason, str(error), place))
            continue
        images = read_images(row, images_of, place.folder)[:1] if mapping.image else []
        key = (split, *_query_key(row, mapping), *images)
        query = queries.get(key)
        if query is None:
            query = GatheredRow({PLACE: place, **{column: row.get(column) for column in of_query}}, split)
            if mapping.id and is_empty(query[mapping.id]):
                query[mapping.id] = log.table.id_at(place)
            queries[key] = query
            rows.append(query)
        cell = _cell(row.get(mapping.exposures or ""))
        query.judgements[cell] = judgement.joined(query.judgements.get(cell, judgement))
    if unnamed is not None:
        unnamed.refuse_outcomes(name, mapping.exposures or "")
    return rows, outcomes


def _query_key(row: Row, mapping: LogMapping) -> tuple[str, ...]:
    id, session, text, shown = (
        to_text(row.get(column)).strip() if column else ""
        for column in (mapping.id, mapping.session, mapping.text, mapping.product_id)
    )
    return ("words", session, " ".join(text.casefold().split()), shown) if is_empty(id) else ("id", id)


def _cell(value: Any) -> Cell:
    return tuple(map(to_text, value)) if isinstance(value, (list, tuple)) else to_text(value).strip()


class _UnnamedColumns:
    """What tells of each column that has no meaning yet whether it says what became of the products.

    Attributes:
        values: of each column, the different ones; those with too many are left out.
        mixed: of each column named like an outcome, a cell that is empty or 0, and one that is neither.
    """

    def __init__(self, columns: list[str], mapping: LogMapping) -> None:
        named = {
            getattr(mapping, name) for name in ("id", "session", "text", "image", "product_id", "exposures", "split")
        }
        self.values: dict[str, set[str]] = {column: set() for column in columns if column not in named}
        plain = {column: plain_name(column) for column in self.values}
        self.mixed: dict[str, dict[bool, str]] = {
            column: {} for column, name in plain.items() if _OF_OUTCOMES.search(name) and "discount" not in name
        }

    def read(self, row: Row) -> None:
        for column, cells in self.mixed.items():
            if len(cells) < 2:
                text = to_text(row.get(column)).strip()
                cells.setdefault(to_flag(text) is not False, text)
        for column in list(self.values):
            value = row.get(column)
            if value is not None and not isinstance(value, (str, bool, int, float)):
                del self.values[column]
                continue
            self.values[column].add(to_text(value).strip())
            if len(self.values[column]) > MAX_VALUES:
                del self.values[column]

    def refuse_outcomes(self, name: str, product: str) -> None:
        """Refuses a log in which a column of unknown name may say that not every product was bought.

        Raises:
            CatalogError: there is such a column.
        """
        for column, found in self.values.items():
            values = found - {""}
            is_flag = {to_flag(value) for value in values} == {True, False} and len(values) == 2
            is_event = bool(values) and all(plain_name(value) in EVENTS for value in values)
            is_grade = len(values) > 1 and not any(value[:1].isdigit() for value in values)
            is_grade = is_grade and all(to_grade(value) is not None for value in values)
            is_known = is_flag or is_event or is_grade
            differs = len({value.casefold() for value in found}) > 1
            if is_known or (differs and _IS_OUTCOME.fullmatch(plain_name(column))):
                options = "event" if is_event else "grade" if is_grade else "purchased, .clicked or .grade"
                if not is_known and any(to_flag(value) is None for value in values):
                    options = "positive_if NAME,NAME --log_columns.event"
                shown = ", ".join([*sorted(values)[:4], *["empty cells"] * ("" in found)])
                raise CatalogError(
                    f"{name}: column {column!r} holds {shown}: say what it means with --log_columns.{options} "
                    f"{quote(column)}; if every row is a purchase, give --log_columns.positives {quote(product)}"
                )
        for column, cells in self.mixed.items():
            if len(cells) == 2:
                raise CatalogError(
                    f"{name}: column {column!r} holds {cells[True]!r:.60} and {cells[False] or 'empty cells'}: "
                    f"{_remedy(column, cells[True])}; if every row is a purchase, give --log_columns.positives "
                    f"{quote(product)}"
                )


def _remedy(column: str, cell: str) -> str:
    if to_flag(cell) is None:  # such as an order's number, which no option reads
        return "say which rows are purchases in a column of 1 and 0, --log_columns.purchased NAME"
    return f"say what it means with --log_columns.purchased, .clicked or .grade {quote(column)}"
