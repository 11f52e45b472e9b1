"""Muon for the weight matrices, AdamW for the rest: what a small model needs to learn within minutes.

Muon (Jordan et al., 2024) replaces a matrix's momentum by the nearest orthogonal matrix, so that every direction
moves alike. PyTorch has it for single matrices; experts are stacks of matrices [Z, rows, columns], so the update here
works on the last two dimensions. Updates are scaled to AdamW's usual size (Liu et al., 2025, arXiv 2502.16982), so
one learning rate serves both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer

from moon2.recipe import Recipe

MOMENTUM = 0.95
# The polynomial a·s + b·s³ + c·s⁵ drives every singular value s of (0, 1] close to 1 within five rounds; figures of
# Jordan et al., who tuned them for speed rather than exactness.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ROUNDS = 5


def orthogonalised(matrices: Tensor) -> Tensor:
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
    """AdamW, but parameter groups with `muon` set take Muon's step with the same learning rate and decoupled decay."""

    def __init__(self, groups: Iterable[dict[str, Any]], **defaults: Any) -> None:
        super().__init__(groups, **defaults)
        for group in self.param_groups:
            group.setdefault("muon", False)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One step of each group's own method."""
        groups = self.param_groups
        for group in groups:
            if group["muon"]:
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
        update = orthogonalised(gradient.lerp(momentum, MOMENTUM))
        size = 0.2 * max(parameter.shape[-2:]) ** 0.5
        parameter.mul_(1 - learning_rate * decay).add_(update, alpha=-learning_rate * size)


def parameter_groups(model: torch.nn.Module, decay: float, decayed: set[str]) -> list[dict[str, Any]]:
    """Hidden weight matrices for Muon; embeddings, routers, W*, norms and biases for AdamW.

    Args:
        model: the network.
        decay: weight decay of Muon's matrices and of the parameters named in `decayed`.
        decayed: names of the AdamW parameters that decay.
    """
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    # An embedding's rows, a router's and W* are looked up or compared one by one; orthogonalising mixes them.
    apart = ("embed", "router", "dual_alignment")
    matrices = [name for name, parameter in named if parameter.dim() in (2, 3) and not any(p in name for p in apart)]
    rest = [name for name, _ in named if name not in set(matrices)]
    by_name = dict(named)
    return [
        {"params": [by_name[name] for name in matrices], "weight_decay": decay, "muon": True},
        {"params": [by_name[name] for name in rest if name in decayed], "weight_decay": decay},
        {"params": [by_name[name] for name in rest if name not in decayed], "weight_decay": 0.0},
    ]


class RecipeOptimizer(Trainer):
    """A trainer, or a parent of one, that has a `recipe` and takes the recipe's optimiser."""

    recipe: Recipe

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW, or Muon with AdamW where the recipe says so."""
        settings = self.args
        if self.optimizer is None and self.recipe.training.optimizer == "muon":
            network: Any = self.model if model is None else model
            decayed = set(self.get_decay_parameter_names(network))
            groups = parameter_groups(network, settings.weight_decay, decayed)
            self.optimizer = MuonWithAdamW(groups, lr=settings.learning_rate, betas=(0.9, settings.adam_beta2))
        made: torch.optim.Optimizer = super().create_optimizer(model)
        return made

    def get_decay_parameter_names(self, model: Any) -> list[str]:
        """All matrices but W*: decay would draw its preferences back to equal ones."""
        names: list[str] = super().get_decay_parameter_names(model)
        return [name for name in names if not name.endswith("dual_alignment")]
