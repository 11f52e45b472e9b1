"""Foreign tables on their way into a catalog: rows, one at a time, as dictionaries.

A source knows its columns before the first row is read, so a wrong mapping fails at once. A row that cannot be parsed
is a `BadRow`, and the next row follows. A source may be several files: each row carries its `Place`. `layouts.py` opens
them.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from moon2.catalog.importing.columns import ColumnMapping
from moon2.catalog.importing.log_columns import LogMapping
from moon2.catalog.schema import CatalogError

logger = logging.getLogger(__name__)

COLUMN_ROWS = 1_000
"""Where a table has no header, its columns are those of so many rows."""
HEAD_ROWS = 256
"""From so many, the form of prices and categories is learned. As many of a Parquet file are in memory anyway."""


class Place(NamedTuple):
    """Where a row stands; as text, such as "shop.csv row 3".

    Attributes:
        file: name of its file, with the folders that tell it from the other files of the table.
        row: its number in the file, from 1.
        folder: of its relative image paths.
        number: its number in the table, over all of its files.
    """

    file: str
    row: int
    folder: Path
    number: int

    def __str__(self) -> str:
        return f"{self.file} row {self.row}"


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read; `reason` as in `Reject`, and so is `message`, but without the place."""

    reason: str
    message: str
    place: Place | None = None


PLACE = "\0place"
"""The column of a row's `Place`; no file has a column of that name."""
Row: TypeAlias = dict[str, Any]
SplitRows: TypeAlias = Iterator[tuple[str | None, Row | BadRow]]
"""For each row, the split that the table states, or None, and the row: its columns, or a `BadRow`."""


@dataclass
class Source:
    """A table that can be read once, row after row.

    Attributes:
        name: for messages, usually that of the file, or of the folder of several files.
        columns: the names of its columns.
        rows: its rows.
        folder: of relative image paths; None if each row has that of its own file.
        total: number of rows; None when unknown.
        made_of: of a column that a reader has made, the columns of the file that it is made of.
    """

    name: str
    columns: list[str]
    rows: SplitRows
    folder: Path | None = field(default_factory=Path)
    total: int | None = None
    made_of: dict[str, list[str]] = field(default_factory=dict)

    def placed_rows(self) -> Iterator[tuple[Place, str | None, Row | BadRow]]:
        """The rows, each with its split and its place; where rows carry none, they are counted as they come."""
        for number, (split, row) in enumerate(self.rows, start=1):
            place = row.place if isinstance(row, BadRow) else row.get(PLACE)
            yield place or Place(self.name, number, self.folder or Path(), number), split, row

    def id_at(self, place: Place) -> str:
        """The id of a row that has none of its own."""
        return f"{Path(self.name).stem}-{place.number}"


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


def join_files(
    paths: Sequence[Path], columns: Sequence[Sequence[str]], tables: Sequence[SplitRows], total: int | None = None
) -> Source:
    """Files of the same columns as one table; the columns and the rows of each are given.

    Raises:
        CatalogError: one has other columns than the first.
    """
    for path, names in zip(paths, columns, strict=True):
        if set(names) != set(columns[0]):
            raise CatalogError(
                f"{path}: has other columns ({', '.join(names)}) than {paths[0].name}; import them apart"
            )
    return source_of(paths, list(columns[0]), rows_of_files(paths, tables), total)


def source_of(paths: Sequence[Path], columns: list[str], rows: SplitRows, total: int | None = None) -> Source:
    """The table of some files whose rows carry their places."""
    folders = {path.parent for path in paths}
    name = paths[0].name if len(paths) == 1 else Path(os.path.abspath(_common_folder(paths))).name
    return Source(name, columns, rows, folders.pop() if len(folders) == 1 else None, total)


def rows_of_files(paths: Sequence[Path], tables: Iterable[SplitRows], folder: Path | None = None) -> SplitRows:
    """The rows of files, one file after another, each with its place.

    Args:
        paths: the files.
        tables: the rows of each.
        folder: of relative image paths; that of each file when not given.
    """
    numbers = itertools.count(1)
    common = _common_folder(paths)
    for path, rows in zip(paths, tables, strict=True):
        file = path.relative_to(common).as_posix()
        for row_number, (split, row) in enumerate(rows, start=1):
            place = Place(file, row_number, folder or path.parent, next(numbers))
            if isinstance(row, BadRow):
                row = replace(row, place=place)
            else:
                row[PLACE] = place
            yield split, row


def _common_folder(paths: Sequence[Path]) -> Path:
    return Path(os.path.commonpath([path.parent for path in paths]))


def with_columns(name: str, rows: SplitRows) -> tuple[list[str], SplitRows]:
    """The columns of the first `COLUMN_ROWS` rows, and all rows; the name of the table is for messages."""
    first = list(itertools.islice(rows, COLUMN_ROWS))
    columns = dict.fromkeys(name for _, row in first if not isinstance(row, BadRow) for name in row if name != PLACE)
    return list(columns), itertools.chain(first, _saying_late_columns(name, rows, columns))


def _saying_late_columns(table: str, rows: SplitRows, columns: Container[str]) -> SplitRows:
    """The rows, and at their end one line about columns that only they have."""
    late: Counter[str] = Counter()
    for split, row in rows:
        if not isinstance(row, BadRow):
            late.update(name for name in row if name not in columns and name != PLACE)
        yield split, row
    if late:
        named = ", ".join(f"{name} ({count:,})" for name, count in late.most_common(8))
        logger.warning(
            f"{table}: columns that none of the first {COLUMN_ROWS:,} rows has are not read: {named}; put a row that "
            f"has them among the first"
        )


def first_rows(table: Source) -> tuple[list[Row], Source]:
    """The first rows that can be read, and the table with all of its rows still to be read."""
    rows = iter(table.rows)
    head = list(itertools.islice(rows, HEAD_ROWS))
    return [row for _, row in head if not isinstance(row, BadRow)], replace(table, rows=itertools.chain(head, rows))
