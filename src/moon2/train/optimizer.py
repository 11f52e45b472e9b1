"""The recipe's optimizer: AdamW for float32 or bfloat16 weights, or Muon for the matrices with AdamW for the rest.

Muon (Jordan et al., 2024) replaces a matrix's momentum by the nearest orthogonal matrix, so that every direction moves
alike: a small model learns within minutes. PyTorch has it for single matrices; experts are stacks of matrices
[Z, rows, columns], so the update here works on the last two dimensions. Updates are scaled to AdamW's usual size (Liu
et al., 2025, arXiv 2502.16982), so one learning rate serves both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from moon2.recipe import RecipeError, TrainingSettings
from moon2.train.adamw_bf16 import AdamWBf16

MOMENTUM = 0.95
# The polynomial a·s + b·s³ + c·s⁵ drives every singular value s of (0, 1] close to 1 within five rounds; figures of
# Jordan et al., who tuned them for speed rather than exactness.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ROUNDS = 5
# A shorter memory of gradients' sizes than the usual 0.999: these runs are of hundreds of steps.
BETAS = (0.9, 0.99)


def make_optimizer(model: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """The optimizer that the recipe names, for all parameters that are trained.

    Norms, biases and W* do not decay: decay would draw W*'s preferences back to equal ones.

    Raises:
        RecipeError: Muon, and weights that are sharded over devices.
    """
    named = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    decayed = {name for name, weight in named.items() if weight.dim() > 1 and not name.endswith("dual_alignment")}
    make_groups = _muon_groups if settings.optimizer == "muon" else _adamw_groups
    # A checkpoint of an optimizer with two empty groups cannot be read.
    groups = [group for group in make_groups(named, decayed, settings.weight_decay) if group["params"]]
    if settings.optimizer == "muon":
        return MuonWithAdamW(groups, lr=settings.learning_rate, betas=BETAS)
    if settings.optimizer == "adamw_bf16":
        return AdamWBf16(groups, lr=settings.learning_rate, betas=BETAS, seed=settings.seed)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=BETAS, fused=True)


def learning_rate_at(step: int, settings: TrainingSettings) -> float:
    """The learning rate of a step counted from 0: a linear warm-up from 0, then a cosine to 0 after the last."""
    if step < settings.warmup_steps:
        return settings.learning_rate * step / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return settings.learning_rate * max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))


def orthogonalize(matrices: Tensor) -> Tensor:
    """Newton–Schulz iteration: [..., rows, columns] → the same shape with singular values near 1 (0.7 to 1.2)."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    result = matrices.mT if tall else matrices
    result = result / (result.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(ROUNDS):
        square = result @ result.mT
        result = a * result + (b * square + c * square @ square) @ result
    return result.mT if tall else result


class MuonWithAdamW(torch.optim.AdamW):
    """AdamW, but parameter groups with `muon` set take Muon's step with the same learning rate and decoupled decay.

    Raises:
        RecipeError: a parameter of theirs is sharded; found when the optimizer is made, or in a step if it was later.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], **defaults: Any) -> None:
        super().__init__(groups, **defaults)
        for group in self.param_groups:
            group.setdefault("muon", False)
            if group["muon"]:
                _require_whole(group["params"])

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One step of each group's own method."""
        groups = self.param_groups
        for group in groups:
            if group["muon"]:
                _require_whole(group["params"])
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._muon_step(parameter, parameter.grad, group["lr"], group["weight_decay"])
        # AdamW's own step then sees only its own groups.
        self.param_groups = [group for group in groups if not group["muon"]]
        try:
            return super().step(closure)
        finally:
            self.param_groups = groups

    def _muon_step(self, parameter: Tensor, gradient: Tensor, learning_rate: float, decay: float) -> None:
        state = self.state[parameter]
        if not state:
            # AdamW, when it loads a saved state, looks for a step count in every parameter's.
            state["step"] = torch.zeros(())
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        update = orthogonalize(gradient.lerp(momentum, MOMENTUM))
        size = 0.2 * max(parameter.shape[-2:]) ** 0.5
        parameter.mul_(1 - learning_rate * decay).add_(update, alpha=-learning_rate * size)


def _require_whole(parameters: Iterable[Tensor]) -> None:
    # The nearest orthogonal matrix is one of the whole matrix; of a shard it would be another.
    if any(isinstance(parameter, DTensor) for parameter in parameters):
        raise RecipeError(
            "training.optimizer is 'muon', which does not work with sharded weights; use adamw or adamw_bf16"
        )


def _muon_groups(named: dict[str, nn.Parameter], decayed: set[str], decay: float) -> list[dict[str, Any]]:
    """Hidden weight matrices for Muon; embeddings, routers, W*, norms and biases for AdamW."""
    # An embedding's rows, a router's and W* are looked up or compared one by one; orthogonalizing mixes them.
    apart = ("embed", "router", "dual_alignment")
    hidden = {name for name, weight in named.items() if weight.dim() in (2, 3) and not any(p in name for p in apart)}
    return [
        {"params": [named[name] for name in named if name in hidden], "weight_decay": decay, "muon": True},
        {"params": [named[name] for name in named if name in decayed - hidden], "weight_decay": decay},
        *_undecayed_groups({name: weight for name, weight in named.items() if name not in decayed | hidden}),
    ]


def _adamw_groups(named: dict[str, nn.Parameter], decayed: set[str], decay: float) -> list[dict[str, Any]]:
    return [
        {"params": [weight for name, weight in named.items() if name in decayed], "weight_decay": decay},
        *_undecayed_groups({name: weight for name, weight in named.items() if name not in decayed}),
    ]


def _undecayed_groups(named: dict[str, nn.Parameter]) -> list[dict[str, Any]]:
    """W* apart: every device holds it whole, and no optimizer takes it in one step with sharded weights."""
    whole = [weight for name, weight in named.items() if name == "dual_alignment"]
    return [
        {"params": [weight for name, weight in named.items() if name != "dual_alignment"], "weight_decay": 0.0},
        {"params": whole, "weight_decay": 0.0},
    ]
