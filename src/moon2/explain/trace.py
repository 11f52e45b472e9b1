"""One item through the network as `Encoder.encode` sends it, with a record of what happens inside.

Fused attention kernels give no probabilities, so this pass attends eagerly in the decoder. The vector is the same up
to rounding. The pass runs on a copy of the network that shares its weights: neither the eager attention nor the hooks
are seen by other threads that use the encoder.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from moon2.errors import UserError
from moon2.explain.gradient import DecoderInputs
from moon2.explain.rollout import Numbers
from moon2.model.encoder import Encoder, Vectors
from moon2.model.families import Grid, decoder_layers
from moon2.model.moon_model import MoonModel
from moon2.model.processor import Item

Mask = NDArray[np.bool_]


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
    batch = encoder.processor.batch([item], text=False).to(encoder.device)
    inputs = batch.joint or batch.text
    assert inputs is not None
    model = copy_sharing_weights(encoder.model)
    layers, config = decoder_layers(model.backbone, model.family)
    config._attn_implementation = "eager"
    attentions: list[Numbers] = []

    def record_attention(_: nn.Module, __: object, output: tuple[Tensor, Tensor]) -> None:
        attentions.append(_numbers(output[1][0].float().mean(dim=0)))

    for layer in layers:
        attention: nn.Module = layer.get_submodule("self_attn")
        attention.register_forward_hook(record_attention)
    entering = DecoderInputs(getattr(model.backbone, model.family.decoder))
    with torch.set_grad_enabled(target is not None):
        views = model(batch, ("mm",))
    contributions = None
    if target is not None:
        similarity = views.vectors["mm"][0] @ torch.as_tensor(target, device=encoder.device)
        contributions = _numbers(entering.contributions(similarity, inputs.image_mask[0]))
    return Trace(
        vector=views.vectors["mm"][0].detach().float().cpu().numpy(),
        pooling_mask=inputs.pooling_mask[0].cpu().numpy(),
        image_mask=inputs.image_mask[0].cpu().numpy(),
        weights=_numbers(model.joint_weights(inputs)[0]),
        grids=inputs.grids[0],
        attentions=attentions,
        gates={number: _numbers(layer.gates) for number, layer in views.passes[0].layers.items()},
        contributions=contributions,
    )


def copy_sharing_weights(model: MoonModel) -> MoonModel:
    """A copy whose modules and configs are its own, and whose weights are those of the model."""
    shared = chain(model.parameters(), model.buffers(), (model.family,))
    return deepcopy(model, {id(value): value for value in shared})


def _numbers(tensor: Tensor) -> Numbers:
    return tensor.detach().double().cpu().numpy()
