"""How much each token raises or lowers the cosine to a query: gradient × input, where tokens enter the decoder.

What enters at an image token is the output of the vision tower. In models with deepstack, features of the tower's
earlier layers enter later decoder layers too; they count as input of the same token.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class DecoderInputs:
    """What enters a decoder in its next pass. Gradients reach it, and go no further.

    Attributes:
        embeddings: [1, S, D], after the pass.
        deepstack: each [V, D] for the V image tokens.

    Args:
        decoder: gets a hook that stays, so give a copy.
    """

    def __init__(self, decoder: nn.Module) -> None:
        self.embeddings = torch.empty(0)
        self.deepstack: list[Tensor] = []
        decoder.register_forward_pre_hook(self._record, with_kwargs=True)

    def _record(
        self, _: nn.Module, args: tuple[object, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[object, ...], dict[str, Any]]:
        self.embeddings = kwargs["inputs_embeds"].detach().requires_grad_()
        changed = {**kwargs, "inputs_embeds": self.embeddings}
        if kwargs.get("deepstack_visual_embeds"):
            self.deepstack = [feature.detach().requires_grad_() for feature in kwargs["deepstack_visual_embeds"]]
            changed["deepstack_visual_embeds"] = self.deepstack
        return args, changed

    def contributions(self, similarity: Tensor, image_mask: Tensor) -> Tensor:
        """Σ over features of gradient × input: a scalar and [S] bool → [S] float32."""
        inputs = [self.embeddings, *self.deepstack]
        slopes = torch.autograd.grad(similarity, inputs)
        products = [
            (slope.float() * leaf.detach().float()).sum(dim=-1) for slope, leaf in zip(slopes, inputs, strict=True)
        ]
        total = products[0][0].clone()
        for product in products[1:]:
            total[image_mask] += product
        return total
