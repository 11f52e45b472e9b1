"""Writes a folder of vectors (`vector_folder.py`) a table at a time, with one row group in memory.

It is written to a hidden folder beside the target, which is renamed when complete; so it exists as a whole or not at
all. How the rows come in changes no byte of the files.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from moon2.catalog.schema import REJECTS, SPLITS, Reject
from moon2.files import replace_folder, write_text_atomic
from moon2.vectors.quantize import quantize
from moon2.vectors.vector_folder import (
    FORMAT,
    INFO,
    REJECTS_FILE,
    TABLES,
    VectorFolder,
    VectorFolderError,
    VectorInfo,
    What,
)
from moon2.views import View

# A row group is what readers hold in memory; a file is what clusters copy.
ROW_GROUP_BYTES = 16_000_000
MAX_ROW_GROUP_ROWS = 16_384
ROW_GROUPS_A_FILE = 32


def stored_rows(
    info: VectorInfo, what: What, vectors: dict[View, np.ndarray], rows: dict[str, Sequence[Any]]
) -> pa.Table:
    """Rows of a table as they are stored.

    Args:
        info: of the folder.
        what: the table.
        vectors: view → [n, D] float32; a row of NaN lacks the view.
        rows: the other columns: id, split, key, and image for images.
    """
    schema = info.schema(what)
    columns: dict[str, Any] = dict(rows)
    for view in info.columns(what):
        matrix = vectors[view]
        lacks = np.isnan(matrix).all(axis=1)
        stored = quantize(np.where(lacks[:, None], np.float32(0), matrix), info.storage)
        kind = schema.field(view).type
        numbers = pa.array(np.ascontiguousarray(stored.numbers).ravel(), kind.value_type)
        columns[view] = pa.FixedSizeListArray.from_arrays(numbers, kind.list_size, mask=pa.array(lacks))
        if stored.scales is not None:
            columns[f"{view}_scale"] = pa.array(stored.scales, pa.float32(), mask=lacks)
    return pa.table(columns, schema=schema)


class VectorWriter:
    """Writes a folder of vectors; use as a context manager.

    The whole folder appears at `path` when the context ends, in place of what was there; after an exception nothing
    does.

    Raises:
        VectorFolderError: `path` holds something else than vectors.
    """

    def __init__(self, path: str | Path, info: VectorInfo) -> None:
        self.path = Path(path).absolute()
        check_target(self.path)
        self._info = info
        self._partial = _partial(self.path)
        shutil.rmtree(self._partial, ignore_errors=True)  # left by a process that was killed
        self._partial.mkdir(parents=True)
        self._tables: dict[tuple[What, str], _TableFiles] = {}
        self._rejects: list[dict[str, Any]] = []

    def __enter__(self) -> VectorWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for files in self._tables.values():
                files.close()
            if kind is None:
                self._finish()
        finally:
            shutil.rmtree(self._partial, ignore_errors=True)

    def write(self, what: What, split: str, table: pa.Table) -> None:
        """Adds rows of `info.schema(what)`; such as `stored_rows` makes."""
        self.begin(what, split)
        self._tables[what, split].add(table)

    def begin(self, what: What, split: str) -> None:
        """Makes a table of a split, which may stay empty."""
        if (what, split) not in self._tables:
            folder = self._partial / what
            folder.mkdir(exist_ok=True)
            self._tables[what, split] = _TableFiles(folder, split, self._info.schema(what), self._info.columns(what))

    def reject(self, rejects: Iterable[Reject]) -> None:
        """Adds to the list of what could not be embedded."""
        self._rejects += [asdict(reject) for reject in rejects]

    def carry_over(self, folder: VectorFolder, what: What) -> None:
        """Adds a table of another folder, which has the same columns, and what could not be embedded of it.

        Raises:
            VectorFolderError: a file of it is damaged.
        """
        for split in folder.info.counts[what]:
            self.begin(what, split)
            for batch in folder.batches(what, split=split):
                self.write(what, split, pa.Table.from_batches([batch]).cast(self._info.schema(what)))
        if what != "images":  # theirs are with the products'
            self.reject(folder.rejects(what))

    def _finish(self) -> None:
        counts: dict[str, dict[str, int]] = {}
        vectors: dict[str, dict[str, int]] = {}
        for (what, split), files in sorted(self._tables.items(), key=lambda table: TABLES.index(table[0][0])):
            counts.setdefault(what, {})[split] = files.rows
            totals = vectors.setdefault(what, dict.fromkeys(self._info.columns(what), 0))
            for view, number in files.vectors.items():
                totals[view] += number
        if self._rejects:
            pq.write_table(pa.Table.from_pylist(self._rejects, schema=REJECTS), self._partial / REJECTS_FILE)
        info = replace(self._info, counts=counts, vectors=vectors)
        (self._partial / "README.md").write_text(_card(info), encoding="utf-8")
        # Last, because a folder with it is taken for a whole one.
        write_text_atomic(self._partial / INFO, json.dumps({"format": FORMAT, **asdict(info)}, indent=1))
        replace_folder(self._partial, self.path)


def check_target(path: Path) -> None:
    """Refuses a place that holds something else than vectors.

    Raises:
        VectorFolderError: it does.
    """
    if path.is_file():
        raise VectorFolderError(f"{path}: is a file; choose a folder for the vectors")
    if path.is_dir() and any(path.iterdir()) and not (path / INFO).is_file():
        raise VectorFolderError(f"{path}: holds something else than vectors; choose another folder")


def put_in_place(path: Path) -> None:
    """Puts a whole folder at `path` whose writer was killed when it had moved the old one out of the way."""
    if not path.exists() and (_partial(path) / INFO).is_file():
        _partial(path).rename(path)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


class _TableFiles:
    """The files of one table and split: row groups of equal size, so many a file."""

    def __init__(self, folder: Path, split: str, schema: pa.Schema, views: Sequence[View]) -> None:
        self.rows = 0
        self.vectors: dict[View, int] = dict.fromkeys(views, 0)
        self._folder, self._split, self._schema = folder, split, schema
        lists = [kind for kind in schema.types if pa.types.is_fixed_size_list(kind)]
        row_bytes = 64 + sum(kind.list_size * kind.value_type.bit_width // 8 for kind in lists)
        self._group_rows = max(1, min(MAX_ROW_GROUP_ROWS, ROW_GROUP_BYTES // row_bytes))
        self._waiting: list[pa.Table] = []
        self._waiting_rows = self._groups = 0
        self._writer: pq.ParquetWriter | None = None

    def add(self, table: pa.Table) -> None:
        self.rows += len(table)
        for view in self.vectors:
            self.vectors[view] += len(table) - table[view].null_count
        self._waiting.append(table)
        self._waiting_rows += len(table)
        if self._waiting_rows >= self._group_rows:
            self._flush(self._waiting_rows // self._group_rows)

    def close(self) -> None:
        if self._waiting_rows or self._writer is None:
            self._flush(1)
        assert self._writer is not None
        self._writer.close()

    def _flush(self, groups: int) -> None:
        together = pa.concat_tables(self._waiting) if self._waiting else self._schema.empty_table()
        for number in range(groups):
            # One chunk, because Parquet's pages follow the chunks of what is written.
            self._write(together.slice(number * self._group_rows, self._group_rows).combine_chunks())
        rest = together.slice(groups * self._group_rows)
        self._waiting, self._waiting_rows = [rest] if len(rest) else [], len(rest)

    def _write(self, group: pa.Table) -> None:
        if self._writer is None or self._groups % ROW_GROUPS_A_FILE == 0:
            if self._writer is not None:
                self._writer.close()
            path = self._folder / f"{self._split}-{self._groups // ROW_GROUPS_A_FILE:05d}.parquet"
            # Numbers that look random grow by compression; statistics and dictionaries say nothing of them.
            words = [name for name in ("id", "split", "key") if name in self._schema.names]
            self._writer = pq.ParquetWriter(
                path,
                self._schema,
                compression={field.name: "zstd" if field.name in words else "none" for field in self._schema},
                use_dictionary=["split"],
                write_statistics=["id"],
            )
        self._writer.write_table(group, row_group_size=max(1, len(group)))
        self._groups += 1


def _card(info: VectorInfo) -> str:
    """README.md, whose header tells `datasets` of the tables."""
    configs = []
    for what, by_split in info.counts.items():
        files = [{"split": split, "path": f"{what}/{split}-*.parquet"} for split in SPLITS if by_split.get(split)]
        if files:
            configs.append({"config_name": what, "default": what == "products", "data_files": files})
    header = yaml.safe_dump({"configs": configs}, sort_keys=False).strip()
    rows = [
        f"| {what} | {split} | {number:,} |"
        for what, by_split in info.counts.items()
        for split, number in by_split.items()
    ]
    text = (
        f"Made by `moon2 embed` with `{Path(info.model).name}` from the catalog `{Path(info.data).name}`: vectors of "
        f"{info.dimension} numbers as {info.storage}, views {', '.join(info.views)} (t text, i images, mm all that a "
        f"row has). {INFO} says more."
    )
    return "\n".join(
        ["---", header, "---", "", "# Vectors", "", text, "", "| table | split | rows |", "|---|---|---|", *rows, ""]
    )
