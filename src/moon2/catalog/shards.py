"""One table of a catalog as Parquet files: reading a row group at a time, and writing files of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from moon2.catalog import schema
from moon2.catalog.schema import CatalogError
from moon2.errors import one_line

# Random access reads a whole row group: small enough to be quick, large enough for the columns to compress.
ROW_GROUP_ROWS = 256
ROW_GROUP_BYTES = 4_000_000
SHARD_ROWS = 20_000
SHARD_BYTES = 500_000_000


class Shard:
    """One opened Parquet file, checked to have the expected columns.

    Attributes:
        rows: how many it has.
        group_starts: (row groups + 1,) int64; the first row of each group, and `rows`.

    Raises:
        CatalogError: it cannot be read, is damaged, or lacks a column; also when its rows are read.
    """

    def __init__(self, path: Path, split: str, columns: pa.Schema = schema.PRODUCTS) -> None:
        self.path, self.split = path, split
        try:
            self.file = pq.ParquetFile(path, memory_map=True)
        except (OSError, pa.ArrowException) as error:
            raise CatalogError(f"{path}: cannot be read ({one_line(error)}); import the catalog again") from None
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
            reason = one_line(error)
            raise CatalogError(f"{self.path}: is damaged ({reason}); import the catalog again") from None

    def read_all(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        for group in range(self.file.num_row_groups):
            yield from self.read(group, columns).to_pylist()


class TableWriter:
    """Writes the rows of one table into Parquet files of bounded size, a row group at a time."""

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
        cells = (*row.get("images", ()), *row.get("expanded_images", ()))
        self._buffered_bytes += sum(len(cell["bytes"] or b"") for cell in cells)
        self.rows += 1
        if len(self._buffer) >= ROW_GROUP_ROWS or self._buffered_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Writes what is left."""
        self._flush()
        self._close_file()

    def abandon(self) -> None:
        """Closes the file, which is to be removed, with whatever is in it."""
        self._buffer = []
        if self._writer is not None:
            with suppress(OSError, pa.ArrowException):
                self._writer.close()
            self._writer.is_open = False  # or it would try once more, and complain, when it is deleted

    def _flush(self) -> None:
        if not self._buffer:
            return
        table = pa.Table.from_pylist(self._buffer, schema=self.columns)
        full = self._shard_rows + len(self._buffer) > SHARD_ROWS or self._shard_bytes + table.nbytes > SHARD_BYTES
        if self._writer is None or (full and not self._one_file):
            self._close_file()
            self._open_next()
        assert self._writer is not None
        self._writer.write_table(table, row_group_size=len(self._buffer))
        self._shard_rows += len(self._buffer)
        self._shard_bytes += table.nbytes
        self._buffer, self._buffered_bytes = [], 0

    def _close_file(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open_next(self) -> None:
        self._shard += 1
        self._shard_rows = self._shard_bytes = 0
        leaves = schema.leaf_columns(self.columns)
        # Image files are compressed already, and statistics over them would copy whole images into the footer.
        others = [leaf for leaf in leaves if not leaf.endswith(".bytes")]
        self._writer = pq.ParquetWriter(
            self.folder / self.pattern.format(self._shard),
            self.columns,
            compression={leaf: "zstd" if leaf in others else "none" for leaf in leaves},
            use_dictionary=others,
            write_statistics=others,
        )
