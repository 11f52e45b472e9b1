"""The gradients of a batch of any size in bounded memory (GradCache; Gao et al., 2021, arXiv 2101.06983).

The loss of a batch needs all its vectors at once, but what takes memory are the activations behind them. So the network
runs twice over each chunk of items: first without gradients, for the vectors; then, when the loss has told how it
changes with each vector, again with gradients, and those are handed on to the weights. The result is exact: cached are
all quantities through which the loss depends on the network, the views' vectors, their gates and the routers' sums,
and the second run repeats the experts that the first one chose.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from moon2.model.moon_model import MoonModel, RouterSums, Views
from moon2.model.processor import Processor
from moon2.recipe import Recipe
from moon2.train.batches import ChunkLayout, TripletBatch
from moon2.train.processes import Processes
from moon2.train.step import StepResult, TripletLoss, needed_views, taught


def chunk_layout(model: MoonModel, processor: Processor, recipe: Recipe, processes: int) -> ChunkLayout:
    """How the items of a batch are laid out for `add_gradients`, in a run of so many processes."""
    views = needed_views(recipe)
    return ChunkLayout(
        processor,
        joint=model.joint_rows(views),
        text=model.text_rows(views),
        tokens=recipe.training.chunk_tokens,
        always_images=processes > 1,
    )


def add_gradients(
    model: MoonModel,
    batch: TripletBatch,
    loss: TripletLoss,
    recipe: Recipe,
    step: int,
    processes: Processes,
    precision: AbstractContextManager[object],
) -> StepResult:
    """Adds the gradients of a batch's loss to the weights.

    Args:
        model: on the device of the process.
        batch: on the host; its chunks move to the device one at a time.
        loss: of the views of the whole batch.
        recipe: of the run.
        step: how many optimizer steps were done.
        processes: that train together.
        precision: in which the network runs.

    Returns:
        The loss, without gradient: NaN where a vector has no length. Weights so large that norms overflow give such
        vectors, and a loss that stands still at an ordinary value.
    """
    views = needed_views(recipe)
    chunks = batch.chunks
    # All processes run the network equally often, since those that share weights wait for each other.
    rounds = processes.largest(len(chunks))
    chunks = [*chunks, *[chunks[-1]] * (rounds - len(chunks))]
    whole = rounds == 1

    # 1. The vectors. A single chunk keeps its activations, and needs no second run.
    parts: list[Views] = []
    for chunk in chunks:
        with precision, torch.set_grad_enabled(whole):
            parts.append(model(chunk.to(processes.device), views))
    cached = [_differentiable(part) for part in parts]
    leaves = [[tensor.detach().requires_grad_() for tensor in tensors] for tensors in cached]
    parts = [_with(part, tensors) for part, tensors in zip(parts, leaves, strict=True)]

    # 2. The loss, and how it changes with each of them.
    share = _joined(parts[: len(batch.chunks)])
    gathered = processes.gather(share, batch.counts, batch.order.to(processes.device, non_blocking=True))
    result = loss(
        gathered,
        batch.masks.to(processes.device),
        model.dual_alignment,
        recipe,
        step,
    )
    if batch.taught:
        result = taught(
            result, gathered, {view: part.to(processes.device) for view, part in batch.taught.items()}, recipe
        )
    result.loss.backward()
    has_length = (gathered.vectors["mm"].detach().norm(dim=-1) > 0.5) | ~gathered.has("mm")
    slopes = [[_slope(leaf) for leaf in tensors] for tensors in leaves]

    # 3. On to the weights.
    for number, chunk in enumerate(chunks):
        outputs = cached[number]
        if not whole:
            chosen = {layer: routing.chosen for layer, routing in parts[number].layers.items()}
            with precision:
                outputs = _differentiable(model(chunk.to(processes.device), views, chosen))
        # Gates of a network without experts, or vectors of a chunk without words, depend on no weight.
        pairs = [(out, slope) for out, slope in zip(outputs, slopes[number], strict=True) if out.requires_grad]
        if pairs:
            torch.autograd.backward([out for out, _ in pairs], [slope for _, slope in pairs])
    return StepResult(torch.where(has_length.all(), result.loss.detach(), torch.nan), result.log)


def _differentiable(views: Views) -> list[Tensor]:
    """Everything through which a loss depends on the network."""
    return [*views.vectors.values(), *views.routing.values(), views.router_sums.probability]


def _with(views: Views, tensors: Sequence[Tensor]) -> Views:
    """The same with other tensors in the places of those that `_differentiable` gives."""
    count = len(views.vectors)
    vectors, routing = tensors[:count], tensors[count:-1]
    return Views(
        views.has_text,
        views.has_images,
        dict(zip(views.vectors, vectors, strict=True)),
        dict(zip(views.routing, routing, strict=True)),
        RouterSums(views.router_sums.assigned, tensors[-1]),
        views.layers,
    )


def _joined(parts: Sequence[Views]) -> Views:
    """The views of all chunks as those of one batch."""
    if len(parts) == 1:
        return parts[0]
    return Views(
        torch.cat([part.has_text for part in parts]),
        torch.cat([part.has_images for part in parts]),
        {view: torch.cat([part.vectors[view] for part in parts]) for view in parts[0].vectors},
        {view: torch.cat([part.routing[view] for part in parts]) for view in parts[0].routing},
        RouterSums(
            torch.stack([part.router_sums.assigned for part in parts]).sum(dim=0),
            torch.stack([part.router_sums.probability for part in parts]).sum(dim=0),
        ),
        {},
    )


def _slope(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
