"""One item through the network as `Encoder.encode` sends it, with a record of what happens inside.

Fused attention kernels give no probabilities, so this pass attends eagerly in the decoder. The vector is the same up
to rounding. The pass runs on a copy of the network that shares its weights: neither the eager attention nor the hooks
are seen by other threads that use the encoder.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AttentionInterface

from moon2.errors import UserError
from moon2.explain.gradient import input_contributions
from moon2.explain.rollout import Numbers
from moon2.model.encoder import Encoder, Vectors
from moon2.model.families import Grid, decoder_of
from moon2.model.items import Item
from moon2.model.moon_model import DecoderInput, MoonModel

Mask = NDArray[np.bool_]
RECORDED_ATTENTION = "moon2_recorded"


class ExplainError(UserError):
    """An item cannot be explained; the message says why, and what to do."""


@dataclass
class Trace:
    """What one pass over one item of S tokens showed.

    Attributes:
        vector: [D] float32 of unit length, the item's mm.
        pooling_mask: [S] bool, pooled tokens.
        image_mask: [S] bool, image tokens.
        weights: [S] of at least 0, how much each token counts in the vector, up to a factor.
        grids: the size of each image in patches.
        attentions: per layer [S, S], mean over heads.
        gates: by the number of each layer with experts [S, Z], the weights G̃ of the experts.
        contributions: [S], gradient × input of the cosine to the target; None without a target.
    """

    vector: Vectors
    pooling_mask: Mask
    image_mask: Mask
    weights: Numbers
    grids: list[Grid]
    attentions: list[Numbers]
    gates: dict[int, Numbers]
    contributions: Numbers | None


def trace(encoder: Encoder, item: Item, target: Vectors | None = None) -> Trace:
    """Sends one item through, in the joint pass when it has images.

    Args:
        encoder: it does not change.
        item: from `Processor.item`.
        target: [D] of unit length; contributions are to the cosine with it.

    Raises:
        ExplainError: the network is a peer's.
    """
    if type(encoder.model) is not MoonModel:
        kind = type(encoder.model).__name__
        raise ExplainError(f"cannot explain a {kind}; a heatmap shows the one joint pass of moon2's own network")
    batch = encoder.item_batch([item], {"mm"})
    model = copy_sharing_weights(encoder.model)
    decoder = decoder_of(model.backbone, model.family)
    decoder.config._attn_implementation = RECORDED_ATTENTION
    attentions: list[Numbers] = []

    def record_attention(_: nn.Module, __: object, output: tuple[Tensor, Tensor]) -> None:
        attentions.append(_numbers(output[1][0].float().mean(dim=0)))

    for layer in decoder.layers:
        attention: nn.Module = layer.get_submodule("self_attn")
        attention.register_forward_hook(record_attention)
    entering = model.embed(batch)
    inputs = [entering.embeddings]
    if batch.images is not None:
        # An image that the item has twice was read once; here each place has features, and so a gradient, of its own.
        sources = batch.images.sources
        inputs += [features.index_select(0, sources) for features in entering.deepstack]
        batch = replace(batch, images=replace(batch.images, sources=torch.arange(len(sources), device=sources.device)))
    # Gradients reach what enters the decoder, and go no further.
    leaves = [tensor.detach().requires_grad_(target is not None) for tensor in inputs]
    with torch.set_grad_enabled(target is not None):
        states, layers = model.decode(DecoderInput(leaves[0], leaves[1:]), batch)
        vector = model.pool(states, layers, batch, {"mm"}).vectors["mm"][0]
    contributions = None
    if target is not None:
        similarity = vector @ torch.as_tensor(target, device=encoder.device)
        contributions = _numbers(input_contributions(similarity, leaves, batch))
    return Trace(
        vector=vector.detach().cpu().numpy(),
        pooling_mask=batch.is_pooled.cpu().numpy(),
        image_mask=batch.is_image.cpu().numpy(),
        weights=_numbers(model.token_weights(batch)),
        grids=batch.grids[0],
        attentions=attentions,
        gates={number: _numbers(layer.gates) for number, layer in layers.items()},
        contributions=contributions,
    )


def recorded_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    **_: object,
) -> tuple[Tensor, Tensor]:
    """Causal attention of one sequence that also gives its probabilities, [1, heads, S, S]."""
    groups = query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(groups, dim=1) for tensor in (key, value))
    future = torch.ones(query.shape[2], query.shape[2], dtype=torch.bool, device=query.device).triu(1)
    scores = (query @ key.transpose(2, 3) * scaling).masked_fill(future, float("-inf"))
    probabilities = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    return (probabilities @ value).transpose(1, 2), probabilities


AttentionInterface.register(RECORDED_ATTENTION, recorded_attention)


def copy_sharing_weights(model: MoonModel) -> MoonModel:
    """A copy whose modules and configs are its own, and whose weights are those of the model."""
    shared = chain(model.parameters(), model.buffers(), (model.family,))
    return deepcopy(model, {id(value): value for value in shared})


def _numbers(tensor: Tensor) -> Numbers:
    return tensor.detach().double().cpu().numpy()
