"""The modality-driven mixture of experts, and upcycling: how a dense decoder becomes one.

Every decoder layer's gated MLP is copied into Z experts behind a router (Komatsuzaki et al., 2023, "Sparse
Upcycling"). The router's weights for a token are renormalised over the k experts it is sent to, so they sum to one
and, as long as the copies are equal, the layer computes exactly what the dense MLP did. The experts hold fused
weights and speak transformers' experts interface, so its grouped kernels apply. Padding never reaches a router or an
expert.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.integrations.moe import use_experts_implementation

from moon2.recipe import ExpertSettings, RecipeError


@dataclass
class Routing:
    """What the routers of one forward pass decided, layer by layer, for its T tokens.

    Attributes:
        places: [T] int64, where the tokens that are not padding stand in the flattened [B·S]; None routes every token.
        probabilities: per layer [T, Z], softmax over all experts (differentiable).
        gates: per layer [T, Z], G̃: the probabilities of the k chosen experts renormalised, others 0 (differentiable).
        chosen: per layer [T, k] int64, the chosen experts.
    """

    places: Tensor | None = None
    probabilities: list[Tensor] = field(default_factory=list)
    gates: list[Tensor] = field(default_factory=list)
    chosen: list[Tensor] = field(default_factory=list)


class _RoutingSlot:
    """Where the expert layers of one model find the record of the pass under way; no part of the weights."""

    def __init__(self) -> None:
        self.current: Routing | None = None


@use_experts_implementation
class Experts(nn.Module):
    """Z gated MLPs with fused weights.

    `gate_up_proj` [Z, 2I, D] holds each expert's gate over its up projection, `down_proj` [Z, D, I].
    """

    def __init__(self, config: Any, count: int, width: int, inner: int, activation: Any) -> None:
        super().__init__()
        self.num_experts = count
        self.act_fn = activation
        self.gate_up_proj = nn.Parameter(torch.empty(count, 2 * inner, width))
        self.down_proj = nn.Parameter(torch.empty(count, width, inner))

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """[T, D], [T, k] int64, [T, k] → [T, D]: Σ over the k chosen experts of weight · expert(token)."""
        output = torch.zeros_like(hidden_states)
        for expert in range(self.num_experts):
            token, slot = torch.where(top_k_index == expert)
            gate, up = functional.linear(hidden_states[token], self.gate_up_proj[expert]).chunk(2, dim=-1)
            result = functional.linear(self.act_fn(gate) * up, self.down_proj[expert])
            output = output.index_add(0, token, (result * top_k_weights[token, slot, None]).to(output.dtype))
        return output


class ModalityExperts(nn.Module):
    """Stands where a decoder layer's MLP stood: routes each token to k of Z experts.

    G = softmax(W_g h) over Z experts, top k kept and renormalised to G̃, ĥ = Σ_z G̃_z f_z(h) (arXiv 2511.12449, MoE).
    """

    def __init__(self, dense: Any, settings: ExpertSettings, config: Any, slot: _RoutingSlot) -> None:
        super().__init__()
        gate, up, down = dense.gate_proj.weight, dense.up_proj.weight, dense.down_proj.weight
        if any(getattr(dense, name).bias is not None for name in ("gate_proj", "up_proj", "down_proj")):
            raise RecipeError("the decoder's MLP has biases; moon2 upcycles gated MLPs without biases")
        inner, width = gate.shape
        self.active = settings.active
        self.slot = slot
        self.router = nn.Linear(width, settings.count, bias=False, device=gate.device, dtype=gate.dtype)
        self.experts = Experts(config, settings.count, width, inner, dense.act_fn).to(gate.device, gate.dtype)
        with torch.no_grad():
            nn.init.normal_(self.router.weight, std=0.02)
            self.experts.gate_up_proj.copy_(_noisy_copies(torch.cat([gate, up]), settings))
            self.experts.down_proj.copy_(_noisy_copies(down, settings))

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, S, D] → [B, S, D]; rows of padding, where the pass names it, come out as zeros."""
        routing = self.slot.current
        places = None if routing is None else routing.places
        flat = hidden.reshape(-1, hidden.shape[-1])
        tokens = flat if places is None else flat.index_select(0, places)
        # The softmax over experts is taken in float32 whatever the weights are held in: k near-equal experts are
        # otherwise chosen by rounding.
        probabilities = self.router(tokens).float().softmax(dim=-1)
        weights, chosen = probabilities.topk(self.active, dim=-1)
        weights = weights / weights.sum(dim=-1, keepdim=True)
        if routing is not None:
            routing.probabilities.append(probabilities)
            routing.gates.append(torch.zeros_like(probabilities).scatter(1, chosen, weights))
            routing.chosen.append(chosen)
        output = self.experts(tokens, chosen, weights.to(tokens.dtype)).to(hidden.dtype)
        if places is not None:
            output = torch.zeros_like(flat).index_copy(0, places, output)
        return output.view_as(hidden)


def _noisy_copies(weight: Tensor, settings: ExpertSettings) -> Tensor:
    copies = weight.unsqueeze(0).repeat(settings.count, 1, 1)
    if settings.noise:
        copies = copies + settings.noise * weight.float().std().to(weight.dtype) * torch.randn_like(copies)
    return copies


def upcycle(layers: nn.ModuleList, settings: ExpertSettings, config: Any) -> _RoutingSlot:
    """Replaces the MLP of the named decoder layers by experts that start as copies of it, in place.

    Args:
        layers: the decoder's layers, each with a gated `mlp` (`gate_proj`, `up_proj`, `down_proj`).
        settings: Z, k, which layers, noise.
        config: the decoder's transformers config; its experts implementation is set to one this device can run.

    Returns:
        The slot through which `record_routing` listens to the routers.

    Raises:
        RecipeError: a layer number is not there, or a layer's MLP is not gated.
    """
    chosen: Sequence[int] = range(len(layers)) if settings.layers is None else settings.layers
    slot = _RoutingSlot()
    config._experts_implementation = "grouped_mm"
    for index in chosen:
        if not 0 <= index < len(layers):
            raise RecipeError(f"experts.layers names layer {index}; this decoder has layers 0 to {len(layers) - 1}")
        dense: Any = layers[index].mlp
        if not all(hasattr(dense, name) for name in ("gate_proj", "up_proj", "down_proj")):
            raise RecipeError(
                f"decoder layer {index} has a {type(dense).__name__}, not a gated MLP; it cannot be upcycled"
            )
        layers[index].mlp = ModalityExperts(dense, settings, config, slot)
    return slot


@contextmanager
def record_routing(slot: _RoutingSlot, real: Tensor | None) -> Iterator[Routing]:
    """Within the block, the expert layers route only the `real` [B, S] bool tokens and leave what they decided."""
    routing = Routing(None if real is None else real.flatten().nonzero().squeeze(1))
    slot.current = routing
    try:
        yield routing
    finally:
        slot.current = None
