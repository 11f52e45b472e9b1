"""The vectors of many items, filled as they come: in memory while they are few, in a temporary file when they are many.

Six such tables (three views of the gallery, three forms of the queries) at 636,241 × 256 are 3.9 GB. In a file, only
those that are being compared take memory; `release` gives it back. The file has no name and is gone with the process;
the environment variable TMPDIR says on what disk it is.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence

import numpy as np

LARGE = 32 * 2**20
"""Bytes from which a table is a file, and after which what was written to one is let go from memory."""
BLOCK = 16_384
"""Rows moved at a time."""


class VectorTable:
    """Rows of float32, by number.

    Args:
        items: how many there may be.
        dimension: of each.
    """

    def __init__(self, items: int, dimension: int) -> None:
        self._vectors = _allocated(items, dimension)
        self._there = np.zeros(items, dtype=bool)
        self._written = 0

    def put(self, numbers: Sequence[int], vectors: np.ndarray) -> None:
        """Sets the rows of these numbers; vectors of NaN, from items that could not be embedded, are passed over."""
        good = ~np.isnan(vectors).all(axis=1)
        rows = np.asarray(numbers, dtype=np.int64)[good]
        self._vectors[rows] = vectors[good]
        self._there[rows] = True
        self._written += vectors.nbytes
        if self._written > LARGE:
            release(self._vectors)
            self._written = 0

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """The numbers that were set, ascending, (n,) int64, and their vectors, (n, dimension) float32."""
        numbers = np.flatnonzero(self._there)
        if len(numbers) < len(self._there):
            for start in range(0, len(numbers), BLOCK):
                # Rows only ever move up, and all of a block are read before one of it is written.
                self._vectors[start : start + BLOCK][: len(numbers) - start] = self._vectors[
                    numbers[start : start + BLOCK]
                ]
        return numbers, self._vectors[: len(numbers)]


def release(*tables: np.ndarray) -> None:
    """Lets the system take back the memory of tables that are files; what is in them is read again when it is asked."""
    for table in tables:
        mapping = getattr(table, "_mmap", None)
        if mapping is not None and hasattr(mapping, "madvise"):
            mapping.madvise(mmap.MADV_DONTNEED)


def _allocated(items: int, dimension: int) -> np.ndarray:
    size = items * dimension * np.dtype(np.float32).itemsize
    if size < LARGE:
        return np.empty((items, dimension), np.float32)
    with tempfile.TemporaryFile(prefix="moon2-vectors-") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk is told now, not by a crash later
        # The mapping outlives the file's own handle.
        return np.memmap(file, np.float32, "r+", shape=(items, dimension))
