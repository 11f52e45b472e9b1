"""The vectors of many items, filled as they come: in memory while they are few, in a temporary file when they are many.

Six such tables (three views of the products, three of the queries) at 636,241 × 256 are 3.9 GB. Of a file, only what is
being compared takes memory, and `release` gives that back. The file has no name and goes with the process; the
environment variable TMPDIR chooses its disk.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence

import numpy as np
import torch

from moon2.objective.matryoshka import shortened

LARGE = 32 * 2**20
"""Bytes from which a table is a file, and after which what was written to a file is released from memory."""
BLOCK = 16_384
"""Rows moved at a time."""


class VectorTable:
    """Rows of float32, set by number.

    Args:
        rows: how many there may be.
        dimension: of each.
    """

    def __init__(self, rows: int, dimension: int) -> None:
        self._matrix = _allocate(rows, dimension)
        self._is_set = np.zeros(rows, dtype=bool)
        self._written = 0

    def put(self, rows: Sequence[int], vectors: np.ndarray) -> None:
        """Sets these rows; vectors of NaN, from items that could not be embedded, are left out."""
        usable = ~np.isnan(vectors).all(axis=1)
        numbers = np.asarray(rows, dtype=np.int64)[usable]
        self._matrix[numbers] = vectors[usable]
        self._is_set[numbers] = True
        self._written += vectors.nbytes
        if self._written > LARGE:
            release(self._matrix)
            self._written = 0

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """The numbers that were set, ascending, [n] int64, and their vectors, [n, dimension] float32."""
        numbers = np.flatnonzero(self._is_set)
        if len(numbers) < len(self._is_set):
            for start in range(0, len(numbers), BLOCK):
                # Rows only ever move up, and all of a block are read before one of it is written.
                block = self._matrix[numbers[start : start + BLOCK]]
                self._matrix[start : start + len(block)] = block
        return numbers, self._matrix[: len(numbers)]


def shortened_rows(matrix: np.ndarray, dimension: int | None) -> np.ndarray:
    """Vectors cut to a length, at unit length again; the matrix itself where that is their own, or None.

    Args:
        matrix: [n, D] float32; may be a file.
        dimension: at most D, or D is taken.
    """
    if dimension is None or dimension >= matrix.shape[1]:
        return matrix
    result = _allocate(len(matrix), dimension)
    for start in range(0, len(matrix), BLOCK):
        block = slice(start, start + BLOCK)
        result[block] = shortened(torch.from_numpy(matrix[block]), dimension).numpy()
    release(matrix, result)
    return result


def release(*matrices: np.ndarray) -> None:
    """Lets the system take back the memory of matrices that are files; they are read again when needed."""
    for matrix in matrices:
        mapping = getattr(matrix, "_mmap", None)
        if mapping is not None and hasattr(mapping, "madvise"):
            mapping.madvise(mmap.MADV_DONTNEED)


def _allocate(rows: int, dimension: int) -> np.ndarray:
    size = rows * dimension * np.dtype(np.float32).itemsize
    if size < LARGE:
        return np.empty((rows, dimension), np.float32)
    with tempfile.TemporaryFile(prefix="moon2-vectors-") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk fails here, and not in a crash later
        # The mapping outlives the file's own handle.
        return np.memmap(file, np.float32, "r+", shape=(rows, dimension))
