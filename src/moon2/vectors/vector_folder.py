"""A folder of vectors on disk: Parquet that `datasets`, DuckDB and LanceDB read too, with what made it beside it.

    VECTORS/vectors.json                 dimension, storage, views, counts; which model and catalog (`VectorInfo`)
    VECTORS/products/train-00000.parquet id, split, key, and a list of fixed size for each view; null where it lacks
    VECTORS/queries/…                    the same
    VECTORS/images/…                     only where each image has a vector: id, split, key, image, i
    VECTORS/rejects.parquet              what could not be embedded, and why
    VECTORS/README.md                    its header lets `datasets.load_dataset(VECTORS, "products")` open it

Rows stand in the catalog's order. With int8, a column such as `t_scale` stands beside `t` (see `quantize.py`).
`vector_writer.py` writes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from moon2.catalog.schema import SPLITS, Reject
from moon2.errors import UserError, one_line
from moon2.vectors.quantize import Storage, Stored, dequantize, stored_width
from moon2.views import View

What = Literal["products", "queries", "images"]
TABLES: tuple[What, ...] = ("products", "queries", "images")
INFO = "vectors.json"
REJECTS_FILE = "rejects.parquet"
FORMAT = 1

_COMMON = {
    "identity": "model",
    "prompt": "prompt",
    "inputs": "fields",
    "dimension": "dimension",
    "storage": "storage",
    "views": "views",
    "fingerprint": "state of the catalog",
}
"""What vectors.json says once for all tables, and how messages call it."""

_NUMBERS: dict[Storage, pa.DataType] = {
    "float32": pa.float32(),
    "float16": pa.float16(),
    "int8": pa.int8(),
    "binary": pa.uint8(),
}


class VectorFolderError(UserError):
    """A folder of vectors cannot be read or written; one line."""


@dataclass(frozen=True)
class VectorInfo:
    """What vectors.json says.

    Attributes:
        dimension: D, numbers of a vector.
        storage: how they are stored, see `quantize.py`.
        views: that were asked for.
        model: the encoder's folder (absolute) or hub id.
        identity: of the encoder, which changes with its weights and settings.
        prompt: put before every query's text; "" for none.
        data: the catalog's folder, absolute.
        fingerprint: of the catalog.
        inputs: what of a record was read: whatever else decides the vectors.
        counts: table → split → rows.
        vectors: table → view → rows that have it.
    """

    dimension: int
    storage: Storage
    views: tuple[View, ...]
    model: str
    identity: str
    data: str
    fingerprint: str
    prompt: str = ""
    inputs: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    vectors: dict[str, dict[str, int]] = field(default_factory=dict)

    def differences(self, other: VectorInfo) -> list[str]:
        """Names of what keeps a table of the one from standing in the folder of the other; none where it may."""
        return [word for name, word in _COMMON.items() if getattr(self, name) != getattr(other, name)]

    def columns(self, what: What) -> tuple[View, ...]:
        """The views that a table has a column for."""
        return ("i",) if what == "images" else self.views

    def schema(self, what: What) -> pa.Schema:
        """The Arrow columns of a table, with the feature types of `datasets` in their metadata."""
        width = stored_width(self.dimension, self.storage)
        fields = [("id", pa.string()), ("split", pa.string()), ("key", pa.string())]
        if what == "images":
            fields.append(("image", pa.int32()))
        for view in self.columns(what):
            fields.append((view, pa.list_(_NUMBERS[self.storage], width)))
            if self.storage == "int8":
                fields.append((f"{view}_scale", pa.float32()))
        features = {name: _feature(kind) for name, kind in fields}
        return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})


class VectorFolder:
    """A finished folder of vectors, opened read-only.

    Attributes:
        path: the folder.
        info: what vectors.json says.
    """

    def __init__(self, path: Path, info: VectorInfo) -> None:
        self.path = path
        self.info = info

    @classmethod
    def open(cls, path: str | Path) -> VectorFolder:
        """Opens it.

        Raises:
            VectorFolderError: there is none, it is not finished, or vectors.json is damaged.
        """
        folder = Path(path)
        try:
            written = json.loads((folder / INFO).read_text(encoding="utf-8"))
            if written.pop("format") == FORMAT:
                return cls(folder, VectorInfo(**{**written, "views": tuple(written["views"])}))
        except (FileNotFoundError, NotADirectoryError):
            raise VectorFolderError(f"{path}: holds no vectors (no {INFO}); make them with `moon2 embed`") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise VectorFolderError(
                f"{folder / INFO}: is damaged ({one_line(error)}); run `moon2 embed` again"
            ) from None
        raise VectorFolderError(f"{path}: was written by another moon2; run `moon2 embed` again")

    def __str__(self) -> str:
        counts = ", ".join(f"{self.count(what):,} {what}" for what in TABLES if what in self.info.counts)
        return f"{self.path}: {counts}, {self.info.dimension} numbers as {self.info.storage}"

    def count(self, what: What, split: str | None = None) -> int:
        """Rows of a table, of one split or of all; 0 where it was not embedded."""
        by_split = self.info.counts.get(what, {})
        return sum(by_split.values()) if split is None else by_split.get(split, 0)

    def files(self, what: What, split: str | None = None) -> list[Path]:
        """The Parquet files of a table in the catalog's order."""
        splits = SPLITS if split is None else (split,)
        return [path for part in splits for path in sorted((self.path / what).glob(f"{part}-*.parquet"))]

    def batches(
        self, what: What, columns: Sequence[str] | None = None, *, split: str | None = None, rows: int = 8192
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a table as they are stored, in the catalog's order, never more than a row group in memory.

        Args:
            what: the table.
            columns: which; all when not given.
            split: of which split; of all when not given.
            rows: at most so many in a batch.

        Raises:
            VectorFolderError: a file is damaged.
        """
        for path in self.files(what, split):
            try:
                with pq.ParquetFile(path, memory_map=True, pre_buffer=False) as file:
                    yield from file.iter_batches(rows, columns=columns and list(columns), use_threads=False)
            except (OSError, pa.ArrowException) as error:
                raise VectorFolderError(f"{path}: is damaged ({one_line(error)}); run `moon2 embed` again") from None

    def decode(self, batch: pa.RecordBatch, view: View) -> tuple[np.ndarray, np.ndarray]:
        """The vectors of one view in a batch that has its columns.

        Returns:
            [n] int64, the rows of the batch that have the view; and [n, D] float32.
        """
        column = batch.column(view)
        rows = np.flatnonzero(np.asarray(column.is_valid()))
        numbers = column.flatten().to_numpy(zero_copy_only=False).reshape(len(rows), column.type.list_size)
        scales = None
        if self.info.storage == "int8":
            scales = batch.column(f"{view}_scale").to_numpy(zero_copy_only=False)[rows].astype(np.float32)
        return rows, dequantize(Stored(numbers, scales), self.info.storage, self.info.dimension)

    def columns_of(self, view: View) -> list[str]:
        """The columns that `decode` needs."""
        return [view, f"{view}_scale"] if self.info.storage == "int8" else [view]

    def matrix(self, what: What, view: View, *, split: str | None = None) -> tuple[list[str], np.ndarray]:
        """One view of a table in memory: the ids that have it, and [n, D] float32.

        Raises:
            VectorFolderError: the view was not embedded, or a file is damaged.
        """
        if what not in self.info.counts or view not in self.info.columns(what):
            raise VectorFolderError(
                f"{self.path}: has no view {view!r} of {what}; embed it: `moon2 embed` has --views and --what"
            )
        ids: list[str] = []
        parts = [np.zeros((0, self.info.dimension), np.float32)]
        for batch in self.batches(what, ["id", *self.columns_of(view)], split=split):
            rows, part = self.decode(batch, view)
            ids += batch.column("id").take(pa.array(rows)).to_pylist()
            parts.append(part)
        return ids, np.concatenate(parts)

    def rejects(self, table: Literal["products", "queries"] | None = None) -> list[Reject]:
        """What could not be embedded, of one table or of both, in the catalog's order."""
        path = self.path / REJECTS_FILE
        rejects = [Reject(**row) for row in pq.read_table(path).to_pylist()] if path.exists() else []
        # The file has no column for the table, and ids may be equal in both; but every message begins with the kind.
        kind = {None: "", "products": "product ", "queries": "query "}[table]
        return [reject for reject in rejects if reject.message.startswith(kind)]


def _feature(kind: pa.DataType) -> dict[str, Any]:
    """The `datasets` description of a column."""
    if pa.types.is_fixed_size_list(kind):
        return {"feature": _feature(kind.value_type), "length": kind.list_size, "_type": "List"}
    names = {pa.float16(): "float16", pa.float32(): "float32"}
    return {"dtype": names.get(kind, str(kind)), "_type": "Value"}
