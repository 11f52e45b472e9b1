"""Earlier ways to compute a training step, for `benchmarks/training_step.py` to compare with."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from moon2.model.experts import ExpertDecoderLayer, Experts, LayerRouting
from moon2.model.families import decoder_of
from moon2.model.item_batch import ItemBatch
from moon2.model.moon_model import DecoderInput, FusedRMSNorm, MoonModel, Views
from moon2.views import VIEWS, View


class PaddedModel(MoonModel):
    """The decoder of commit b8be867: joint rows and text rows in a pass each, padded to their longest row."""

    def decode(
        self, inputs: DecoderInput, batch: ItemBatch, chosen: dict[int, Tensor] | None = None
    ) -> tuple[Tensor, dict[int, LayerRouting]]:
        """Packed rows to padded ones and back; what the loss sees is the same."""
        assert batch.packing is not None
        bounds = batch.packing.bounds.long()
        starts, lengths = bounds[:-1], bounds.diff()
        states, order = [], []
        routing: dict[int, list[LayerRouting]] = {}
        for kind in batch.row_kind.bool():
            rows = kind.nonzero().flatten()
            if len(rows):
                step = torch.arange(int(lengths[rows].max()), device=rows.device)
                real = step < lengths[rows][:, None]
                grid = starts[rows][:, None] + torch.minimum(step, lengths[rows][:, None] - 1)
                last, layers = self._padded_pass(inputs, batch, grid, real)
                states.append(last[real])
                order.append(grid[real])
                for number, layer in layers.items():
                    routing.setdefault(number, []).append(layer)
        place = torch.cat(order).argsort()
        joined = {
            number: LayerRouting(
                torch.cat([part.probabilities for part in parts])[place], torch.cat([p.chosen for p in parts])[place]
            )
            for number, parts in routing.items()
        }
        return torch.cat(states)[place], joined

    def _padded_pass(
        self, inputs: DecoderInput, batch: ItemBatch, grid: Tensor, real: Tensor
    ) -> tuple[Tensor, dict[int, LayerRouting]]:
        decoder = decoder_of(self.backbone, self.family)
        decoder.config._attn_implementation = "sdpa"
        states = inputs.embeddings[grid]
        token_index = real.flatten().nonzero().squeeze(1)
        positions = batch.positions[:, grid] if len(batch.positions) > 1 else batch.positions[0][grid]
        attention: dict[str, Any] = {
            "attention_mask": None,
            "position_embeddings": decoder.rotary_emb(states, positions),
        }
        layers: dict[int, LayerRouting] = {}
        for number, layer in enumerate(decoder.layers):
            if isinstance(layer, ExpertDecoderLayer):
                attended, _ = layer.self_attn(hidden_states=layer.input_layernorm(states), **attention)
                states = states + attended
                flat = layer.post_attention_layernorm(states).reshape(-1, states.shape[-1])
                tokens = flat.index_select(0, token_index)
                probabilities = layer.mlp.probabilities(tokens)
                picked = layer.mlp.choose(probabilities)
                output = layer.mlp.mix(tokens, probabilities, picked)
                layers[number] = LayerRouting(probabilities, picked)
                output = torch.zeros_like(flat).index_copy(0, token_index, output.to(flat.dtype))
                states = states + output.view_as(states)
            else:
                states = layer(states, **attention)
            if number < len(inputs.deepstack) and batch.images is not None:
                added = torch.zeros_like(inputs.embeddings)
                visual = inputs.deepstack[number].index_select(0, batch.images.sources).to(added.dtype)
                added = added.index_copy(0, batch.images.slots, visual)
                states = states + added[grid] * real[..., None]
        return decoder.norm(states), layers


class SeparateModel(PaddedModel):
    """Three passes a triplet: every view from rows of its own."""

    def forward(self, batch: Any, views: Collection[View] = VIEWS, chosen: dict[int, Tensor] | None = None) -> Views:
        """A `SeparateBatch` in place of one packed batch."""
        found = {view: super(SeparateModel, self).forward(part, {view}) for view, part in batch.parts.items()}
        both = found["mm"]
        sums = [found[view].router_sums for view in ("t", "mm")]
        both.router_sums = replace(
            both.router_sums,
            assigned=sums[0].assigned + sums[1].assigned,
            probability=sums[0].probability + sums[1].probability,
        )
        both.vectors = {view: found[view].vectors[view] for view in views}
        both.routing = {view: found[view].routing[view] for view in views}
        both.has_text = found["t"].has_text
        both.has_images = found["i"].has_images
        return both


@dataclass
class SeparateBatch:
    """The rows of each view apart; stands where a packed batch is expected."""

    parts: dict[View, ItemBatch]

    def to(self, device: torch.device | str) -> SeparateBatch:
        """The same on another device."""
        return SeparateBatch({view: part.to(device) for view, part in self.parts.items()})


class SeveralKernelsNorm(nn.Module):
    """RMSNorm as transformers computes it, for the step as it was."""

    def __init__(self, fused: FusedRMSNorm) -> None:
        super().__init__()
        self.weight, self.eps = fused.weight, fused.eps or 1e-6

    def forward(self, states: Tensor) -> Tensor:
        """[..., D] → [..., D]."""
        wide = states.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(states.dtype)


def unfuse_norms(module: nn.Module) -> None:
    """Puts transformers' norms back."""
    for name, child in module.named_children():
        if isinstance(child, FusedRMSNorm):
            setattr(module, name, SeveralKernelsNorm(child))
        else:
            unfuse_norms(child)


def ungroup_experts(model: MoonModel) -> None:
    """Lets experts compute one after another."""
    for module in model.modules():
        if isinstance(module, Experts):
            module.forward = MethodType(one_expert_after_another, module)  # type: ignore[method-assign]  # as it was then


def one_expert_after_another(self: Experts, tokens: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
    """What `Experts.forward` computes, by a loop."""
    output = torch.zeros_like(tokens)
    for expert in range(len(self.gate_up_proj)):
        token, slot = torch.where(chosen == expert)
        gate, up = functional.linear(tokens[token], self.gate_up_proj[expert].to(tokens.dtype)).chunk(2, dim=-1)
        result = functional.linear(self.act_fn(gate) * up, self.down_proj[expert].to(tokens.dtype))
        output = output.index_add(0, token, (result * weights[token, slot, None]).to(output.dtype))
    return output
