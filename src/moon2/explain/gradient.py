"""How much each token raises or lowers the cosine to a query: gradient × input, at the door of the decoder.

What enters the decoder at a picture's token is the vision tower's output there; of models with deepstack, features of
the tower's earlier layers enter later ones too, and count as input of the same token.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class DecoderInputs:
    """What entered a decoder in one pass: `embeddings` [1, S, D], `deepstack` each [V, D] for the V picture tokens."""

    def __init__(self) -> None:
        self.embeddings: Tensor | None = None
        self.deepstack: list[Tensor] = []

    def contributions(self, similarity: Tensor, picture: Tensor) -> Tensor:
        """Σ over features of gradient × input: a scalar and picture [S] bool → [S] float32."""
        assert self.embeddings is not None
        leaves = [self.embeddings, *self.deepstack]
        slopes = torch.autograd.grad(similarity, leaves)
        found, *deeper = [
            (slope.float() * leaf.detach().float()).sum(dim=-1) for slope, leaf in zip(slopes, leaves, strict=True)
        ]
        total = found[0].clone()
        for part in deeper:
            total[picture] += part
        return total


@contextmanager
def decoder_inputs(decoder: nn.Module) -> Iterator[DecoderInputs]:
    """Within the block, the decoder's inputs are leaves that gradients reach; nothing before them is differentiated."""
    caught = DecoderInputs()

    def catch(
        _: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        caught.embeddings = named["inputs_embeds"].detach().requires_grad_()
        changed = {**named, "inputs_embeds": caught.embeddings}
        if named.get("deepstack_visual_embeds"):
            caught.deepstack = [feature.detach().requires_grad_() for feature in named["deepstack_visual_embeds"]]
            changed["deepstack_visual_embeds"] = caught.deepstack
        return positional, changed

    hook = decoder.register_forward_pre_hook(catch, with_kwargs=True)
    try:
        yield caught
    finally:
        hook.remove()
