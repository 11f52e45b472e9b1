"""Tables for people and programs: CSV or Parquet, by the ending of the file's name."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from moon2.errors import UserError
from moon2.files import require_writable, write_atomic

ENDINGS = (".csv", ".parquet")


class TableError(UserError):
    """A file's name tells no format of a table; one line."""


def require_table_file(file: Path, option: str = "--out") -> None:
    """Refuses a file whose name tells no format, or that cannot be written, before the long work.

    Raises:
        TableError: its name ends in something else.
        OutputError: it cannot be written.
    """
    if file.suffix.lower() not in ENDINGS:
        raise TableError(f"{option} {file}: give a name that ends in {' or '.join(ENDINGS)}")
    require_writable(file, option)


def write_table(file: Path, columns: Sequence[tuple[str, pa.DataType]], rows: Sequence[Sequence[object]]) -> None:
    """Writes rows whole, in place of what is there. In CSV an empty cell is None, and numbers have four digits.

    Args:
        file: ends in .csv or .parquet.
        columns: names and Arrow types.
        rows: a value for each column.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix.lower() == ".parquet":
        arrays = [pa.array([row[number] for row in rows], kind) for number, (_, kind) in enumerate(columns)]
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(arrays, schema=pa.schema(columns)), sink)
        write_atomic(file, sink.getvalue().to_pybytes())
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(name for name, _ in columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    # Excel takes a CSV for UTF-8 only where it begins with this mark.
    write_atomic(file, text.getvalue().encode("utf-8-sig"))


def _cell(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, (list, tuple)):
        return "; ".join(map(str, value))
    return value
