"""The network: a backbone with experts, and the three views t, i and mm of each item from two passes.

With images before text, the states of a causal decoder over the images are the same whether or not text follows. So
the joint pass holds two views: the mean over the image tokens is r^i, the mean over all pooled tokens is r^mm. Only r^t
needs a pass of its own, which is short and skips the vision tower. This is exact, not an approximation.

Shapes: N items, B rows of a pass, S tokens a row, D width, Z experts, M objectives.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from moon2.model.experts import Routing, upcycle
from moon2.model.families import Backbone, Family, decoder_layers
from moon2.model.processor import ItemBatch, PassInputs
from moon2.recipe import ExpertSettings
from moon2.views import OBJECTIVES, VIEWS, View


@dataclass
class Views:
    """What the network gives for N items.

    Attributes:
        vectors: per view [N, D] float32 of unit length; rows of items that lack the view are zeros. An item with only
            text has it as its mm too, and likewise one with only images.
        valid: per view [N] bool, which items have it.
        routing: per view [N, Z] float32, G̃ averaged over the view's tokens and then over the expert layers; Z is 0
            where no layer has experts.
        passes: what the routers decided in each pass, for the load-balancing loss.
    """

    vectors: dict[View, Tensor]
    valid: dict[View, Tensor]
    routing: dict[View, Tensor]
    passes: list[Routing]


class MoonModel(nn.Module):
    """A vision-language model whose feed-forward layers are experts, with the dual-alignment matrix W* [Z, M].

    Built from a dense backbone by upcycling. `dual_alignment` starts at zero: experts serve all objectives alike.
    """

    def __init__(
        self,
        backbone: Backbone,
        family: Family,
        settings: ExpertSettings,
        pooling: Literal["tokens", "modalities"] = "tokens",
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.backbone = backbone
        self.family = family
        self.settings = settings
        layers, config = decoder_layers(backbone, family)
        upcycle(layers, settings, config)
        self.dual_alignment = nn.Parameter(torch.zeros(settings.count, len(OBJECTIVES)))
        self.dimension: int = config.hidden_size

    def needs_text_pass(self, views: Collection[View]) -> bool:
        """Whether `forward` wants the pass over text alone also for items that have images."""
        return "t" in views

    def forward(self, batch: ItemBatch, views: Collection[View] = VIEWS) -> Views:
        """The wanted views of each item; see `Views`.

        Args:
            batch: at most two passes; views i and mm need the joint one, t the text one (see `needs_text_pass`).
            views: which to pool.
        """
        number, device = len(batch.has_text), batch.has_text.device
        passes: list[Routing] = []
        parts: dict[View, list[tuple[Tensor, Tensor, Tensor]]] = {view: [] for view in views}
        if batch.joint is not None:
            states, routing = self.run(batch.joint)
            passes.append(routing)
            weights: dict[View, Tensor] = {"i": batch.joint.image_mask, "mm": self.joint_weights(batch.joint)}
            for view in weights.keys() & parts.keys():
                parts[view].append((batch.joint.rows, *pool(states, weights[view], batch.joint, routing)))
        if batch.text is not None:
            states, routing = self.run(batch.text)
            passes.append(routing)
            vectors, gates = pool(states, batch.text.pooling_mask, batch.text, routing)
            if "t" in parts:
                parts["t"].append((batch.text.rows, vectors, gates))
            if "mm" in parts:
                text_only = ~batch.has_images[batch.text.rows]
                parts["mm"].append((batch.text.rows[text_only], vectors[text_only], gates[text_only]))
        experts = self.settings.count if any(routing.layers for routing in passes) else 0
        has: dict[View, Tensor] = {
            "t": batch.has_text,
            "i": batch.has_images,
            "mm": batch.has_text | batch.has_images,
        }
        result = Views({}, {view: has[view] for view in views}, {}, passes)
        for view, pooled in parts.items():
            result.vectors[view] = torch.zeros(number, self.dimension, device=device)
            result.routing[view] = torch.zeros(number, experts, device=device)
            for rows, vectors, gates in pooled:
                unit = functional.normalize(vectors, dim=-1)
                result.vectors[view] = result.vectors[view].index_copy(0, rows, unit)
                result.routing[view] = result.routing[view].index_copy(0, rows, gates)
        return result

    def joint_weights(self, inputs: PassInputs) -> Tensor:
        """[B, S] how much each token counts in the joint vector, up to a factor a row."""
        if self.pooling == "tokens":
            return inputs.pooling_mask
        image = inputs.image_mask.float()
        text = inputs.pooling_mask.float() - image
        image, text = (mask / mask.sum(dim=1, keepdim=True).clamp(min=1) for mask in (image, text))
        return image + text

    def run(self, inputs: PassInputs) -> tuple[Tensor, Routing]:
        """One pass through the backbone: its last states [B, S, D], and what the routers decided."""
        extra = dict(inputs.image_inputs)
        if inputs.image_inputs:
            positions = self.family.positions(self.backbone, inputs.grids, inputs.input_ids.shape[1])
            if positions is not None:
                extra["position_ids"] = positions.to(inputs.input_ids.device)
        routing = Routing.of(inputs.attention_mask)
        # No attention mask: with padding only on the right, causal attention already keeps it from every word, and
        # without a mask the fused causal kernel runs.
        output = self.backbone(input_ids=inputs.input_ids, use_cache=False, routing=routing, **extra)
        return output.last_hidden_state, routing


def pool(states: Tensor, weights: Tensor, inputs: PassInputs, routing: Routing) -> tuple[Tensor, Tensor]:
    """Means over the tokens by weight (bool or float [B, S]): states [B, S, D] → [B, D], gates → [B, Z], float32."""
    with torch.autocast(states.device.type, enabled=False):
        weights = weights.float()
        weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1)
        pooled = torch.einsum("bs,bsd->bd", weights, states.float())
        if not routing.layers:
            return pooled, pooled.new_zeros(len(pooled), 0)
        gates = torch.stack([layer.gates for layer in routing.layers.values()]).mean(dim=0)  # [T, Z]
        row_of_token = routing.token_index // weights.shape[1]
        shares = weights.flatten()[routing.token_index].unsqueeze(1) * gates
        return pooled, pooled.new_zeros(len(pooled), gates.shape[1]).index_add(0, row_of_token, shares)
