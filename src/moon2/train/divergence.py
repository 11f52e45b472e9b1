"""A run that diverges stops: a loss, a gradient or a weight that is no number never becomes one again.

Losses and gradients are looked at where a line of the log is written, since a GPU is waited for there anyway. All
processes see the same numbers, so all stop at the same step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from moon2.errors import UserError
from moon2.model.finite import first_not_finite
from moon2.train.processes import Processes


class DivergenceError(UserError):
    """Training diverged; the message says at which step, how it showed, and what to do.

    Attributes:
        last_good: the newest step whose weights are known to be good.
    """

    def __init__(self, step: int, sign: str, last_good: int) -> None:
        super().__init__(
            f"training diverged at step {step} ({sign}); lower training.learning_rate or raise training.warmup_steps, "
            f"and give another --out; what was saved before is kept"
        )
        self.last_good = last_good


def require_finite_steps(losses: Sequence[Tensor], norms: Sequence[Tensor], last: int) -> None:
    """Checks consecutive steps.

    Args:
        losses, norms: a scalar a step: the loss, and the norm of all gradients.
        last: the number of the last of them.

    Raises:
        DivergenceError: one of them is NaN or infinite.
    """
    values = torch.stack([torch.stack(list(losses)).float(), torch.stack(list(norms)).float()], dim=1).tolist()
    for step, (loss, norm) in enumerate(values, start=last - len(values) + 1):
        if not (math.isfinite(loss) and math.isfinite(norm)):
            # It was computed with the weights of the step before.
            raise DivergenceError(step, f"loss {loss:.3g}, gradient norm {norm:.3g}", last_good=step - 2)


def require_finite_weights(model: nn.Module, step: int, processes: Processes) -> None:
    """Checks the network before it is saved; all processes must call it.

    Raises:
        DivergenceError: a weight is NaN or infinite, in this process or in another.
    """
    name = first_not_finite(model.named_parameters())
    if processes.largest(int(name is not None)):
        raise DivergenceError(step, f"weight {name or 'of another process'} is not finite", last_good=step - 1)
