"""Whether weights are numbers. A network with one NaN gives NaN for everything, without an error."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor


def first_not_finite(weights: Iterable[tuple[str, Tensor]]) -> str | None:
    """The name of the first weight that holds NaN or infinity; None where all are numbers.

    It reads each weight once, at the speed of memory, and a GPU is waited for once. Of sharded weights it sees the part
    that this process holds.
    """
    names, extremes = [], []
    for name, weight in weights:
        values = weight.detach()
        local = values.to_local() if isinstance(values, DTensor) else values
        if local.is_floating_point() and local.numel():
            names.append(name)
            extremes.append(torch.stack(torch.aminmax(local)).float())  # NaN where any number is NaN
    if not extremes:
        return None
    finite = torch.stack(extremes).isfinite().all(dim=1).tolist()
    return next((name for name, is_finite in zip(names, finite, strict=True) if not is_finite), None)
