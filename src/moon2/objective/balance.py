"""How much each alignment objective counts, learned through the experts; and the two losses that keep experts apart.

A token router does not know which objective it serves. The dual-alignment matrix W* [Z, M] holds each expert's
preference for each objective; the routing of an objective's samples turns it into that objective's weight ω_m.
Because ω_m multiplies the very loss that trains W*, descent moves weight to whichever objective is already easiest;
`guarded_weights` puts a floor under each, and the minimax modes turn the direction round, to whichever is hardest.

Equations are those of MOON2.0, arXiv 2511.12449, "Modality-driven Mixture-of-Experts".
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from moon2.objective.precision import at_least_float32
from moon2.recipe import AlignmentSettings
from moon2.views import OBJECTIVES, Objective


def expert_preference(matrix: Tensor) -> Tensor:
    """p_{z,m} = softmax over m of W*_{z,m} (arXiv 2511.12449): how expert z divides itself among the objectives.

    Args:
        matrix: W* [Z, M], any float dtype; −inf leaves an objective out.

    Returns:
        p [Z, M], float32 (float64 for float64), each row sums to 1.
    """
    return at_least_float32(matrix).softmax(dim=1)


def objective_weights(
    matrix: Tensor,
    routing: Mapping[Objective, Tensor],
    valid: Mapping[Objective, Tensor] | None = None,
    *,
    moves_routing: bool = True,
) -> Tensor:
    """ω_m = 1/|B_m| · Σ_{b∈B_m} Σ_z p_{z,m} · G̃_{z,b} (arXiv 2511.12449): the learned weight of each objective.

    An objective without samples in this batch (no query has an image, say) gets weight 0, and the experts' preferences
    are taken over the other objectives alone. Otherwise W* would learn to hide weight where it costs nothing.

    Args:
        matrix: W* [Z, 5]; columns in the order of `OBJECTIVES`.
        routing: for each objective, G̃ [B_m, Z] of its samples, each row summing to 1: the share of each expert in the
            sample's routing, averaged over tokens and layers. An objective may be missing or have no rows.
        valid: for an objective, [B_m] bool: which samples there are; all of an objective not named.
        moves_routing: whether ω has a gradient through G̃; otherwise W* alone learns from it.

    Returns:
        ω [5], float32 (float64 for a float64 matrix), each in (0, 1) where the objective has samples. They sum to 1
        when all objectives have the same mean routing, not in general.
    """
    weights = at_least_float32(matrix)
    counts, means = [], []
    for objective in OBJECTIVES:
        gates = at_least_float32(routing[objective]) if objective in routing else weights.new_zeros(0, weights.shape[0])
        counted = (valid or {}).get(objective, gates.new_ones(len(gates), dtype=torch.bool)).to(gates)
        counts.append(counted.sum())
        means.append(counted @ gates / counted.sum().clamp_min(1))
    absent = torch.stack(counts) == 0
    # With every objective absent nothing is preferred; the softmax over nothing would not be a number.
    preference = expert_preference(weights.masked_fill(absent & ~absent.all(), float("-inf")))
    mean = torch.stack(means)
    return (preference.T * (mean if moves_routing else mean.detach())).sum(dim=1).masked_fill(absent, 0.0)


def objective_shares(omega: Tensor, present: Tensor, settings: AlignmentSettings) -> Tensor:
    """How the loss is divided among the objectives, by the recipe's balance mode.

    Args:
        omega: ω [M] from `objective_weights`.
        present: [M] bool, the objectives that have samples.
        settings: `paper` takes ω as it is, `guarded` and the minimax modes put a floor under it, `fixed` takes the
            recipe's own shares.

    Returns:
        [M], 0 where an objective has no samples. The shares sum to 1 but for `paper`.
    """
    if settings.balance in ("guarded", "minimax", "minimax_routing"):
        shares = guarded_weights(omega, settings.floor_share, present)
        # Equal in value, with the gradient reversed: one descent on all weights is then a minimum over the network and
        # a maximum over the shares.
        return shares if settings.balance == "guarded" else 2 * shares.detach() - shares
    if settings.balance == "fixed":
        chosen = settings.shares
        # One by one: a list would be copied from the host, and the device waited for.
        shares = torch.stack([omega.new_full((), chosen.get(objective, 0.0)) for objective in OBJECTIVES]) * present
        return shares / shares.sum().clamp_min(torch.finfo(shares.dtype).tiny)
    return omega * present


def guarded_weights(omega: Tensor, floor_share: float, present: Tensor | None = None) -> Tensor:
    """ω'_m = floor/M + (1 − floor) · ω_m / Σ_m ω_m: sums to 1, and no objective falls below `floor_share` / M.

    Ours, not the paper's: dividing by the sum keeps all weights from shrinking together, the equal split mixed in keeps
    a hard objective from being given up.

    Args:
        omega: ω [M], each ≥ 0.
        floor_share: the floor as a share of an equal split, 0 (none) to 1 (equal weights).
        present: [M] bool, the objectives that have samples, all when not given; the others get 0 and M does not count
            them.

    Returns:
        ω' [M], float32 (float64 for float64).
    """
    omega = at_least_float32(omega)
    share = torch.ones_like(omega) if present is None else present.to(omega)
    omega = omega * share
    tiny = torch.finfo(omega.dtype).tiny
    return floor_share * share / share.sum().clamp_min(1) + (1 - floor_share) * omega / omega.sum().clamp_min(tiny)


def sparsity(matrix: Tensor) -> Tensor:
    """L_sparsity = 1/Z · Σ_z ( − Σ_m p_{z,m} log p_{z,m} ) (arXiv 2511.12449): an expert should serve few objectives.

    Args:
        matrix: W* [Z, M], finite.

    Returns:
        A scalar between 0 (each expert serves one objective) and log M (each serves all alike).
    """
    log_preference = at_least_float32(matrix).log_softmax(dim=1)
    return -(log_preference.exp() * log_preference).sum(dim=1).mean()


def load_balance(assigned: Tensor, probability: Tensor) -> Tensor:
    """L_aux = Z · Σ_z f_z · P_z, the usual loss over a layer's experts (Switch Transformer, arXiv 2101.03961, eq. 4).

    f_z is the share of the T·k assignments that went to expert z, P_z its mean probability. Gradients go through P_z
    alone. Mixtral's form divides f_z by T instead of T·k and so is k times this one. Both are sums over tokens until
    they are divided here, so those of parts of a batch may be added first.

    Args:
        assigned: [..., Z], how many assignments went to each expert.
        probability: [..., Z], the sum over the tokens of G, the softmax over the experts.

    Returns:
        [...]: 1 where tokens and probabilities are spread evenly, up to Z / k where the same k experts get everything;
        0 where there are no tokens.
    """
    assigned, probability = at_least_float32(assigned), at_least_float32(probability)
    share = assigned / assigned.sum(dim=-1, keepdim=True).clamp_min(1)
    mean = probability / probability.detach().sum(dim=-1, keepdim=True).clamp_min(torch.finfo(probability.dtype).tiny)
    return assigned.shape[-1] * (share * mean).sum(dim=-1)
