"""How much each token raises or lowers the cosine to a query: gradient × input, where tokens enter the decoder.

What enters at an image token is the output of the vision tower. In models with deepstack, features of the tower's
earlier layers enter later decoder layers too; they count as input of the same token.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from moon2.model.item_batch import ItemBatch


def input_contributions(similarity: Tensor, inputs: Sequence[Tensor], batch: ItemBatch) -> Tensor:
    """Σ over features of gradient × input: [T] float32.

    Args:
        similarity: scalar.
        inputs: what entered the decoder: the embeddings [T, D], then what deepstack added at its image tokens, each
            [image tokens, D].
        batch: whose tokens they are.
    """
    slopes = torch.autograd.grad(similarity, list(inputs))
    products = [(slope.float() * leaf.detach().float()).sum(dim=-1) for slope, leaf in zip(slopes, inputs, strict=True)]
    total = products[0]
    for product in products[1:]:
        assert batch.images is not None
        total = total.index_add(0, batch.images.slots, product)
    return total
