"""Rows of other people's tables: CSV, Parquet, and datasets of the Hugging Face hub, one at a time, as dictionaries.

A source knows its columns before the first row is read, so that a wrong mapping fails at once. A row that cannot be
taken apart comes as a `BadRow`, and the rest goes on.
"""

from __future__ import annotations

import csv
import glob
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from moon2.catalog.schema import CatalogError, one_line

MAX_FIELD_CHARACTERS = 10_000_000
_BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that could not be read; `reason` and `message` as in `Reject`."""

    reason: str
    message: str


@dataclass
class Source:
    """A table that can be read once, row after row.

    Attributes:
        name: how messages call it, usually the file name.
        columns: the names of its columns.
        rows: (split the table itself states or None, row); a row is a dictionary of its columns, or a `BadRow`.
        folder: where relative picture paths start.
        total: how many rows there are; None when unknown.
    """

    name: str
    columns: list[str]
    rows: Iterator[tuple[str | None, dict[str, Any] | BadRow]]
    folder: Path = field(default_factory=Path)
    total: int | None = None


def open_source(source: str | Path, format: str, subset: str | None = None) -> Source:
    """Opens a table.

    Args:
        source: a file, a folder of files or a glob (csv, parquet); a hub id or a local folder (hub).
        format: "csv", "parquet" or "hub".
        subset: of a hub dataset, its configuration.

    Raises:
        CatalogError: it is missing, empty, or not of this format.
    """
    if format == "hub":
        return _open_hub(str(source), subset)
    if format == "csv":
        return _open_csv(_find_files(source, ("csv", "tsv", "txt")))
    if format == "parquet":
        return _open_parquet(_find_files(source, ("parquet", "pq")))
    raise CatalogError(f"{source}: {format!r} is not a format that can be read; formats are csv, parquet and hub")


def _find_files(source: str | Path, endings: tuple[str, ...]) -> list[Path]:
    path = Path(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.suffix.lstrip(".").lower() in endings)
    else:
        found = sorted(Path(name) for name in glob.glob(str(source), recursive=True))
    if not found:
        kinds = " or ".join(f"*.{ending}" for ending in endings[:2])
        raise CatalogError(f"{source}: there is no such file, and no {kinds} in a folder of that name")
    return found


def _open_csv(paths: list[Path]) -> Source:
    headers = [_csv_layout(path)[0] for path in paths]
    for path, header in zip(paths, headers, strict=True):
        if set(header) != set(headers[0]):
            raise CatalogError(
                f"{path}: has other columns ({', '.join(header)}) than {paths[0].name}; import them apart"
            )
    rows = itertools.chain.from_iterable(map(_csv_rows, paths))
    return Source(paths[0].name, headers[0], rows, paths[0].parent)


def _csv_layout(path: Path) -> tuple[list[str], str, str]:
    """Header, delimiter and encoding of one file."""
    try:
        with path.open("rb") as file:
            encoding = _BYTE_ORDER_MARKS.get(file.read(2), "utf-8-sig")
        with path.open(encoding=encoding, errors="replace", newline="") as file:
            start = file.readline()
            # The delimiter is whichever of the usual ones the header has most of.
            delimiter = max(",\t;|", key=start.count)
            file.seek(0)
            header = next(csv.reader(file, delimiter=delimiter), [])
    except OSError as error:
        raise CatalogError(f"{path}: cannot be read ({error.strerror})") from None
    except csv.Error as error:
        raise CatalogError(f"{path}: is not CSV ({error})") from None
    if not any(header):
        raise CatalogError(f"{path}: is empty; its first line must name the columns")
    return [name.strip() for name in header], delimiter, encoding


def _csv_rows(path: Path) -> Iterator[tuple[str | None, dict[str, Any] | BadRow]]:
    header, delimiter, encoding = _csv_layout(path)
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    # Bytes of another encoding become U+FFFD, which the records refuse: the row is put aside, the file goes on.
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        next(reader)
        while True:
            try:
                values = next(reader, None)
            except csv.Error as error:
                yield None, BadRow("bad_row", f"{path.name} line {reader.line_num}: cannot be taken apart ({error})")
                continue
            if values is None:
                return
            if not values:
                continue
            if len(values) > len(header):
                counts = f"has {len(values)} fields where the header has {len(header)}"
                yield (
                    None,
                    BadRow("bad_row", f"{path.name} line {reader.line_num}: {counts}; quote fields that hold commas"),
                )
                continue
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

    def rows() -> Iterator[tuple[str | None, dict[str, Any] | BadRow]]:
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
        # Pictures stay the bytes they are; opening them is the import's business.
        tables = {split: iter(table.decode(False)) for split, table in splits.items()}
        first = {split: next(table, None) for split, table in tables.items()}
        counts = [split.num_examples for table in splits.values() for split in (table.info.splits or {}).values()]
    except Exception as error:  # whatever the hub, the network or a file's reader raises
        raise CatalogError(f"{name}: cannot be opened as a dataset ({one_line(error)})") from None
    columns = next((list(row) for row in first.values() if row is not None), [])
    if not columns:
        raise CatalogError(f"{name}: the dataset has no rows")

    def rows() -> Iterator[tuple[str | None, dict[str, Any] | BadRow]]:
        for split, table in tables.items():
            row = first[split]
            while row is not None:
                yield split, row
                try:
                    row = next(table, None)
                except Exception as error:
                    raise CatalogError(f"{name}: cannot be read further ({one_line(error)})") from None

    folder = Path(name) if Path(name).is_dir() else Path()
    return Source(name, columns, rows(), folder, sum(counts[: len(tables)]) or None)
