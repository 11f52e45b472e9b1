"""Rows of foreign tables, one at a time, as dictionaries: CSV, Parquet, and datasets of the Hugging Face hub.

A source knows its columns before the first row is read, so a wrong mapping fails at once. A row that cannot be parsed
is a `BadRow`, and the next row follows.
"""

from __future__ import annotations

import csv
import glob
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from moon2.catalog.importing.columns import ColumnMapping
from moon2.catalog.importing.log_columns import LogMapping
from moon2.catalog.schema import CatalogError, one_line

MAX_FIELD_CHARACTERS = 10_000_000
_BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read; `reason` and `message` as in `Reject`."""

    reason: str
    message: str


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
    """

    name: str
    columns: list[str]
    rows: SplitRows
    folder: Path = field(default_factory=Path)
    total: int | None = None


@dataclass
class LogTable:
    """A table of queries and its columns.

    Attributes:
        table: its rows.
        columns: which column means what.
        split: of all its rows; None if the rows state it.
    """

    table: Source
    columns: LogMapping
    split: str | None = None


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


def open_source(source: str | Path, layout: str, subset: str | None = None) -> Source:
    """Opens a table.

    Args:
        source: a file, a folder of files or a glob (csv, parquet); a hub id or a local folder (hub).
        layout: "csv", "parquet" or "hub".
        subset: configuration of a hub dataset.

    Raises:
        CatalogError: it is missing, empty, or not of this layout.
    """
    if layout == "hub":
        return _open_hub(str(source), subset)
    if layout == "csv":
        return _open_csv(_find_files(source, ("csv", "tsv", "txt")))
    if layout == "parquet":
        return _open_parquet(_find_files(source, ("parquet", "pq")))
    raise CatalogError(f"{source}: there is no layout {layout!r}; single tables are csv, parquet or hub")


def _find_files(source: str | Path, endings: tuple[str, ...]) -> list[Path]:
    path = Path(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lstrip(".").lower() in endings)
    else:
        files = sorted(Path(name) for name in glob.glob(str(source), recursive=True))
    if not files:
        kinds = " or ".join(f"*.{ending}" for ending in endings[:2])
        raise CatalogError(f"{source}: there is no such file, and no {kinds} in a folder of that name")
    return files


def _open_csv(paths: list[Path]) -> Source:
    dialects = [_csv_dialect(path) for path in paths]
    columns = dialects[0][0]
    for path, (header, _, _) in zip(paths, dialects, strict=True):
        if set(header) != set(columns):
            raise CatalogError(
                f"{path}: has other columns ({', '.join(header)}) than {paths[0].name}; import them apart"
            )
    rows = (row for path, dialect in zip(paths, dialects, strict=True) for row in _csv_rows(path, *dialect))
    return Source(paths[0].name, columns, rows, paths[0].parent)


def _csv_dialect(path: Path) -> tuple[list[str], str, str]:
    """Header, delimiter and encoding of one file."""
    try:
        with path.open("rb") as file:
            encoding = _BYTE_ORDER_MARKS.get(file.read(2), "utf-8-sig")
        with path.open(encoding=encoding, errors="replace", newline="") as file:
            start = file.readline()
            delimiter = max(",\t;|", key=start.count)  # the most frequent in the header
            file.seek(0)
            header = next(csv.reader(file, delimiter=delimiter), [])
    except OSError as error:
        raise CatalogError(f"{path}: cannot be read ({error.strerror})") from None
    except csv.Error as error:
        raise CatalogError(f"{path}: is not CSV ({error})") from None
    if not any(header):
        raise CatalogError(f"{path}: is empty; its first line must name the columns")
    return [name.strip() for name in header], delimiter, encoding


def _csv_rows(path: Path, header: list[str], delimiter: str, encoding: str) -> SplitRows:
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    # Bytes of another encoding become U+FFFD. The records refuse it, so only that row is rejected.
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        next(reader)
        while True:
            try:
                values = next(reader, None)
            except csv.Error as error:
                yield None, BadRow("bad_row", f"{path.name} line {reader.line_num}: cannot be parsed ({error})")
                continue
            if values is None:
                return
            if len(values) > len(header):
                where = f"{path.name} line {reader.line_num}"
                counts = f"has {len(values)} fields where the header has {len(header)}"
                yield None, BadRow("bad_row", f"{where}: {counts}; quote fields that contain the delimiter")
            elif values:
                yield None, dict(itertools.zip_longest(header, values, fillvalue=""))


def _open_parquet(paths: list[Path]) -> Source:
    files = []
    for path in paths:
        try:
            files.append(pq.ParquetFile(path, memory_map=True))
        except (OSError, pa.ArrowException) as error:
            raise CatalogError(f"{path}: cannot be read as Parquet ({one_line(error)})") from None
    columns = files[0].schema_arrow.names
    for path, file in zip(paths, files, strict=True):
        if set(file.schema_arrow.names) != set(columns):
            others = ", ".join(file.schema_arrow.names)
            raise CatalogError(f"{path}: has other columns ({others}) than {paths[0].name}; import them apart")

    def rows() -> SplitRows:
        for path, file in zip(paths, files, strict=True):
            try:
                for batch in file.iter_batches(batch_size=256, use_threads=False):
                    yield from ((None, row) for row in batch.to_pylist())
            except (OSError, pa.ArrowException) as error:
                raise CatalogError(f"{path}: is damaged ({one_line(error)})") from None

    return Source(paths[0].name, columns, rows(), paths[0].parent, sum(file.metadata.num_rows for file in files))


def _open_hub(name: str, subset: str | None) -> Source:
    import datasets

    try:
        splits = datasets.load_dataset(name, subset, streaming=True)
        if not isinstance(splits, dict):
            splits = {"train": splits}
        # Without decoding, images are the bytes of their files.
        tables = {split: iter(table.decode(False)) for split, table in splits.items()}
        first = {split: next(table, None) for split, table in tables.items()}
        counts = [split.num_examples for table in splits.values() for split in (table.info.splits or {}).values()]
    except Exception as error:  # the hub, the network and the readers of files raise anything
        raise CatalogError(f"{name}: cannot be opened as a dataset ({one_line(error)})") from None
    columns = next((list(row) for row in first.values() if row is not None), [])
    if not columns:
        raise CatalogError(f"{name}: the dataset has no rows")

    def rows() -> SplitRows:
        for split, table in tables.items():
            row = first[split]
            while row is not None:
                yield split, row
                try:
                    row = next(table, None)
                except Exception as error:
                    raise CatalogError(f"{name}: the next row cannot be read ({one_line(error)})") from None

    folder = Path(name) if Path(name).is_dir() else Path()
    return Source(name, columns, rows(), folder, sum(counts[: len(tables)]) or None)
