"""Attention over packed sequences: those of a batch stand one after another, with no padding between them.

Everything else in a transformer works on single tokens, so only attention has to know where a sequence begins. Here
sequences of like length are laid side by side in a few grids, and each grid is one call of PyTorch's fused attention.
A causal grid may be padded on the right, where padding changes nothing; any other holds sequences of equal length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

from moon2.model.rows import select_rows

# transformers hands the lengths of the packed images only to implementations with "flash" in their name.
PACKED_ATTENTION = "moon2_flash_packed"
# More grids waste less on padding, and cost more kernel launches.
CAUSAL_GRIDS = 4


@dataclass
class Packing:
    """Where the sequences of a batch stand among its T tokens.

    Attributes:
        grids: each [n, S] int64, the tokens of n sequences side by side; a shorter one repeats its last token. Causal
            ones are always as many, of at least two rows and cells, or compiled blocks would be compiled for each form.
        place: [T] int64, where each token stands in the flattened grids, one after another; None: in one grid, in
            order.
        bounds: [sequences + 1] int32, where each sequence begins, and T.
        longest: tokens of the longest sequence.
    """

    grids: list[Tensor]
    place: Tensor | None
    bounds: Tensor
    longest: int

    @classmethod
    def of(cls, lengths: Sequence[int], *, causal: bool) -> Packing:
        """The packing of sequences with these lengths, each at least 1, in this order."""
        length = np.asarray(lengths, dtype=np.int64)
        bounds = np.concatenate([[0], length.cumsum()])
        order = np.argsort(length, kind="stable")
        ascending = length[order]
        runs = np.split(order, _cuts(ascending) if causal else np.flatnonzero(np.diff(ascending)) + 1)
        grids, place, filled = [], np.empty(int(bounds[-1]), dtype=np.int64), 0
        in_order = len(runs) == 1 and bool((order == np.arange(len(order))).all()) and ascending[0] == ascending[-1]
        for run in runs:
            rows = run if in_order or not causal else np.resize(run, max(len(run), 2))
            step = np.arange(int(length[run].max()) if in_order or not causal else max(int(length[run].max()), 2))
            grid = bounds[rows][:, None] + np.minimum(step, length[rows][:, None] - 1)
            real = step < length[run][:, None]
            place[grid[: len(run)][real]] = filled + np.flatnonzero(real.ravel())
            filled += grid.size
            grids.append(torch.from_numpy(grid))
        if causal and not in_order:
            grids += [torch.zeros(2, 2, dtype=torch.int64) for _ in range(CAUSAL_GRIDS - len(grids))]
        return cls(
            grids,
            None if in_order else torch.from_numpy(place),
            torch.from_numpy(bounds.astype(np.int32)),
            int(length.max()),
        )

    def to(self, device: torch.device | str) -> Packing:
        """The same on another device."""
        return Packing(
            [grid.to(device, non_blocking=True) for grid in self.grids],
            None if self.place is None else self.place.to(device, non_blocking=True),
            self.bounds.to(device, non_blocking=True),
            self.longest,
        )


def _cuts(ascending: np.ndarray) -> list[int]:
    """Where to cut ascending lengths into at most `CAUSAL_GRIDS` runs, so that little padding is needed.

    Each cut is the best single one, in the run where it saves most.
    """
    cuts: list[int] = [0, len(ascending)]
    while len(cuts) <= CAUSAL_GRIDS:
        best, best_saving = 0, 0
        for start, end in pairwise(cuts):
            saved = np.arange(1, end - start) * (ascending[end - 1] - ascending[start : end - 1])
            if len(saved) and saved.max() > best_saving:
                best, best_saving = start + 1 + int(saved.argmax()), int(saved.max())
        if not best_saving:
            break
        cuts = sorted([*cuts, best])
    return cuts[1:-1]


class _FromGrid(torch.autograd.Function):
    """The cells of all grids → tokens [T, …]; repeated cells are left out and get no gradient."""

    @staticmethod
    def forward(cells: Tensor, place: Tensor) -> Tensor:
        """The cell of each token."""
        return cells.index_select(0, place)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Keeps where each token stands, and how many cells there are."""
        ctx.save_for_backward(inputs[1])
        ctx.cells = inputs[0].shape[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Zeros but for the tokens' own cells."""
        (place,) = ctx.saved_tensors
        zeros = gradient.new_zeros((ctx.cells, *gradient.shape[1:]))
        return zeros.index_copy(0, place, gradient), None


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    *,
    packing: Packing,
    window_packing: Packing | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: object,
) -> tuple[Tensor, None]:
    """Attention within each sequence: [1, heads, T, head_dim] each → [1, T, heads, head_dim].

    Causal where the module is; within `window_packing` where the module is `windowed`. Keys and values may have fewer
    heads than queries.
    """
    if window_packing is not None and getattr(module, "windowed", False):
        packing = window_packing
    tokens = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]  # [T, heads, head_dim]
    if not module.is_causal and query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        # One kernel for images of any size; with a grid for each size the tower would be compiled anew for each number.
        from torch.nn.attention.varlen import varlen_attn

        bounds, longest = packing.bounds, packing.longest
        queries, keys, values = (tensor.contiguous() for tensor in tokens)
        output = cast(Tensor, varlen_attn(queries, keys, values, bounds, bounds, longest, longest))
        return output.unsqueeze(0), None
    if packing.place is None:
        cells = tokens
    else:
        index = torch.cat([grid.flatten() for grid in packing.grids])
        cells = [select_rows(tensor, index, packing.place) for tensor in tokens]
    # Decided here: in compiled blocks of sharded weights the comparison alone is a symbol, which torch refuses.
    grouped: dict[str, Any] = {"enable_gqa": True} if query.shape[1] != key.shape[1] else {}
    outputs, start = [], 0
    for grid in packing.grids:
        rows, size = grid.shape
        end = start + rows * size
        q, k, v = (tensor[start:end].unflatten(0, (rows, size)).transpose(1, 2) for tensor in cells)
        output = functional.scaled_dot_product_attention(
            q,
            k,
            v,
            dropout_p=dropout,
            is_causal=bool(module.is_causal),
            scale=scaling,
            **grouped,
        )
        outputs.append(output.transpose(1, 2).flatten(0, 1))
        start = end
    flat = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    if packing.place is not None:
        flat = _FromGrid.apply(flat, packing.place)  # type: ignore[no-untyped-call]  # torch has no types
    return flat.unsqueeze(0), None


AttentionInterface.register(PACKED_ATTENTION, packed_attention)
