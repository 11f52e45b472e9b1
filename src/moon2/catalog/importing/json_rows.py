"""Rows of JSON files, one at a time: JSON Lines, one list of objects, or one object of objects by id.

A file is read in pieces, so that an annotation file of millions of products is never held whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from moon2.catalog.importing.sources import BadRow
from moon2.catalog.schema import CatalogError

PIECE_CHARACTERS = 1 << 16
# One row that does not end within so many characters is no row.
MAX_ROW_CHARACTERS = 10_000_000
# Python makes no integer of so many digits, and says so with a plain ValueError, in the middle of the row.
_TOO_LONG = "holds an integer of more than 4,300 digits"
_DECODER, _WITHOUT_INTEGERS = json.JSONDecoder(), json.JSONDecoder(parse_int=str)


def json_rows(path: Path, id_column: str = "id") -> Iterator[dict[str, Any] | BadRow]:
    """The rows of one file.

    Args:
        path: UTF-8; what it holds is seen from its first characters.
        id_column: where an object of objects puts the names of its members.

    Raises:
        CatalogError: it cannot be read, or breaks off in the middle of a list or object.
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


def _lines(file: IO[str], path: Path) -> Iterator[dict[str, Any] | BadRow]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            yield BadRow("bad_row", f"{path.name} line {number}: is not JSON ({error})")
            continue
        except ValueError:
            yield BadRow("bad_row", f"{path.name} line {number}: {_TOO_LONG}")
            continue
        yield row if isinstance(row, dict) else BadRow("bad_row", f"{path.name} line {number}: is not a JSON object")


def _members(file: IO[str], path: Path, id_column: str) -> Iterator[dict[str, Any] | BadRow]:
    text = file.read(PIECE_CHARACTERS).lstrip()
    by_id, text = text[0] == "{", text[1:]
    number, ended = 0, False
    while True:
        text = text.lstrip(" \t\r\n,")
        if text.startswith("}" if by_id else "]"):
            return
        try:
            name, end = _WITHOUT_INTEGERS.raw_decode(text) if by_id else ("", 0)
            if by_id:
                while text[end : end + 1] in (" ", "\t", "\r", "\n"):
                    end += 1
                if text[end : end + 1] != ":":
                    raise json.JSONDecodeError("no colon", text, end)
                end += 1
                while text[end : end + 1] in (" ", "\t", "\r", "\n"):
                    end += 1
            row, end, fault = _entry(text, end)
        except (json.JSONDecodeError, RecursionError) as error:
            if ended or len(text) > MAX_ROW_CHARACTERS:
                raise CatalogError(f"{path}: is not JSON after {number:,} rows ({error})") from None
            # Doubling keeps the work linear in the row's length.
            piece = file.read(max(PIECE_CHARACTERS, len(text)))
            ended, text = not piece, text + piece
            continue
        number += 1
        text = text[end:]
        if isinstance(row, dict):
            yield {id_column: name, **row} if by_id else row
        else:
            yield BadRow("bad_row", f"{path.name} entry {number}: {fault or 'is not a JSON object'}")


def _entry(text: str, start: int) -> tuple[Any, int, str]:
    """The value that begins at `start`, where it ends, and what is wrong with it, "" when nothing is."""
    try:
        row, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return None, _WITHOUT_INTEGERS.raw_decode(text, start)[1], _TOO_LONG
    return row, end, ""
