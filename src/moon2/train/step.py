"""One training step as mathematics: views of a batch in, the loss and its parts out; tensors only.

Shapes: B triplets, C products (positives, then negatives), N = B + C items, Z experts, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moon2.model.experts import LayerRouting
from moon2.model.moon_model import MoonModel, Views
from moon2.objective.alignment import inter_product, intra_product
from moon2.objective.balance import load_balance, objective_weights, sparsity
from moon2.objective.sample_filter import margin_at, reliability, sample_weights
from moon2.objective.total import total_loss
from moon2.recipe import AlignmentSettings, Recipe
from moon2.train.batches import TripletBatch
from moon2.views import INTER_OBJECTIVES, INTRA_OBJECTIVES, OBJECTIVES, VIEWS, Objective, View


@dataclass
class StepResult:
    """The loss, and what the log shows of the step (all detached scalars)."""

    loss: Tensor
    log: dict[str, Tensor]


def training_step(model: MoonModel, batch: TripletBatch, recipe: Recipe, step: int) -> StepResult:
    """L_total of one batch (arXiv 2511.12449), with everything in it that the log shows.

    Args:
        model: called once on queries, positives and negatives together.
        batch: on the model's device.
        recipe: temperatures, balance mode, filter.
        step: how many optimizer steps were done; decides m̄.
    """
    alignment, size = recipe.alignment, batch.size
    trained = alignment.shares
    views: Views = model(batch.items, needed_views(alignment))
    has_both = batch.items.has_text & batch.items.has_images
    candidates = views.vectors["mm"][size:]

    # Between products: each view of the query against the positive's mm.
    has: dict[View, Tensor] = {"t": batch.items.has_text, "i": batch.items.has_images, "mm": has_both}
    inter = [objective for objective in INTER_OBJECTIVES if objective in trained]
    valid = {objective: has[objective.query][:size] for objective in inter}
    losses = inter_product(
        {objective.query: views.vectors[objective.query][:size] for objective in inter},
        candidates,
        torch.arange(size, device=candidates.device),
        batch.known_positive,
        alignment.temperature_inter,
        {objective.query: mask for objective, mask in valid.items()},
    )

    # Within a product: its image against its text. One product alone has nothing to be told apart from.
    intra = [objective for objective in INTRA_OBJECTIVES if objective in trained]
    paired = torch.where(has_both[size:])[0]
    if intra and len(paired) > 1:
        image, text = (views.vectors[view][size:][paired] for view in ("i", "t"))
        same = batch.same_product[paired][:, paired]
        both_ways = intra_product(image, text, same, alignment.temperature_intra)
        losses |= {objective: both_ways[objective] for objective in intra}
    else:
        paired = paired[:0]

    # How much each triplet and each objective counts.
    phi = _phi(views.vectors["mm"][:size], candidates, batch, recipe, step)
    weights = sample_weights(phi, recipe.filter.threshold) if recipe.filter.enabled else torch.ones_like(phi)
    routing = _routing_by_objective(views, valid, paired, size)
    omega = objective_weights(model.dual_alignment, {objective: routing[objective] for objective in losses})
    layers = [layer for routing in views.passes for layer in routing.layers.values()]
    aux = [load_balance(layer.probabilities, layer.chosen) for layer in layers]
    parts = total_loss(
        losses,
        omega,
        torch.stack(aux).mean() if aux else omega.new_zeros(()),
        sparsity(model.dual_alignment),
        alignment,
        sample_weights=weights,
        valid=valid,
    )

    log = {f"loss/{objective}": parts.by_objective[objective] for objective in OBJECTIVES}
    log |= {f"weight/{objective}": parts.weight_by_objective[objective] for objective in OBJECTIVES}
    log |= {"load_balance": parts.load_balance, "sparsity": parts.sparsity}
    # What the matrix itself says, before any guard: this is where the printed form can be seen to drift.
    shares = len(OBJECTIVES) * omega.detach()
    log |= {f"omega/{objective}": share for objective, share in zip(OBJECTIVES, shares, strict=True)}
    log |= {"filter/phi": phi.mean(), "filter/share": (weights < 1).float().mean()}
    log |= _expert_load(layers, recipe.experts.count)
    log["tokens"] = count_tokens(batch)
    return StepResult(parts.total, log)


def needed_views(settings: AlignmentSettings) -> tuple[View, ...]:
    """The views that the trained objectives compare; mm always, since it is what is searched and filtered by."""
    compared = {view for objective in settings.shares for view in (objective.query, objective.product)}
    return tuple(view for view in VIEWS if view in compared | {"mm"})


def count_tokens(batch: TripletBatch) -> Tensor:
    """Tokens of a batch that are not padding, a scalar."""
    return torch.stack([inputs.attention_mask.sum() for inputs in batch.items.passes]).sum()


def _expert_load(layers: list[LayerRouting], count: int) -> dict[str, Tensor]:
    """The share of tokens sent to each expert (1/Z each when even), and the largest share in any one layer."""
    if not layers:
        return {}
    counts = [torch.bincount(layer.chosen.flatten(), minlength=count) / layer.chosen.numel() for layer in layers]
    shares = torch.stack(counts)
    load = {f"expert_load/{expert}": share for expert, share in enumerate(shares.mean(dim=0))}
    return load | {"expert_load/largest": shares.max()}


def _phi(queries: Tensor, candidates: Tensor, batch: TripletBatch, recipe: Recipe, step: int) -> Tensor:
    """φ [B] of each triplet, by its vectors with everything it has; no gradient."""
    settings = recipe.filter
    margin = margin_at(step, recipe.training.steps, settings.margin_start, settings.margin_end)
    with torch.no_grad():
        positive = (queries * candidates[: batch.size]).sum(dim=-1)
        negative = (queries * candidates[batch.negative.clamp(min=0)]).sum(dim=-1)
        # Without a shown negative there is nothing to compare with, so nothing speaks against the purchase.
        negative = negative.masked_fill(batch.negative < 0, float("-inf"))
        return reliability(positive, negative, margin, settings.sharpness)


def _routing_by_objective(
    views: Views, valid: dict[Objective, Tensor], paired: Tensor, size: int
) -> dict[Objective, Tensor]:
    """G̃ of each objective's samples, [B_m, Z]: the mean of both sides' routing, since both are aligned by it."""
    if not views.routing["mm"].shape[1]:
        return dict.fromkeys(OBJECTIVES, views.vectors["mm"].new_ones(1, 1))
    positives = views.routing["mm"][size : 2 * size]
    routing = {
        objective: ((views.routing[objective.query][:size] + positives) / 2)[mask] for objective, mask in valid.items()
    }
    if not len(paired):
        return routing
    within = (views.routing["t"][size:][paired] + views.routing["i"][size:][paired]) / 2
    return routing | dict.fromkeys(INTRA_OBJECTIVES, within)
