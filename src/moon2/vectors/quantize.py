"""Vectors in fewer bytes: how each storage type holds a unit vector, and how it becomes float32 again.

| storage | a number | bytes of 1,024 | scheme |
|---|---|---|---|
| float32 | float32 | 4,096 | as it is |
| float16 | float16 | 2,048 | rounded |
| int8 | int8, −127 to 127 | 1,024 and a scale | x ≈ scale · q, with scale = max |x| / 127 of each vector |
| binary | a bit | 128 | 1 where x > 0; eight numbers a byte, the first in the highest bit; read as ±1/√D |

A scale for each vector, not for each dimension, because it needs no sample: a vector is stored the same whatever else
is in the table, and the cosine of two int8 vectors needs no scale. The bits are those of `numpy.packbits` and of
sentence-transformers' "ubinary".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

Storage = Literal["float32", "float16", "int8", "binary"]
STORAGES: tuple[Storage, ...] = get_args(Storage)


@dataclass(frozen=True)
class Stored:
    """Vectors as they are stored.

    Attributes:
        numbers: [n, D] float32, float16 or int8; or [n, ⌈D / 8⌉] uint8 of bits.
        scales: [n] float32 for int8, else None.
    """

    numbers: np.ndarray
    scales: np.ndarray | None = None


def quantize(matrix: np.ndarray, storage: Storage) -> Stored:
    """[n, D] float32 → as it is stored."""
    if storage == "int8":
        scales = (np.abs(matrix).max(axis=1) / 127).astype(np.float32)
        scales[scales == 0] = 1  # a vector of zeros stays one
        return Stored(np.rint(matrix / scales[:, None]).astype(np.int8), scales)
    if storage == "binary":
        return Stored(np.packbits(matrix > 0, axis=1))
    return Stored(matrix.astype(storage, copy=False))


def dequantize(stored: Stored, storage: Storage, dimension: int) -> np.ndarray:
    """As it is stored → [n, D] float32; of int8 and float16 nearly, of binary exactly of unit length."""
    if storage == "int8":
        assert stored.scales is not None
        return stored.numbers * stored.scales[:, None]
    if storage == "binary":
        bits = np.unpackbits(stored.numbers, axis=1, count=dimension)
        return (2 * bits.astype(np.float32) - 1) / np.float32(np.sqrt(dimension))
    return stored.numbers.astype(np.float32, copy=False)


def stored_width(dimension: int, storage: Storage) -> int:
    """How many numbers a stored vector has."""
    return -(-dimension // 8) if storage == "binary" else dimension
