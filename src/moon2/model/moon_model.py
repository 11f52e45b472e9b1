"""The network: a backbone with experts, and the three views t, i and mm of each item from two passes.

With pictures before text, the states of a causal decoder over the pictures are the same whether or not text follows.
So the joint pass holds two views: the mean over the picture tokens is r^i, the mean over all content tokens is r^mm;
only r^t needs a pass of its own, which is short and skips the vision tower. This is exact, not an approximation.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from moon2.model.experts import Routing, record_routing, upcycle
from moon2.model.families import Family, decoder_layers
from moon2.model.processor import ItemBatch, PassInputs
from moon2.recipe import OBJECTIVES, ExpertSettings

VIEWS = ("t", "i", "mm")


@dataclass
class Views:
    """What the network gives for N items.

    Attributes:
        vectors: per view [N, D] float32 of unit length; rows of items that lack the view are zeros. An item with only
            text has it as its mm too, and likewise one with only pictures.
        valid: per view [N] bool, which items have it.
        routing: per view [N, Z] float32, G̃ averaged over the view's content tokens and then over the expert layers;
            empty when no layer has experts.
        passes: what the routers decided in each pass, for the load-balancing loss.
    """

    vectors: dict[str, Tensor]
    valid: dict[str, Tensor]
    routing: dict[str, Tensor]
    passes: list[Routing]


class MoonModel(nn.Module):
    """A vision-language model whose feed-forward layers are experts, with the dual-alignment matrix W* [Z, M].

    Built from a dense backbone by upcycling. `dual_alignment` starts at zero: experts serve all objectives alike.
    With `late` fusion it is a dual encoder of the same parts instead, to compare with.
    """

    def __init__(
        self,
        backbone: nn.Module,
        family: Family,
        settings: ExpertSettings,
        fusion: Literal["early", "late"] = "early",
        pooling: Literal["tokens", "forms"] = "tokens",
    ) -> None:
        super().__init__()
        self.fusion = fusion
        self.pooling = pooling
        self.backbone = backbone
        self.family = family
        self.settings = settings
        layers, config = decoder_layers(backbone, family)
        self._slot = upcycle(layers, settings, config)
        self.dual_alignment = nn.Parameter(torch.zeros(settings.count, len(OBJECTIVES)))
        self.dimension: int = config.hidden_size

    def needs_text_pass(self, views: Collection[str]) -> bool:
        """Whether `forward` wants the pass over text alone also of items that have pictures."""
        return "t" in views or (self.fusion == "late" and "mm" in views)

    def forward(self, batch: ItemBatch, views: Collection[str] = VIEWS) -> Views:
        """The wanted views of each item; see `Views`.

        Args:
            batch: at most two passes; views i and mm need the joint one, t the text one (see `needs_text_pass`).
            views: which to pool.
        """
        if self.fusion == "late":
            return self._two_towers(batch, views)
        number, device = len(batch.has_text), batch.has_text.device
        vectors: dict[str, Tensor] = {}
        routing: dict[str, Tensor] = {}
        passes: list[Routing] = []
        parts: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {view: [] for view in views}
        if batch.joint is not None:
            states, record = self._run(batch.joint)
            passes.append(record)
            for view, weights in (("i", batch.joint.picture), ("mm", self.joint_weights(batch.joint))):
                if view in parts:
                    parts[view].append((batch.joint.items, *_pool(states, weights, batch.joint.real, record)))
        if batch.text is not None:
            states, record = self._run(batch.text)
            passes.append(record)
            pooled = _pool(states, batch.text.content, batch.text.real, record)
            if "t" in parts:
                parts["t"].append((batch.text.items, *pooled))
            if "mm" in parts:
                alone = ~batch.has_images[batch.text.items]
                parts["mm"].append((batch.text.items[alone], pooled[0][alone], pooled[1][alone]))
        experts = self.settings.count if any(record.gates for record in passes) else 0
        for view, found in parts.items():
            vectors[view] = torch.zeros(number, self.dimension, device=device)
            routing[view] = torch.zeros(number, experts, device=device)
            for items, vector, gates in found:
                vectors[view] = vectors[view].index_copy(0, items, functional.normalize(vector, dim=-1))
                routing[view] = routing[view].index_copy(0, items, gates)
        has = {"t": batch.has_text, "i": batch.has_images, "mm": batch.has_text | batch.has_images}
        return Views(vectors, {view: has[view] for view in views}, routing, passes)

    def joint_weights(self, inputs: PassInputs) -> Tensor:
        """[B, S] how much each token counts in the joint vector, up to a factor a row."""
        if self.pooling == "tokens":
            return inputs.content
        picture = inputs.picture.float()
        words = inputs.content.float() - picture
        picture, words = (form / form.sum(dim=1, keepdim=True).clamp(min=1) for form in (picture, words))
        return picture + words

    def _two_towers(self, batch: ItemBatch, views: Collection[str]) -> Views:
        """Words through the decoder, pictures through the vision encoder alone; mm is the sum of both vectors."""
        number, device = len(batch.has_text), batch.has_text.device
        zeros = torch.zeros(number, self.dimension, device=device)
        vectors = {"t": zeros, "i": zeros}
        passes: list[Routing] = []
        if batch.text is not None:
            states, record = self._run(batch.text)
            passes.append(record)
            pooled, _ = _pool(states, batch.text.content, batch.text.real, record)
            vectors["t"] = zeros.index_copy(0, batch.text.items, functional.normalize(pooled, dim=-1))
        if batch.joint is not None:
            pictures = self.family.picture_vectors(self.backbone, batch.joint.tensors).float()
            item_of = batch.joint.items.repeat_interleave(
                torch.tensor([len(grids) for grids in batch.joint.grids], device=device)
            )
            vectors["i"] = functional.normalize(zeros.index_add(0, item_of, pictures), dim=-1)
        vectors["mm"] = functional.normalize(vectors["t"] + vectors["i"], dim=-1)
        has = {"t": batch.has_text, "i": batch.has_images, "mm": batch.has_text | batch.has_images}
        # A picture meets no expert, so there is no routing of a view to speak of.
        routing = {view: zeros.new_zeros(number, 0) for view in views}
        return Views({view: vectors[view] for view in views}, {view: has[view] for view in views}, routing, passes)

    def _run(self, inputs: PassInputs) -> tuple[Tensor, Routing]:
        extra: dict[str, Any] = dict(inputs.tensors)
        if inputs.tensors:
            positions = self.family.positions(self.backbone, inputs.grids, inputs.ids.shape[1])
            if positions is not None:
                extra["position_ids"] = positions.to(inputs.ids.device)
        with record_routing(self._slot, inputs.real) as routing:
            # No attention mask: with padding only on the right, causal attention already keeps it from every word,
            # and without a mask the fused causal kernel runs.
            states = self.backbone(input_ids=inputs.ids, use_cache=False, **extra).last_hidden_state
        return states, routing


def _pool(states: Tensor, weights: Tensor, real: Tensor, routing: Routing) -> tuple[Tensor, Tensor]:
    """Means over the tokens by weight (bool or float [B, S]): states [B, S, D] → [B, D], gates → [B, Z], float32."""
    with torch.autocast(states.device.type, enabled=False):
        return _weighted_means(states.float(), weights.float(), real, routing)


def _weighted_means(states: Tensor, weights: Tensor, real: Tensor, routing: Routing) -> tuple[Tensor, Tensor]:
    weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1)
    pooled = torch.einsum("bs,bsd->bd", weights, states)
    if not routing.gates:
        return pooled, pooled.new_zeros(len(pooled), 0)
    gates = torch.stack(routing.gates).mean(dim=0)  # [T, Z] over the real tokens, row after row
    rows = torch.arange(len(real), device=real.device).unsqueeze(1).expand_as(real)[real]
    share = weights[real].unsqueeze(1) * gates
    return pooled, pooled.new_zeros(len(pooled), gates.shape[1]).index_add(0, rows, share)
