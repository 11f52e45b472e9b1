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

# One multiplication and one addition a weight: forward, for the input's gradient, and for the weight's own.
PRODUCT = 2


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


def active_weights(model: MoonModel, *, trained_only: bool = False) -> ActiveWeights:
    """The weights of a network that a token, a patch and a visual token meet; LoRA's adapters are not counted."""
    decoder, tower = f"backbone.{model.family.decoder}.", f"backbone.{model.family.vision_blocks}."
    token = patch = visual_token = 0
    for name, module in model.named_modules():
        if isinstance(module, Experts):
            if module.down_proj.requires_grad or not trained_only:
                token += (module.gate_up_proj[0].numel() + module.down_proj[0].numel()) * model.settings.active
        elif isinstance(module, (nn.Linear, nn.Conv2d, nn.Conv3d)) and (
            module.weight.requires_grad or not trained_only
        ):
            if name.startswith(decoder):
                token += module.weight.numel()
            elif name.startswith(tower) or "patch_embed" in name:
                patch += module.weight.numel()
            else:
                visual_token += module.weight.numel()
    return ActiveWeights(token, patch, visual_token)


def useful_operations(model: MoonModel, batches: Sequence[ItemBatch]) -> float:
    """Floating-point operations of forward and backward passes over packed batches.

    Weights: a product forward, one for the input's gradient and one for the weight's, 2 operations a weight and token
    each; a frozen weight has no gradient, and neither has the input of a frozen vision tower. Attention: for each pair
    of tokens that attend to each other, a product for the score and one for the sum, forward, and twice that backward.
    """
    weights, trained = active_weights(model), active_weights(model, trained_only=True)
    vision = model.backbone.get_submodule(model.family.vision_blocks)
    decoder: Any = decoder_of(model.backbone, model.family).config
    tower: Any = model.backbone.config.vision_config
    head = getattr(decoder, "head_dim", None) or decoder.hidden_size // decoder.num_attention_heads
    heads = decoder.num_attention_heads * head
    blocks = len(list(vision.children()))
    tower_learns = any(weight.requires_grad for weight in vision.parameters())
    through_tower = 2 if tower_learns else 1
    token = 2 * weights.token + trained.token
    patch = through_tower * weights.patch + trained.patch
    visual_token = through_tower * weights.visual_token + trained.visual_token
    total = 0.0
    for batch in batches:
        total += PRODUCT * token * batch.tokens
        if batch.packing is not None:
            lengths = batch.packing.bounds.diff().double()
            pairs = float((lengths * (lengths + 1) / 2).sum())
            total += 3 * 2 * PRODUCT * pairs * heads * decoder.num_hidden_layers
        if batch.images is not None:
            patches = [frames * height * width for frames, height, width in batch.images.grids]
            total += PRODUCT * patch * sum(patches)
            total += PRODUCT * visual_token * len(batch.images.image_of_token)
            pairs = float(sum(count * count for count in patches))
            total += (3 if tower_learns else 1) * 2 * PRODUCT * pairs * tower.hidden_size * blocks
    return total
