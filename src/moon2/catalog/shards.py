"""One table of a catalog as Parquet files: reading a row group at a time, and writing in files of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from moon2.catalog import schema
from moon2.catalog.schema import CatalogError

# A row group is what one random access reads: small enough to be quick, large enough for the columns to compress.
ROW_GROUP_ROWS = 256
ROW_GROUP_BYTES = 4_000_000
SHARD_ROWS = 20_000
SHARD_BYTES = 500_000_000


class Shard:
    """One opened Parquet file, checked to have the columns it should."""

    def __init__(self, path: Path, split: str, columns: pa.Schema = schema.PRODUCTS) -> None:
        self.path, self.split = path, split
        try:
            self.file = pq.ParquetFile(path, memory_map=True)
        except (OSError, pa.ArrowException) as error:
            raise CatalogError(f"{path}: cannot be read ({schema.one_line(error)}); import the catalog again") from None
        missing = [name for name in columns.names if name not in self.file.schema_arrow.names]
        if missing:
            raise CatalogError(f"{path}: has no column {missing[0]!r}, so it is not part of a moon2 catalog")
        metadata = self.file.metadata
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self.rows = sum(sizes)
        self.group_starts = np.cumsum([0, *sizes])

    def read(self, group: int, columns: Sequence[str]) -> pa.Table:
        try:
            return self.file.read_row_group(group, columns=list(columns), use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise CatalogError(
                f"{self.path}: is damaged ({schema.one_line(error)}); import the catalog again"
            ) from None

    def read_all(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        for group in range(self.file.num_row_groups):
            yield from self.read(group, columns).to_pylist()


class TableWriter:
    """Rows of one table into Parquet files of bounded size, a row group at a time."""

    def __init__(self, folder: Path, pattern: str, columns: pa.Schema) -> None:
        self.folder, self.pattern, self.columns = folder, pattern, columns
        self.rows = 0
        self._one_file = pattern == pattern.format(0)
        self._buffer: list[dict[str, Any]] = []
        self._buffered_bytes = 0
        self._shard = -1
        self._shard_rows = self._shard_bytes = 0
        self._writer: pq.ParquetWriter | None = None

    def add(self, row: dict[str, Any]) -> None:
        self._buffer.append(row)
        pictures = (*row.get("images", ()), *row.get("expanded_images", ()))
        self._buffered_bytes += sum(len(cell["bytes"] or b"") for cell in pictures)
        self.rows += 1
        if len(self._buffer) >= ROW_GROUP_ROWS or self._buffered_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        self._flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _flush(self) -> None:
        if not self._buffer:
            return
        table = pa.Table.from_pylist(self._buffer, schema=self.columns)
        full = self._shard_rows + len(self._buffer) > SHARD_ROWS or self._shard_bytes + table.nbytes > SHARD_BYTES
        if self._writer is None or (full and not self._one_file):
            self._open_next()
        assert self._writer is not None
        try:
            self._writer.write_table(table, row_group_size=len(self._buffer))
        except OSError as error:
            raise CatalogError(f"{self.folder}: cannot be written ({schema.one_line(error)})") from None
        self._shard_rows += len(self._buffer)
        self._shard_bytes += table.nbytes
        self._buffer, self._buffered_bytes = [], 0

    def _open_next(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._shard += 1
        self._shard_rows = self._shard_bytes = 0
        path = self.folder / self.pattern.format(self._shard)
        leaves = schema.leaf_columns(self.columns)
        self._writer = pq.ParquetWriter(
            path,
            self.columns,
            compression={leaf: "none" if leaf in schema.PICTURE_BYTES else "zstd" for leaf in leaves},
            use_dictionary=[leaf for leaf in leaves if leaf not in schema.PICTURE_BYTES],
            write_statistics=[leaf for leaf in leaves if leaf not in schema.PICTURE_BYTES],
        )
