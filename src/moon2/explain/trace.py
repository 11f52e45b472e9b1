"""One item through the network as `Encoder.encode` sends it, with what passes inside written down.

Fused attention kernels give no probabilities, so the decoder attends eagerly during this pass and as before after it.
The vector is the same to rounding. The vision tower is left as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from moon2.errors import UserError
from moon2.explain.gradient import decoder_inputs
from moon2.explain.rollout import Numbers
from moon2.model.encoder import Encoder, Vectors
from moon2.model.families import Grid, decoder_layers
from moon2.model.processor import Item


class ExplainError(UserError):
    """An item cannot be explained; the message says why, and what to do."""


@dataclass
class Trace:
    """What one pass over one item of S tokens showed.

    Attributes:
        vector: [D] float32 of unit length, the item's mm.
        content: [S] bool, pooled tokens.
        picture: [S] bool, those of them that are part of a picture.
        weights: [S] of at least 0, how much each token counts in the vector, up to a factor.
        grids: the size of each picture in patches.
        attentions: per layer [S, S], mean over heads.
        gates: per layer with experts [S, Z], the weights G̃ over the experts.
        contributions: [S], gradient × input of the cosine to the target; None without a target.
    """

    vector: Vectors
    content: NDArray[np.bool_]
    picture: NDArray[np.bool_]
    weights: Numbers
    grids: list[Grid]
    attentions: list[Numbers]
    gates: list[Numbers]
    contributions: Numbers | None


def trace(encoder: Encoder, item: Item, target: Vectors | None = None) -> Trace:
    """Sends one item through, joint when it has pictures.

    Args:
        encoder: its weights and settings are left as they were.
        item: what `Processor.item` made.
        target: [D] of unit length; contributions are to the cosine with it.

    Raises:
        ExplainError: the backbone's attention gives no probabilities, or the encoder is two towers.
    """
    if encoder.model.fusion == "late":
        raise ExplainError("two towers have no attention between words and pictures; explain an encoder of one")
    batch = encoder.processor.batch([item], text=False).to(encoder.device)
    inputs = batch.joint or batch.text
    assert inputs is not None
    model = encoder.model
    layers, config = decoder_layers(model.backbone, model.family)
    decoder = getattr(model.backbone, model.family.decoder)
    was_training = model.training
    model.eval()
    try:
        with (
            torch.set_grad_enabled(target is not None),
            _eager(config),
            _attentions(layers) as caught,
            decoder_inputs(decoder) as entered,
        ):
            found = model(batch, ("mm",))
        vector = found.vectors["mm"][0]
        contributions = None
        if target is not None:
            similarity = vector @ torch.as_tensor(target, device=vector.device, dtype=vector.dtype)
            contributions = _numbers(entered.contributions(similarity, inputs.picture[0]))
    finally:
        model.train(was_training)
    if len(caught) != len(layers):
        raise ExplainError("the backbone's attention gives no probabilities; explain an encoder of another backbone")
    return Trace(
        vector.detach().float().cpu().numpy(),
        inputs.content[0].cpu().numpy(),
        inputs.picture[0].cpu().numpy(),
        _numbers(model.joint_weights(inputs)[0]),
        inputs.grids[0],
        caught,
        [_numbers(gates) for gates in found.passes[0].gates],
        contributions,
    )


@contextmanager
def _eager(config: Any) -> Iterator[None]:
    before = config._attn_implementation
    config._attn_implementation = "eager"
    try:
        yield
    finally:
        config._attn_implementation = before


@contextmanager
def _attentions(layers: Sequence[nn.Module] | nn.ModuleList) -> Iterator[list[Numbers]]:
    """Each layer's attention of one row, as its heads' mean; in the order in which the layers run."""
    caught: list[Numbers] = []

    def catch(_: nn.Module, __: Any, output: tuple[Any, ...]) -> None:
        if output[1] is not None:
            caught.append(_numbers(output[1][0].float().mean(dim=0)))

    attention: list[Any] = [layer.self_attn for layer in layers]
    hooks = [module.register_forward_hook(catch) for module in attention]
    try:
        yield caught
    finally:
        for hook in hooks:
            hook.remove()


def _numbers(tensor: torch.Tensor) -> Numbers:
    return tensor.detach().double().cpu().numpy()
