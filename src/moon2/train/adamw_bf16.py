"""AdamW for weights held in bfloat16: both moments in bfloat16 too, arithmetic in float32, stochastic rounding.

A bfloat16 number has 8 significant bits. Around 0.02 its neighbours are 1.2e-4 apart, so an update of 1e-5 rounds to
nothing, step after step. Stochastic rounding takes the neighbour above or below by chance, such that the expected value
is the unrounded one (Gupta et al., 2015, arXiv 1502.02551). The second moment needs it too. With β₂ = 0.99 it falls by
at most 1 % a step. Rounded to nearest, it comes to rest up to two thirds too high; with β₂ = 0.999 it never falls.

It takes 6 bytes a weight, 8 with the gradient; AdamW over float32 weights takes 16.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

# Weights that are held in float32 at a time, 20 bytes each: four numbers and the noise.
PORTION = 2**23
# 2^16 over the golden ratio.
GOLDEN = 40503


class AdamWBf16(torch.optim.Optimizer):
    """AdamW (Loshchilov & Hutter, 2019, arXiv 1711.05101) whose bfloat16 weights learn; any other weight as ever.

    The noise is a function of the seed and the number of the step, so a resumed run ends at the same weights, and
    copies of a model on several devices stay equal. A sharded weight (DTensor) is updated shard by shard. Nothing in a
    step waits for the device.

    Args:
        params: parameters or parameter groups.
        lr: learning rate.
        betas: decay of the first and of the second moment.
        eps: added to the root of the second moment.
        weight_decay: decoupled weight decay.
        seed: of the noise.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        seed: int = 0,
    ) -> None:
        # The count is the group's, as a plain number: each weight's own, on the device, could not seed the noise.
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "seed": seed, "step": 0}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One step of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for number, group in enumerate(self.param_groups):
            group["step"] += 1
            for (device, dtype), rows in self._rows(group).items():
                if dtype == torch.bfloat16:
                    generator = torch.Generator(device).manual_seed(_mix(group["seed"], number))
                    _step_in_portions(rows, group, generator)
                else:
                    _adamw(rows, group)
        return loss

    def _rows(self, group: dict[str, Any]) -> dict[tuple[torch.device, torch.dtype], list[list[Tensor]]]:
        """By device and dtype, of each parameter: weight, first moment, second moment, gradient; local and flat."""
        rows = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if not state:
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
            row = [_flat(tensor) for tensor in (parameter, state["exp_avg"], state["exp_avg_sq"])]
            rows[row[0].device, row[0].dtype].append([*row, _flat(parameter.grad.contiguous())])
        return rows


def round_stochastically(values: Tensor, noise: Tensor) -> Tensor:
    """float32 → bfloat16, up or down by chance, so that the expected value is the unrounded one.

    Args:
        values: [R, n] float32; overwritten. What is no number becomes infinite.
        noise: [n] int32, uniform over 0 to 2^16 − 1. It serves all numbers of a column: each is right by itself.

    Returns:
        [R, n] bfloat16, a view into `values`.
    """
    # The carry out of a NaN whose bits are all set would make it zero.
    values.nan_to_num_(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
    # A bfloat16 number is the upper half of a float32 one. The lower half, over 2^16, is how far the number is on its
    # way to the next one; the sum carries into the upper half with that probability. Bytes are little-endian.
    values.view(torch.int32).add_(noise)
    return values.view(torch.bfloat16)[..., 1::2]


def draw_noise(number: int, step: int, generator: torch.Generator) -> Tensor:
    """[n] int32, uniform over 0 to 2^16 − 1; a generator in the same state and another step give other noise.

    A start is drawn for each weight, and each step goes on by the golden ratio (Weyl's sequence). What one weight sees
    is so spread more evenly than by chance, and rounding adds less of a random walk than independent draws would
    (benchmarks/optimizer_rounding.py).
    """
    start = torch.empty(number, dtype=torch.int32, device=generator.device)
    start.random_(0, 2**16, generator=generator)
    return start.add_(step * GOLDEN % 2**16).bitwise_and_(2**16 - 1)


def _step_in_portions(rows: list[list[Tensor]], group: dict[str, Any], generator: torch.Generator) -> None:
    """AdamW's step of bfloat16 tensors through float32 copies of a bounded number of elements."""
    size = min(PORTION, sum(row[0].numel() for row in rows))
    copies = torch.empty(4, size, dtype=torch.float32, device=rows[0][0].device)
    for pieces in _portions(rows, size):
        lengths = [piece[0].numel() for piece in pieces]
        portion = copies[:, : sum(lengths)]
        columns = [list(column) for column in zip(*pieces, strict=True)]
        for copy, column in zip(portion, columns, strict=True):
            torch._foreach_copy_(list(copy.split(lengths)), column)
        _adamw([list(portion)], group)
        noise = draw_noise(sum(lengths), group["step"], generator)
        for rounded, column in zip(round_stochastically(portion[:3], noise), columns, strict=False):
            torch._foreach_copy_(column, list(rounded.split(lengths)))


def _portions(rows: list[list[Tensor]], size: int) -> Iterator[list[list[Tensor]]]:
    """The rows, cut and put together into portions of `size` elements; the last may be smaller."""
    portion, room = [], size
    for row in rows:
        start, end = 0, row[0].numel()
        while start < end:
            taken = min(room, end - start)
            portion.append([tensor.narrow(0, start, taken) for tensor in row])
            start, room = start + taken, room - taken
            if not room:
                yield portion
                portion, room = [], size
    if portion:
        yield portion


def _adamw(rows: list[list[Tensor]], group: dict[str, Any]) -> None:
    """PyTorch's own fused step, in place, of rows of weight, first moment, second moment and gradient."""
    weights, firsts, seconds, gradients = (list(column) for column in zip(*rows, strict=True))
    # Made on the device by a fill, which does not wait for it.
    step = torch.full((), group["step"], dtype=torch.float32, device=weights[0].device)
    torch._fused_adamw_(
        weights,
        gradients,
        firsts,
        seconds,
        [],
        [step] * len(weights),
        lr=group["lr"],
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        amsgrad=False,
        maximize=False,
    )


def _mix(seed: int, group: int) -> int:
    """One seed of two numbers; those next to each other would give related streams."""
    return int(np.random.SeedSequence((seed, group)).generate_state(1)[0])


def _flat(tensor: Tensor) -> Tensor:
    """The local part of a tensor as a vector that shares its memory."""
    return (tensor.to_local() if isinstance(tensor, DTensor) else tensor).view(-1)
