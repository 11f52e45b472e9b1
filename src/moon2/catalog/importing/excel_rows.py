"""Rows of Excel files, read with openpyxl one at a time; formulas give the values that Excel stored."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from datetime import datetime, time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from moon2.catalog.importing.csv_rows import HEADER_ROWS, find_header, name_columns, say_header
from moon2.catalog.importing.sources import Source, SplitRows, join_files
from moon2.catalog.schema import CatalogError
from moon2.errors import one_line

# Cells in which a formula failed.
_ERRORS = {"#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!"}


def open_excel(paths: list[Path], sheet: str | None = None) -> Source:
    """Opens files of the same columns as one table.

    Args:
        sheet: its name; needed if several sheets hold a table.

    Raises:
        CatalogError: openpyxl is not installed; a file is no .xlsx, is damaged, or has no such sheet, or other columns
            than the first; or it is unclear which sheet is meant.
    """
    if find_spec("openpyxl") is None:
        raise CatalogError(f"{paths[0]}: Excel files need openpyxl: pip install 'moon2[excel]'; or save it as CSV")
    tables = [_open_sheet(path, sheet) for path in paths]
    return join_files(paths, [header for header, _ in tables], [_rows(*table) for table in tables])


def _open_sheet(path: Path, name: str | None) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
    """The columns of the sheet that is meant, and the values of its rows."""
    sheets = _read_sheets(path)
    if name is not None and name not in sheets:
        raise CatalogError(f"{path}: has no sheet {name!r}; its sheets are {', '.join(sheets)}")
    tables = {}
    for title in [name] if name is not None else sheets:
        filled = _filled_rows(path, sheets[title])
        start = list(itertools.islice(filled, HEADER_ROWS))
        header = find_header(start)
        above, columns, first = start[:header], name_columns(next(iter(start[header:]), ())), start[header + 1 :]
        # A sheet of notes has one column; a sheet of charts has none.
        if first and (len(columns) > 1 or name is not None):
            tables[title] = columns, itertools.chain(first, filled), above
    if not tables:
        raise CatalogError(
            f"{path}: no sheet of it ({', '.join(sheets)}) has a header of several columns and rows below; add rows, "
            f"or delete what stands above the header"
        )
    if len(tables) > 1:
        raise CatalogError(f"{path}: which sheet is the table? Name one with --subset: {', '.join(tables)}")
    columns, rows, above = next(iter(tables.values()))
    if above:
        say_header(path.name, " ".join(name_columns(above[0])))
    return columns, rows


def _read_sheets(path: Path) -> dict[str, Any]:
    """The worksheets by name."""
    from openpyxl import load_workbook

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles that it does not know
            workbook = load_workbook(path, read_only=True, data_only=True)
        sheets = {sheet.title: sheet for sheet in workbook.worksheets}
        for sheet in sheets.values():
            sheet.reset_dimensions()  # some programs write a wrong size
    except Exception as error:  # the reader of damaged files raises anything
        if path.suffix.lower() == ".xls":
            raise CatalogError(f"{path}: is an old Excel file; save it as .xlsx, or as CSV") from None
        raise CatalogError(f"{path}: cannot be read as an Excel file ({one_line(error)}); save it again") from None
    return sheets


def _filled_rows(path: Path, sheet: Any) -> Iterator[tuple[Any, ...]]:
    try:
        for values in sheet.iter_rows(values_only=True):
            if any(value is not None for value in values):
                yield values
    except Exception as error:
        raise CatalogError(f"{path}: is damaged ({one_line(error)}); save it again") from None


def _rows(columns: list[str], rows: Iterator[tuple[Any, ...]]) -> SplitRows:
    for values in rows:
        yield None, dict(itertools.zip_longest(columns, map(_value, values[: len(columns)])))


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return None if value in _ERRORS else value
    if isinstance(value, datetime):
        return str(value.date() if value.time() == time() else value)
    return value
