"""Rows of JSON files, one at a time: JSON Lines, lists of objects, or one object of objects by id.

A list may be a member of an object, as in {"count": 2, "products": [...]}. A file is read in pieces, because an
annotation file of millions of products may be a single list. The readers of pyarrow and `datasets` are not used: they
give every row the same types, and one bad row ends the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from moon2.catalog.importing.cells import is_too_deep
from moon2.catalog.importing.sources import BadRow, Row, Source, rows_of_files, source_of, with_columns
from moon2.catalog.importing.text_files import READ_ERRORS, TextFile, cannot_be_read
from moon2.catalog.schema import CatalogError

PIECE_CHARACTERS = 1 << 16
# A row that does not end within so many characters ends the file.
MAX_ROW_CHARACTERS = 10_000_000
# For such an integer, Python raises a plain ValueError in the middle of the row.
_TOO_LONG = "holds an integer of more than 4,300 digits"
_BETWEEN = " \t\r\n,"
_COLON = re.compile(r"[ \t\r\n]*:[ \t\r\n]*")
# What comes before the list in {"count": 2, "products": [...]}.
_WRAPPED = re.compile(
    r'\s*\{\s*(?:"[^"]*"\s*:\s*(?:"[^"]*"|[\w.+-]+)\s*,\s*)*'
    r'"(?:products|items|data|results|records|rows|entries)"\s*:\s*(?=\[\s*\{)'
)
_DECODER, _WITHOUT_INTEGERS = json.JSONDecoder(), json.JSONDecoder(parse_int=str)


def open_json(paths: list[Path], encoding: str | None = None) -> Source:
    """Opens files as one table, with the columns of its first rows.

    Raises:
        CatalogError: one cannot be read, or none has a row.
    """
    tables = [((None, row) for row in json_rows(path, encoding=encoding)) for path in paths]
    columns, rows = with_columns(paths[0].name, rows_of_files(paths, tables))
    if not columns:
        raise CatalogError(f"{paths[0]}: has no JSON object to read")
    return source_of(paths, columns, rows)


def json_rows(path: Path, id_column: str = "id", encoding: str | None = None) -> Iterator[Row | BadRow]:
    """The rows of one file.

    Args:
        path: its first characters decide how it is read.
        id_column: column for the names of the members, if the file is an object of objects.
        encoding: found by the file's bytes when not given.

    Raises:
        CatalogError: it cannot be read, or ends in the middle of a list or object.
    """
    text = TextFile(path, encoding)
    try:
        with text.open() as file:
            start = file.read(1 << 12)
            file.seek(0)
            if wrapped := not _is_named_lines(path) and _WRAPPED.match(start):
                file.read(wrapped.end())
            first = start.lstrip()[:1]
            if wrapped or first == "[" or (first == "{" and not _is_lines(text)):
                yield from _members(file, path, id_column, is_whole=not wrapped)
            else:
                yield from _lines(file)
    except READ_ERRORS as error:
        raise cannot_be_read(path, error) from None


def _is_lines(text: TextFile) -> bool:
    """Whether the first line is a whole row, and not a whole object of rows."""
    if _is_named_lines(text.path):
        return True
    with text.open() as file:
        lines = (line for line in iter(lambda: file.readline(MAX_ROW_CHARACTERS), "") if line.strip())
        first, second = next(lines, ""), next(lines, "")
    try:
        row = json.loads(first, parse_int=str)
    except (json.JSONDecodeError, RecursionError):
        return False
    # One bad member makes no line of an object of products.
    return second.lstrip().startswith("{") or 2 * sum(isinstance(value, dict) for value in row.values()) <= len(row)


def _is_named_lines(path: Path) -> bool:
    return not {".jsonl", ".ndjson"}.isdisjoint(path.suffixes)


def _lines(file: IO[str]) -> Iterator[Row | BadRow]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            try:
                row, fault = json.loads(line), ""
            except (json.JSONDecodeError, RecursionError) as error:
                row, fault = None, f"is not JSON ({error})"
            except ValueError:
                row, fault = None, _TOO_LONG
            yield _row(row, fault, f"line {number} ")


def _members(file: IO[str], path: Path, id_column: str, is_whole: bool) -> Iterator[Row | BadRow]:
    """The members of a list or object, and of those of the same kind after it.

    Args:
        file: at its beginning, or where the list begins.
        path: for messages.
        id_column: as in `json_rows`.
        is_whole: whether nothing else may follow.
    """
    text = file.read(PIECE_CHARACTERS).lstrip()
    opening, text = text[0], text[1:]
    by_id = opening == "{"
    number, ended = 0, False
    while True:
        text = text.lstrip(_BETWEEN)
        if text.startswith("}" if by_id else "]"):
            text = text[1:].lstrip(_BETWEEN)
            while is_whole and not text and (piece := file.read(PIECE_CHARACTERS)):
                text = piece.lstrip(_BETWEEN)
            if not is_whole or not text:
                return
            if text[0] != opening:
                raise CatalogError(f"{path}: is not JSON after {number:,} rows ({text[:20]!r} follows their end)")
            text = text[1:]
            continue
        try:
            name, start = _member_name(text) if by_id else ("", 0)
            row, end, fault = _decode(text, start)
        except (json.JSONDecodeError, RecursionError) as error:
            if ended or len(text) > MAX_ROW_CHARACTERS:
                raise CatalogError(f"{path}: is not JSON after {number:,} rows ({error})") from None
            # Doubling keeps the work linear in the length of the row.
            piece = file.read(max(PIECE_CHARACTERS, len(text)))
            ended, text = not piece, text + piece
            continue
        number += 1
        text = text[end:]
        row = {id_column: name, **row} if by_id and isinstance(row, dict) else row
        yield _row(row, fault)


def _member_name(text: str) -> tuple[Any, int]:
    """The name at the start of a member of an object, and where its value begins."""
    name, end = _WITHOUT_INTEGERS.raw_decode(text)
    colon = _COLON.match(text, end)
    if colon is None:
        raise json.JSONDecodeError("no colon", text, end)
    return name, colon.end()


def _decode(text: str, start: int) -> tuple[Any, int, str]:
    """The value that begins at `start`, where it ends, and what is wrong with it, "" when nothing is."""
    try:
        return *_DECODER.raw_decode(text, start), ""
    except json.JSONDecodeError:
        raise
    except ValueError:
        return None, _WITHOUT_INTEGERS.raw_decode(text, start)[1], _TOO_LONG


def _row(row: object, fault: str, where: str = "") -> Row | BadRow:
    if not isinstance(row, dict):
        return BadRow("bad_row", f"{where}{fault or 'is not a JSON object'}")
    return BadRow("bad_row", f"{where}nests lists and objects too deep") if is_too_deep(row) else row
