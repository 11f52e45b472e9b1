"""Rows of CSV and TSV files, as spreadsheets, databases and shop systems write them.

The rule of quotes. A field is quoted if it begins with `"` and its closing quote stands before a delimiter or at the
end of a line. It may then hold delimiters and line ends. Every other quote is text: an inch mark, a quoted word.
A quoted field of several lines may also be an accident, a title that begins with `"`, which swallows rows up to the
next quote. It is one if its first line is a whole row, and so are half of the others (separated by tabs), or all of
them (other files, from three lines and columns on). Those quotes are text too. Where it is in doubt, a line says so.
"""

from __future__ import annotations

import csv
import itertools
import logging
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from moon2.catalog.importing.sources import BadRow, Source, SplitRows, join_files
from moon2.catalog.importing.text_files import READ_ERRORS, TextFile, cannot_be_read
from moon2.catalog.importing.usual_names import UsualNames, all_usual_names
from moon2.catalog.schema import CatalogError

MAX_FIELD_CHARACTERS = 10_000_000
DELIMITERS = ",\t;|"
_HEADER_CHARACTERS = 1_000_000
_HEADER_LINES = 50
HEADER_ROWS = 10
"""The header is among so many rows; above it may stand a title or a date."""
MOST_ABOVE = 2
"""Cells of a row above the header, such as "Date;1 May". A header of unusual names has more."""
_QUOTED = re.compile(r'"[^"]*"')
_EXCEL_DELIMITER = re.compile(r'"?sep=(.)"?')

logger = logging.getLogger(__name__)


def open_csv(paths: list[Path], encoding: str | None = None) -> Source:
    """Opens files of the same columns as one table.

    Raises:
        CatalogError: one cannot be read, is empty, or has other columns than the first.
    """
    tables = [_Table(TextFile(path, encoding)) for path in paths]
    for table in tables:  # a column that one file fills, all have
        table.filled = max(other.filled for other in tables)
    return join_files(paths, [table.columns for table in tables], [table.rows() for table in tables])


def name_columns(header: Iterable[object], filled: int = 0) -> list[str]:
    """The columns of a header: stripped, each with a name of its own, without unnamed ones after the first `filled`."""
    names = ["" if name is None else " ".join(str(name).split()) for name in header]
    while len(names) > filled and not names[-1]:
        names.pop()
    columns: list[str] = []
    for number, name in enumerate(names, start=1):
        name = name or f"column {number}"
        columns.append(f"{name} ({names[:number].count(name)})" if name in columns else name)
    return columns


def find_header(rows: Iterable[Sequence[object]]) -> int:
    """Which of the first rows names the columns: the first with two usual names, if all rows above have fewer cells.

    It is the first row, whatever its names, where that has more than two cells, or where there is no such row.
    """
    longest = 0
    for number, row in enumerate(rows):
        filled = sum(cell not in (None, "") for cell in row)
        if filled > longest and len(UsualNames(name_columns(row)).find_every(all_usual_names())) > 1:
            return number
        longest = max(longest, filled)
        if longest > MOST_ABOVE:
            break
    return 0


def say_header(name: str, above: str) -> None:
    """Says which rows above the header are left out, by the first of them."""
    logger.warning(f"{name}: what stands above its header ({above:.60}) is left out")


class _Table:
    """One file with its columns; its rows can be read once it is opened.

    Attributes:
        filled: of the columns without a name at the end of the header, those up to this one are kept.
    """

    def __init__(self, file: TextFile) -> None:
        self.file, self.path = file, file.path
        self.header: list[str] = []
        self.filled = 0
        self.above = ""
        try:
            with file.open() as text:
                records = self._records(text)
                if len(self.header) > len(self.columns):
                    self.filled = max((_filled(row) for _, row in records if len(row) <= len(self.header)), default=0)
        except READ_ERRORS as error:
            raise cannot_be_read(self.path, error) from None
        if self.above:
            say_header(self.path.name, self.above)

    @property
    def columns(self) -> list[str]:
        return name_columns(self.header, self.filled)

    def rows(self) -> SplitRows:
        """The rows as dictionaries; where one has fewer fields than the header, the others are ""."""
        columns = self.columns
        width = len(columns)
        try:
            with self.file.open() as text:
                records = self._records(text)
                for line, values in records:
                    while len(values) > width and not values[-1]:
                        values.pop()  # each line ends with a delimiter
                    if len(values) > width:
                        counts = f"has {len(values)} fields where the header has {width}"
                        hint = "quote fields that contain the delimiter"
                        yield None, BadRow("bad_row", f"line {line} {counts}; {hint}")
                    elif any(values):
                        if len(values) < width:
                            records.short.append(line)
                        yield None, dict(itertools.zip_longest(columns, values, fillvalue=""))
                records.say_doubts(self.path.name)
        except READ_ERRORS as error:
            raise cannot_be_read(self.path, error) from None

    def _records(self, text: Iterable[str]) -> _Records:
        """The records that follow the header."""
        lines = iter(text)
        skipped = 0
        first = next(lines, "")
        while first and not first.strip():
            first, skipped = next(lines, ""), skipped + 1
        named = _EXCEL_DELIMITER.fullmatch(first.strip("\r\n"))
        if named:
            first, skipped = next(lines, ""), skipped + 1
        if len(first) > _HEADER_CHARACTERS:
            raise CatalogError(f"{self.path}: is not CSV; its first line has {len(first):,} characters")
        start = [first, *itertools.islice(lines, HEADER_ROWS - 1)]
        # A name of several lines is quoted, and none of its lines is a header.
        whole = itertools.takewhile(lambda line: line.count('"') % 2 == 0, start)
        above = find_header(_cells(line, named[1] if named else "") for line in whole)
        if above:
            self.above, skipped = first.strip(f"{DELIMITERS} \r\n"), skipped + above
        lines = itertools.chain(start[above + 1 :], lines)
        head = [start[above]]
        while "".join(head).count('"') % 2 and len(head) < _HEADER_LINES and (more := next(lines, "")):
            head.append(more)
        unquoted = _QUOTED.sub("", "".join(head))
        delimiter = named[1] if named else max(DELIMITERS, key=unquoted.count)  # the most frequent in the header
        records = _Records(itertools.chain(head, lines), delimiter, skipped)
        self.header = next(iter(records), (0, []))[1]
        if not self.columns:
            raise CatalogError(f"{self.path}: is empty; its first line must name the columns")
        records.width = len(self.columns)
        return records


def _filled(values: Sequence[str]) -> int:
    """How many fields a row has up to its last that is not empty."""
    return max((number for number, value in enumerate(values, start=1) if value.strip()), default=0)


def _cells(line: str, delimiter: str) -> list[str]:
    """The cells of a line that may be a header, by its most frequent delimiter."""
    used = delimiter or max(DELIMITERS, key=_QUOTED.sub("", line).count)
    return [cell.strip(' "\r\n') for cell in line.split(used)]


class _Lines:
    """Lines of a text, which remember those taken last, and can take some back."""

    def __init__(self, lines: Iterator[str], number: int) -> None:
        self._lines, self.number = lines, number
        self._again: deque[str] = deque()
        self.taken: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self.number += 1
        self.taken.append(line)
        return line

    def take_back(self, kept: int) -> None:
        """Gives back all the lines taken last but the first `kept`."""
        self.number -= len(self.taken) - kept
        self._again.extendleft(reversed(self.taken[kept:]))


class _Records:
    """The records of a text by the rule of quotes, each with the number of its first line.

    Attributes:
        width: fields of a whole row; 0 while unknown.
        short: lines of rows with fewer fields than the header, as their reader notes them.
    """

    def __init__(self, lines: Iterator[str], delimiter: str, line: int) -> None:
        csv.field_size_limit(MAX_FIELD_CHARACTERS)
        self.delimiter, self.width = delimiter, 0
        self._lines = _Lines(lines, line)
        self._reader = csv.reader(self._lines, delimiter=delimiter, strict=True, skipinitialspace=True)
        self.short: list[int] = []
        self._literal: list[int] = []
        self._doubtful: list[int] = []
        end = rf'"[ ]*(?=[{re.escape(delimiter)}\r\n]|\Z)'
        self._quoted = re.compile(rf'[ ]*"([^"]*(?:""[^"]*)*){end}')
        self._quoted_in_line = re.compile(rf'[ ]*"([^"\r\n]*(?:""[^"\r\n]*)*){end}')
        # MySQL and others write \" for a quote in a quoted field.
        self._escaped_in_line = re.compile(rf'[ ]*"([^"\\\r\n]*(?:\\.[^"\\\r\n]*)*){end}')
        self._plain = re.compile(rf"[^{re.escape(delimiter)}\r\n]*")

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        lines, reader = self._lines, self._reader
        while True:
            lines.taken.clear()
            line = lines.number + 1
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error:
                values = self._split_taken(line)
            else:
                if len(lines.taken) > 1 and self._swallows(lines.taken, values, line):
                    values = self._split_first(line)
            if values:
                yield line, values

    def say_doubts(self, name: str) -> None:
        """Says in a line each how many quotes were read as text, which may have swallowed rows, and what is short."""
        if self._literal:
            logger.warning(
                f"{name}: {len(self._literal):,} rows hold quotes that are not those of CSV, the first in line "
                f"{self._literal[0]}; these quotes are read as part of the text"
            )
        if self._doubtful:
            logger.warning(
                f"{name}: {len(self._doubtful):,} quoted fields hold lines that look like rows of their own, the first "
                f'in line {self._doubtful[0]}; if products are missing, write "" for a quote in the text'
            )
        if self.short:
            logger.warning(
                f"{name}: {len(self.short):,} rows have fewer fields than the header, the first in line "
                f"{self.short[0]}; if a text was cut there, quote fields that hold line ends"
            )

    def _swallows(self, lines: list[str], values: list[str], line: int) -> bool:
        """Whether a record of several lines is several rows, of which the first begins a field with a quote."""
        whole = [self._is_whole(text) for text in lines]
        later = sum(whole[1:]) / (len(lines) - 1)
        tabs = self.delimiter == "\t"
        if whole[0] and (later >= 0.5 if tabs else later == 1 and len(lines) > 2 and self.width > 2):
            return True
        if tabs and self.width and any(values[self.width :]):  # no row has so many fields
            return True
        if later > 0 if tabs else later == 1:
            self._doubtful.append(line)
        return False

    def _is_whole(self, line: str) -> bool:
        values, _ = self._split(line, self._quoted_in_line)
        return len(values) >= self.width > 1 and bool(values[0].strip()) and not any(values[self.width :])

    def _split_taken(self, line: int) -> list[str]:
        """The record at the start of the lines taken last, which break the rules of CSV; gives back the other lines."""
        taken = self._lines.taken
        values, end = self._split("".join(taken), self._quoted)
        used = next(n for n, last in enumerate(itertools.accumulate(map(len, taken)), start=1) if last >= end)
        if used > 1 and self._swallows(taken[:used], values, line):
            return self._split_first(line)
        self._literal.append(line)
        self._lines.take_back(used)
        return values

    def _split_first(self, line: int) -> list[str]:
        """The first of the lines taken last as a row; gives back the others."""
        self._literal.append(line)
        values, _ = self._split(self._lines.taken[0], self._quoted_in_line)
        self._lines.take_back(1)
        return values

    def _split(self, text: str, quoted: re.Pattern[str]) -> tuple[list[str], int]:
        """The fields of the row at the start of a text, and where it ends."""
        values: list[str] = []
        position = 0
        while True:
            if match := quoted.match(text, position):
                values.append(match[1].replace('""', '"'))
            elif match := self._escaped_in_line.match(text, position):
                values.append(re.sub(r"\\(.)", r"\1", match[1]))
            else:
                match = self._plain.match(text, position)
                assert match is not None  # it may be empty
                values.append(match[0].lstrip(" "))
            position = match.end()
            if not text.startswith(self.delimiter, position):
                return values, position
            position += 1
