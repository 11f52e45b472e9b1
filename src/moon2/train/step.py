"""One training step as mathematics: views of a batch in, the loss and its parts out; tensors only.

Nothing here asks a tensor for a number, so a GPU is never waited for.

Shapes: B triplets, C products (positives, then negatives), N = B + C items, Z experts, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from moon2.model.moon_model import RouterSums, Views
from moon2.objective.alignment import inter_product, intra_product
from moon2.objective.balance import load_balance, objective_weights, sparsity
from moon2.objective.matryoshka import shortened
from moon2.objective.sample_filter import margin_at, reliability, sample_weights
from moon2.objective.teacher import teacher_loss
from moon2.objective.total import LossParts, total_loss
from moon2.recipe import AlignmentSettings, Recipe
from moon2.train.batches import TaughtView, TripletMasks
from moon2.views import INTER_OBJECTIVES, INTRA_OBJECTIVES, OBJECTIVES, VIEWS, Objective, View


@dataclass
class StepResult:
    """The loss, and what the log shows of the step (all detached scalars)."""

    loss: Tensor
    log: dict[str, Tensor]


TripletLoss: TypeAlias = Callable[[Views, TripletMasks, Tensor, Recipe, int], StepResult]
"""What `triplet_loss` is; a peer to compare with has its own."""


def triplet_loss(views: Views, masks: TripletMasks, dual_alignment: Tensor, recipe: Recipe, step: int) -> StepResult:
    """L_total of one batch (arXiv 2511.12449), with everything in it that the log shows.

    Args:
        views: of queries, positives and negatives, of the whole batch.
        masks: of the same batch, on the same device.
        dual_alignment: W* [Z, M].
        recipe: temperatures, balance mode, filter, and at which lengths of the vectors: the loss is the mean over them
            (Matryoshka, arXiv 2205.13147).
        step: how many optimizer steps were done; decides m̄.
    """
    alignment, size = recipe.alignment, masks.size
    trained = alignment.shares
    candidates = views.vectors["mm"][size:]
    # What could not be read has no vector: it is neither a positive nor a negative of anything.
    readable = views.has("mm")
    unusable = masks.known_positive | ~readable[size:]
    is_triplet = readable[:size] & readable[size : 2 * size]
    has_both = views.has_text & views.has_images

    # Between products: each view of the query against the positive's mm.
    has: dict[View, Tensor] = {"t": views.has_text, "i": views.has_images, "mm": has_both}
    inter = [objective for objective in INTER_OBJECTIVES if objective in trained]
    valid = {objective: has[objective.query][:size] & is_triplet for objective in inter}

    # Within a product: its image against its text. One product alone has nothing to be told apart from.
    paired = has_both[size:] & (has_both[size:].sum() > 1)
    unpaired = masks.same_product | ~(paired[:, None] & paired)
    valid |= {objective: paired for objective in INTRA_OBJECTIVES if objective in trained}

    # How much each triplet and each objective counts.
    phi = _phi(views.vectors["mm"][:size], candidates, readable[size:], masks, recipe, step)
    weights = sample_weights(phi, recipe.filter.threshold) if recipe.filter.enabled else torch.ones_like(phi)
    routing = _routing_by_objective(views, valid.keys(), size, experts=len(dual_alignment))
    omega = objective_weights(dual_alignment, routing, valid, moves_routing=alignment.balance != "minimax")

    # The losses of the vectors cut to each length; all else is decided once, by the whole vectors.
    weigh = partial(
        total_loss,
        omega=omega,
        load_balance=_load_balance(views.router_sums),
        sparsity=sparsity(dual_alignment),
        settings=alignment,
        sample_weights=weights,
        valid=valid,
    )
    width = candidates.shape[1]
    by_length: dict[int, LossParts] = {}
    for length in recipe.training.trained_lengths(width):
        vectors = {view: shortened(whole, length) for view, whole in views.vectors.items()}
        by_length[length] = weigh(_losses(vectors, valid, size, unusable, unpaired, alignment))
    parts = by_length[width]
    total = torch.stack([each.total for each in by_length.values()]).mean()

    log = {f"loss/{objective}": parts.by_objective[objective] for objective in OBJECTIVES}
    log |= {f"weight/{objective}": parts.weight_by_objective[objective] for objective in OBJECTIVES}
    log |= {"load_balance": parts.load_balance, "sparsity": parts.sparsity}
    # What the matrix itself says, before any guard: this is where the printed form can be seen to drift.
    shares = len(OBJECTIVES) * omega.detach()
    log |= {f"omega/{objective}": share for objective, share in zip(OBJECTIVES, shares, strict=True)}
    triplets = is_triplet.sum().clamp(min=1)
    log |= {"filter/phi": (phi * is_triplet).sum() / triplets}
    log |= {"filter/share": ((weights < 1) & is_triplet).sum() / triplets}
    log |= _expert_load(views.router_sums)
    if len(by_length) > 1:
        log |= {f"loss@{length}": each.total.detach() for length, each in by_length.items()}
    return StepResult(total, log)


def taught(result: StepResult, views: Views, teacher: Mapping[View, TaughtView], recipe: Recipe) -> StepResult:
    """A step with λ · L_T added, the loss of what a teacher makes of the batch (ours).

        L_T = Σ_u Σ_{v ∈ {u, mm}} KL( softmax(s_teacher / 0.05) ‖ softmax(s_{u→v} / 0.07) )

    u are the views that a teacher has, t or i or both. At several lengths of the vectors it is the mean, as L_total is.

    Args:
        result: of the batch without a teacher.
        views: of queries, positives and negatives, of the whole batch.
        teacher: of the same items, on the same device, by u.
        recipe: λ, and the lengths of the vectors.
    """
    losses = []
    for length in recipe.training.trained_lengths(views.vectors["mm"].shape[1]):
        vectors = {view: shortened(whole, length) for view, whole in views.vectors.items()}
        for u, part in teacher.items():
            counts = part.counts & views.has(u)
            losses.append(teacher_loss(vectors[u], vectors[u], part.own, part.own, counts))
            losses.append(teacher_loss(vectors[u], vectors["mm"], part.own, part.joint, counts))
    total = 2 * len(teacher) * torch.stack(losses).mean()
    return StepResult(result.loss + recipe.training.teacher_weight * total, result.log | {"teacher": total.detach()})


def needed_views(recipe: Recipe) -> tuple[View, ...]:
    """The views that are compared: by the trained objectives, mm always, since it is what is searched and filtered by.

    A teacher may have any.
    """
    if recipe.training.teacher:
        return VIEWS
    settings = recipe.alignment
    compared = {view for objective in settings.shares for view in (objective.query, objective.product)}
    return tuple(view for view in VIEWS if view in compared | {"mm"})


def _losses(
    vectors: Mapping[View, Tensor],
    valid: Mapping[Objective, Tensor],
    size: int,
    unusable: Tensor,
    unpaired: Tensor,
    alignment: AlignmentSettings,
) -> dict[Objective, Tensor]:
    """The losses of the objectives in `valid`, of each triplet or product."""
    inter = {objective.query: mask for objective, mask in valid.items() if objective.is_inter}
    losses = inter_product(
        {view: vectors[view][:size] for view in inter},
        vectors["mm"][size:],
        torch.arange(size, device=unusable.device),
        unusable,
        alignment.temperature_inter,
        inter,
    )
    intra = [objective for objective in valid if not objective.is_inter]
    if intra:
        image, text = vectors["i"][size:], vectors["t"][size:]
        both_ways = intra_product(image, text, unpaired, alignment.temperature_intra)
        losses |= {objective: both_ways[objective] for objective in intra}
    return losses


def _load_balance(sums: RouterSums) -> Tensor:
    """L_aux, the mean over the layers, and over the kinds of rows that the batch has."""
    if not sums.assigned.shape[1]:
        return sums.assigned.new_zeros(())
    by_layer = load_balance(sums.assigned, sums.probability)  # [2, L]
    present = sums.assigned.sum(dim=-1) > 0
    return by_layer.sum() / present.sum().clamp(min=1)


def _expert_load(sums: RouterSums) -> dict[str, Tensor]:
    """The share of tokens sent to each expert (1/Z each when even), and the largest share in any one layer."""
    if not sums.assigned.shape[1]:
        return {}
    totals = sums.assigned.sum(dim=-1, keepdim=True)
    shares = (sums.assigned / totals).flatten(0, 1)  # NaN for a kind of rows that the batch lacks
    load = {f"expert_load/{expert}": share for expert, share in enumerate(shares.nanmean(dim=0))}
    return load | {"expert_load/largest": shares.nan_to_num(0.0).max()}


def _phi(
    queries: Tensor, candidates: Tensor, readable: Tensor, masks: TripletMasks, recipe: Recipe, step: int
) -> Tensor:
    """φ [B] of each triplet, by its vectors with everything it has; no gradient."""
    settings = recipe.filter
    margin = margin_at(step, recipe.training.steps, settings.margin_start, settings.margin_end)
    with torch.no_grad():
        own = masks.negative.clamp(min=0)
        positive = (queries * candidates[: masks.size]).sum(dim=-1)
        negative = (queries * candidates.index_select(0, own)).sum(dim=-1)
        # Without a shown negative there is nothing to compare with, so nothing speaks against the purchase.
        absent = (masks.negative < 0) | ~readable.index_select(0, own)
        return reliability(positive, negative.masked_fill(absent, float("-inf")), margin, settings.sharpness)


def _routing_by_objective(
    views: Views, trained: Collection[Objective], size: int, experts: int
) -> dict[Objective, Tensor]:
    """G̃ of each objective's samples, [B_m, Z]: the mean of both sides' routing, since both are aligned by it."""
    gates = views.routing
    if not gates["mm"].shape[1]:
        # Without experts all rows of W* speak alike; mostly it has one.
        even = views.vectors["mm"].new_full((len(gates["mm"]), experts), 1 / experts)
        gates = dict.fromkeys(gates, even)
    positives = gates["mm"][size : 2 * size]
    routing = {o: (gates[o.query][:size] + positives) / 2 for o in trained if o.is_inter}
    return routing | {o: (gates["t"][size:] + gates["i"][size:]) / 2 for o in trained if not o.is_inter}
