"""One training step as mathematics: views of a batch in, the loss and its parts out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from moon2.model.moon_model import VIEWS, MoonModel, Views
from moon2.objective.alignment import (
    INTRA_OBJECTIVES,
    inter_product,
    intra_product,
    known_positive_mask,
    same_product_mask,
)
from moon2.objective.balance import load_balance, objective_weights, sparsity
from moon2.objective.sample_filter import margin_at, reliability, sample_weights
from moon2.objective.total import total_loss
from moon2.recipe import OBJECTIVES, AlignmentSettings, Recipe
from moon2.train.batches import TripletBatch


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
        step: how many optimiser steps were done; decides m̄.
    """
    wanted = recipe.alignment.objectives
    views: Views = model(batch.items, needed_views(recipe.alignment))
    device, size = batch.items.has_text.device, batch.size
    candidates = views.vectors["mm"][size:]
    both = batch.items.has_text & batch.items.has_images
    complete = views.valid["mm"] if recipe.alignment.partial_queries else both
    valid = {"t→mm": batch.items.has_text[:size], "i→mm": batch.items.has_images[:size], "mm→mm": complete[:size]}
    valid = {name: mask for name, mask in valid.items() if name in wanted}
    queries = {view: views.vectors[view][:size] for view in (name.removesuffix("→mm") for name in valid)}
    own = torch.arange(size, device=device)
    excluded = known_positive_mask(batch.known_positive_ids, batch.product_ids).to(device)
    losses = inter_product(
        queries,
        candidates,
        own,
        excluded,
        recipe.alignment.temperature_inter,
        {name.removesuffix("→mm"): mask for name, mask in valid.items()},
    )
    paired = torch.where(both[size:])[0]
    within = [name for name in INTRA_OBJECTIVES if name in wanted]
    if len(paired) < 2 or not within:
        # One pair has nothing to be told apart from; without rows the objectives drop out of ω too.
        paired = paired[:0]
    else:
        rows = paired.tolist()
        same = same_product_mask([batch.product_ids[row] for row in rows])
        for texts in (batch.product_titles, batch.product_texts):
            same |= same_product_mask([texts[row].casefold() for row in rows])
        image, text = (views.vectors[view][size:][paired] for view in ("i", "t"))
        found = intra_product(image, text, same.to(device), recipe.alignment.temperature_intra)
        losses |= {name: found[name] for name in within}

    phi = _reliability(views.vectors["mm"][:size], candidates, batch, recipe, step)
    weights = sample_weights(phi, recipe.filter.threshold) if recipe.filter.enabled else torch.ones_like(phi)
    routing = _routing_by_objective(views, valid, paired, size)
    omega = objective_weights(model.dual_alignment, {name: routing[name] for name in losses})
    aux = [
        load_balance(probabilities, chosen)
        for record in views.passes
        for probabilities, chosen in zip(record.probabilities, record.chosen, strict=True)
    ]
    parts = total_loss(
        losses,
        omega,
        torch.stack(aux).mean() if aux else omega.new_zeros(()),
        sparsity(model.dual_alignment),
        recipe.alignment,
        sample_weights=weights,
        valid=valid,
    )
    log = {f"loss/{name}": parts.by_objective[name] for name in OBJECTIVES}
    log |= {f"weight/{name}": parts.weight_by_objective[name] for name in OBJECTIVES}
    log |= {"load_balance": parts.load_balance, "sparsity": parts.sparsity}
    # What the matrix itself says, before any guard: this is where the printed form can be seen to drift.
    log |= {f"omega/{name}": value for name, value in zip(OBJECTIVES, len(OBJECTIVES) * omega.detach(), strict=True)}
    log |= {"filter/phi": phi.mean(), "filter/share": (weights < 1).float().mean()}
    log |= _expert_load(views, recipe.experts.count)
    passes = [inputs for inputs in (batch.items.joint, batch.items.text) if inputs is not None]
    log["tokens"] = torch.stack([inputs.real.sum() for inputs in passes]).sum()
    return StepResult(parts.total, log)


def needed_views(settings: AlignmentSettings) -> tuple[str, ...]:
    """The views that the chosen objectives compare; mm always, since it is what is searched and filtered by."""
    forms = {form for name in settings.objectives for form in name.split("→")}
    return tuple(view for view in VIEWS if view in forms | {"mm"})


def _expert_load(views: Views, count: int) -> dict[str, Tensor]:
    """The share of tokens sent to each expert (1/Z each when even), and the largest share in any one layer."""
    layers = [chosen for record in views.passes for chosen in record.chosen]
    if not layers:
        return {}
    shares = torch.stack([torch.bincount(chosen.flatten(), minlength=count) / chosen.numel() for chosen in layers])
    load = {f"expert_load/{expert}": share for expert, share in enumerate(shares.mean(dim=0))}
    return load | {"expert_load/largest": shares.max()}


def _reliability(queries: Tensor, candidates: Tensor, batch: TripletBatch, recipe: Recipe, step: int) -> Tensor:
    """φ [B] of each triplet, by its vectors with everything it has; no gradient."""
    settings = recipe.filter
    margin = margin_at(step, recipe.training.steps, settings.margin_start, settings.margin_end)
    place = torch.tensor(batch.negative_of, device=queries.device)
    with torch.no_grad():
        positive = (queries * candidates[: batch.size]).sum(dim=-1)
        negative = (queries * candidates[place.clamp(min=0)]).sum(dim=-1)
        # Without a shown negative there is nothing to compare with, so nothing speaks against the purchase.
        negative = negative.masked_fill(place < 0, float("-inf"))
        return reliability(positive, negative, margin, settings.sharpness)


def _routing_by_objective(views: Views, valid: dict[str, Tensor], paired: Tensor, size: int) -> dict[str, Tensor]:
    """G̃ of each objective's samples, [B_m, Z]: the mean of both sides' routing, since both are aligned by it."""
    if not views.routing["mm"].shape[1]:
        uniform = views.vectors["mm"].new_ones(1, 1)
        return {name: uniform for name in OBJECTIVES}
    positives = views.routing["mm"][size : 2 * size]
    routing = {}
    for name, mask in valid.items():
        asked = views.routing[name.removesuffix("→mm")][:size]
        routing[name] = ((asked + positives) / 2)[mask]
    if not len(paired):
        return routing
    within = (views.routing["t"][size:][paired] + views.routing["i"][size:][paired]) / 2
    return routing | {name: within for name in INTRA_OBJECTIVES}
