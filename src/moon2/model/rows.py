"""Rows of a matrix by their numbers, with gradients that are added up in a fixed order."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor


def select_rows(matrix: Tensor, source: Tensor, copies: Tensor) -> Tensor:
    """[T, …], source [n] → [n, …]: like indexing, but the gradient of a row is the sum over k of its copies.

    PyTorch's own indexing adds gradients up by atomic operations: slow in bfloat16, and different from run to run.

    Args:
        matrix: its rows.
        source: [n] int64, which row each place takes.
        copies: [T · k] int64, the places of row 0's k copies, then row 1's, …; no gradient comes back from others.
    """
    return cast(Tensor, _SelectRows.apply(matrix, source, copies))  # type: ignore[no-untyped-call]  # torch has no types


class _SelectRows(torch.autograd.Function):
    @staticmethod
    def forward(matrix: Tensor, source: Tensor, copies: Tensor) -> Tensor:
        return matrix.index_select(0, source)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[2])
        ctx.rows = inputs[0].shape[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (copies,) = ctx.saved_tensors
        at_copies = gradient.index_select(0, copies)
        if len(copies) == ctx.rows:
            return at_copies, None, None
        return at_copies.unflatten(0, (ctx.rows, -1)).sum(dim=1), None, None
