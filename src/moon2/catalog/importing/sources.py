"""Foreign tables on their way into a catalog: rows, one at a time, as dictionaries.

A source knows its columns before the first row is read, so a wrong mapping fails at once. A row that cannot be parsed
is a `BadRow`, and the next row follows. `layouts.py` opens them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from moon2.catalog.importing.columns import ColumnMapping
from moon2.catalog.importing.log_columns import LogMapping

COLUMN_ROWS = 1_000
"""Where a table has no header, its columns are those of so many rows."""
HEAD_ROWS = 256
"""From so many, the form of prices and categories is learned. As many of a Parquet file are in memory anyway."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read; `reason` and `message` as in `Reject`, `number` as in `NUMBER`."""

    reason: str
    message: str
    number: int | None = None


NUMBER = "\0number"
"""The column of a row's number in its file, where rows are read in another order; no file has a column of that name."""
Row: TypeAlias = dict[str, Any]
SplitRows: TypeAlias = Iterator[tuple[str | None, Row | BadRow]]
"""For each row, the split that the table states, or None, and the row: its columns, or a `BadRow`."""


@dataclass
class Source:
    """A table that can be read once, row after row.

    Attributes:
        name: for messages, usually the file name.
        columns: the names of its columns.
        rows: its rows.
        folder: of relative image paths.
        total: number of rows; None when unknown.
        made_of: of a column that a reader has made, the columns of the file that it is made of.
    """

    name: str
    columns: list[str]
    rows: SplitRows
    folder: Path = field(default_factory=Path)
    total: int | None = None
    made_of: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class LogTable:
    """A table of queries and its columns.

    Attributes:
        table: its rows.
        columns: which column means what.
        split: of all its rows; None if the rows state it.
        lowest_is_negative: whether products of the lowest grade answer the query wrongly; in a list of the best they
            are only further down.
    """

    table: Source
    columns: LogMapping
    split: str | None = None
    lowest_is_negative: bool = True


@dataclass
class ShopTables:
    """A shop that is ready to be imported.

    Attributes:
        products: the table of products.
        columns: which of its columns means what.
        logs: the tables of queries.
        licence: a hub identifier; "unknown" if its authors state none.
    """

    products: Source
    columns: ColumnMapping
    logs: list[LogTable] = field(default_factory=list)
    licence: str = "unknown"


def with_columns(rows: Iterator[Row | BadRow]) -> tuple[list[str], Iterator[Row | BadRow]]:
    """The columns of the first `COLUMN_ROWS` rows, and all rows."""
    first = list(itertools.islice(rows, COLUMN_ROWS))
    columns = dict.fromkeys(name for row in first if not isinstance(row, BadRow) for name in row)
    return list(columns), itertools.chain(first, rows)


def first_rows(table: Source) -> tuple[list[Row], Source]:
    """The first rows that can be read, and the table with all of its rows still to be read."""
    rows = iter(table.rows)
    head = list(itertools.islice(rows, HEAD_ROWS))
    return [row for _, row in head if not isinstance(row, BadRow)], replace(table, rows=itertools.chain(head, rows))
