"""The arithmetic of a step: how many floating-point operations the method itself asks for.

Counted is useful work: forward and backward, of real tokens, of the weights that a token meets. Padding, recomputed
activations and the first pass of GradCache are not counted, so a faster way to the same result has a higher share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from moon2.model.experts import Experts
from moon2.model.families import decoder_of
from moon2.model.item_batch import ItemBatch
from moon2.model.moon_model import MoonModel

# One multiplication and one addition a weight, forward; twice that backward, for the input's and the weight's gradient.
FORWARD, FORWARD_AND_BACKWARD = 2, 6


@dataclass(frozen=True)
class ActiveWeights:
    """Weights that take part in matrix products.

    Attributes:
        token: that each token of the decoder meets; of experts, the active ones.
        patch: that each patch of an image meets in the vision tower.
        visual_token: that each visual token meets where the tower hands it over.
    """

    token: int
    patch: int
    visual_token: int


def active_weights(model: MoonModel) -> ActiveWeights:
    """The weights of a network that a token, a patch and a visual token meet."""
    decoder, tower = f"backbone.{model.family.decoder}.", f"backbone.{model.family.vision_blocks}."
    token = patch = visual_token = 0
    for name, module in model.named_modules():
        if isinstance(module, Experts):
            token += (module.gate_up_proj[0].numel() + module.down_proj[0].numel()) * model.settings.active
        elif isinstance(module, (nn.Linear, nn.Conv2d, nn.Conv3d)):
            if name.startswith(decoder):
                token += module.weight.numel()
            elif name.startswith(tower) or "patch_embed" in name:
                patch += module.weight.numel()
            else:
                visual_token += module.weight.numel()
    return ActiveWeights(token, patch, visual_token)


def useful_operations(model: MoonModel, batches: Sequence[ItemBatch]) -> float:
    """Floating-point operations of forward and backward passes over packed batches.

    Weights: 6 a weight and token. Attention: for each pair of tokens that attend to each other, a product for the score
    and one for the sum, forward, and twice that backward.
    """
    weights = active_weights(model)
    decoder: Any = decoder_of(model.backbone, model.family).config
    tower: Any = model.backbone.config.vision_config
    head = getattr(decoder, "head_dim", None) or decoder.hidden_size // decoder.num_attention_heads
    heads = decoder.num_attention_heads * head
    blocks = len(list(model.backbone.get_submodule(model.family.vision_blocks).children()))
    total = 0.0
    for batch in batches:
        total += FORWARD_AND_BACKWARD * weights.token * batch.tokens
        if batch.packing is not None:
            lengths = batch.packing.bounds.diff().double()
            pairs = float((lengths * (lengths + 1) / 2).sum())
            total += 2 * FORWARD_AND_BACKWARD * pairs * heads * decoder.num_hidden_layers
        if batch.images is not None:
            grids = batch.images.grids
            patches = [frames * height * width for frames, height, width in grids]
            total += FORWARD_AND_BACKWARD * weights.patch * sum(patches)
            total += FORWARD_AND_BACKWARD * weights.visual_token * len(batch.images.image_of_token)
            total += (
                2 * FORWARD_AND_BACKWARD * float(sum(count * count for count in patches)) * tower.hidden_size * blocks
            )
    return total
