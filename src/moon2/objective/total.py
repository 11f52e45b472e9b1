"""The sum that is minimised, and its parts as they are logged.

    L_total = L_inter + L_intra + ρ · L_aux + ς · L_sparsity        (arXiv 2511.12449)

with L_inter and L_intra the objectives' losses times their learned weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from moon2.objective.balance import objective_shares
from moon2.objective.precision import at_least_float32
from moon2.recipe import AlignmentSettings
from moon2.views import OBJECTIVES, Objective


@dataclass(frozen=True, slots=True)
class LossParts:
    """The loss of a batch. Only `total` carries a gradient; the rest are detached scalars for the log."""

    total: Tensor
    """L_total."""
    by_objective: dict[Objective, Tensor]
    """L_m for each of `OBJECTIVES`, before weighing; NaN for one that has no valid sample: it was not measured."""
    weight_by_objective: dict[Objective, Tensor]
    """What L_m was multiplied by: M·ω_m, 1 on average under `guarded`; 0 for one that has no valid sample."""
    load_balance: Tensor
    """L_aux, before ρ."""
    sparsity: Tensor
    """L_sparsity, before ς."""


def total_loss(
    losses: Mapping[Objective, Tensor],
    omega: Tensor,
    load_balance: Tensor,
    sparsity: Tensor,
    settings: AlignmentSettings,
    *,
    sample_weights: Tensor | None = None,
    valid: Mapping[Objective, Tensor] | None = None,
) -> LossParts:
    """L_total = Σ_m M·ω_m · L_m + ρ · L_aux + ς · L_sparsity (arXiv 2511.12449; the factor M is ours).

    L_m = Σ_b w_b ℓ_{m,b} / Σ_b w_b over the valid samples of the objective. Dividing by Σ w, not by their number, makes
    the weights say which triplets to learn from and not how fast: early in training nearly every φ is below τ, and the
    inter-product objectives would all but vanish beside the intra-product ones, which have no weights.

    ω_m is taken M-fold so that the loss has the same scale however many objectives there are. An objective that has no
    valid sample in the batch drops out: its L_m and weight are 0, M counts the others, and under `guarded` the others
    share the whole weight among themselves. So one batch without images neither weakens the text objectives nor
    teaches W* to put weight on an objective that costs nothing. Under `fixed` the recipe's shares stand for ω.

    Args:
        losses: for each objective the batch has, [B_m] losses of its samples, from `inter_product`, `intra_product`.
        omega: ω [5] from `objective_weights`, in the order of `OBJECTIVES`.
        load_balance: L_aux, scalar.
        sparsity: L_sparsity, scalar.
        settings: the balance mode with its floor, ρ and ς.
        sample_weights: w [B] for the three inter-product objectives, from `moon2.objective.sample_filter`; all 1 when
            not given.
        valid: for an objective, [B_m] bool: which samples count; all of an objective not named.
    """
    omega = at_least_float32(omega)
    means, present = [], []
    for objective in OBJECTIVES:
        loss = at_least_float32(losses[objective]) if objective in losses else omega.new_zeros(0)
        counts = (valid or {}).get(objective, torch.ones_like(loss, dtype=torch.bool))
        weights = counts.to(loss)
        if sample_weights is not None and objective.is_inter and objective in losses:
            weights = weights * sample_weights.to(loss)
        # Not `weights * loss` alone: 0 · inf is NaN, and a row that does not count may hold anything.
        weighted = torch.where(counts, weights * loss, torch.zeros_like(loss))
        means.append(weighted.sum() / weights.sum().clamp_min(torch.finfo(loss.dtype).tiny))
        present.append(counts.any())
    mean, is_present = torch.stack(means), torch.stack(present)

    weight = is_present.sum() * objective_shares(omega, is_present, settings)
    total = (weight * mean).sum() + settings.load_balance_weight * load_balance + settings.sparsity_weight * sparsity
    return LossParts(
        total=total,
        by_objective=dict(zip(OBJECTIVES, mean.detach().masked_fill(~is_present, torch.nan), strict=True)),
        weight_by_objective=dict(zip(OBJECTIVES, weight.detach(), strict=True)),
        load_balance=load_balance.detach(),
        sparsity=sparsity.detach(),
    )
