"""Datasets whose item is a whole batch, importable by worker processes."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from moon2.catalog.store import CatalogError


@dataclass
class Numbers:
    """One batch of `size` triplets."""

    numbers: dict[str, list[Tensor]]
    size: int = 4


@dataclass
class SlowNumbers:
    """`length` batches of 400 bytes, each after some seconds; batch `bad` is an error, at `deadly` its process dies.

    With more `tensors` a batch has as many, of 400 bytes each.
    """

    length: int
    seconds: float = 0.0
    bad: int = -1
    deadly: int = -1
    tensors: int = 1

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> Numbers:
        time.sleep(self.seconds)
        if number == self.bad:
            raise CatalogError("not one triplet of a whole batch could be read; the lines above say why")
        if number == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return Numbers({"numbers": [torch.full((100,), number, dtype=torch.float32) for _ in range(self.tensors)]})
