"""Rows of JSON files, one at a time: JSON Lines, one list of objects, or one object of objects by id.

A file is read in pieces, because an annotation file of millions of products may be a single list. The readers of
pyarrow and `datasets` are not used: they give every row the same types, and one bad row ends the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from moon2.catalog.importing.sources import BadRow, Row
from moon2.catalog.schema import CatalogError

PIECE_CHARACTERS = 1 << 16
# A row that does not end within so many characters ends the file.
MAX_ROW_CHARACTERS = 10_000_000
# For such an integer, Python raises a plain ValueError in the middle of the row.
_TOO_LONG = "holds an integer of more than 4,300 digits"
_COLON = re.compile(r"[ \t\r\n]*:[ \t\r\n]*")
_DECODER, _WITHOUT_INTEGERS = json.JSONDecoder(), json.JSONDecoder(parse_int=str)


def json_rows(path: Path, id_column: str = "id") -> Iterator[Row | BadRow]:
    """The rows of one file.

    Args:
        path: a UTF-8 file; its first characters decide how it is read.
        id_column: column for the names of the members, if the file is an object of objects.

    Raises:
        CatalogError: it cannot be read, or ends in the middle of a list or object.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            start = file.read(1 << 12).lstrip()
            file.seek(0)
            if start.startswith("[") or (start.startswith("{") and not _is_lines(path)):
                yield from _members(file, path, id_column)
            else:
                yield from _lines(file, path)
    except OSError as error:
        raise CatalogError(f"{path}: cannot be read ({error.strerror})") from None


def _is_lines(path: Path) -> bool:
    """Whether the first line is a whole row, and not a whole object of rows."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        line = file.readline(MAX_ROW_CHARACTERS)
    try:
        row = json.loads(line, parse_int=str)
    except (json.JSONDecodeError, RecursionError):
        return path.suffix.lower() in (".jsonl", ".ndjson")
    return 2 * sum(isinstance(value, dict) for value in row.values()) <= len(row)


def _lines(file: IO[str], path: Path) -> Iterator[Row | BadRow]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            try:
                row, fault = json.loads(line), ""
            except (json.JSONDecodeError, RecursionError) as error:
                row, fault = None, f"is not JSON ({error})"
            except ValueError:
                row, fault = None, _TOO_LONG
            yield _row(row, fault, f"{path.name} line {number}")


def _members(file: IO[str], path: Path, id_column: str) -> Iterator[Row | BadRow]:
    text = file.read(PIECE_CHARACTERS).lstrip()
    by_id, text = text[0] == "{", text[1:]
    number, ended = 0, False
    while True:
        text = text.lstrip(" \t\r\n,")
        if text.startswith("}" if by_id else "]"):
            return
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
        yield _row(row, fault, f"{path.name} entry {number}")


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


def _row(row: object, fault: str, where: str) -> Row | BadRow:
    return row if isinstance(row, dict) else BadRow("bad_row", f"{where}: {fault or 'is not a JSON object'}")
