"""The modality-driven mixture of experts, and upcycling: how a dense decoder becomes one.

Every decoder layer's gated MLP is copied into Z experts behind a router (Komatsuzaki et al., 2023, "Sparse
Upcycling"). The router's weights for a token are renormalised over the k experts it is sent to, so they sum to one.
As long as the copies are equal, the layer computes exactly what the dense MLP did. The experts hold fused weights and
speak transformers' experts interface, so its grouped kernels apply. Padding never reaches a router or an expert.

What the routers decide travels with the pass, as the argument `routing`. No layer keeps anything between two calls.

Shapes: B rows, S tokens a row, T tokens that are not padding, D width, I inner width, Z experts, k active experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.integrations.moe import use_experts_implementation
from transformers.modeling_layers import GradientCheckpointingLayer

from moon2.recipe import ExpertSettings, RecipeError


@dataclass(frozen=True)
class LayerRouting:
    """What one layer's router decided.

    Attributes:
        probabilities: G [T, Z] float32, softmax over all experts (differentiable).
        gates: G̃ [T, Z] float32, the probabilities of the k chosen experts renormalised, others 0 (differentiable).
        chosen: [T, k] int64, the chosen experts.
    """

    probabilities: Tensor
    gates: Tensor
    chosen: Tensor


@dataclass
class Routing:
    """Which tokens of a pass are routed, and what each layer with experts decided for them.

    Attributes:
        token_index: [T] int64, where the tokens that are not padding stand in the flattened [B·S].
        layers: by the number of the decoder layer, in the order in which they ran.
    """

    token_index: Tensor
    layers: dict[int, LayerRouting] = field(default_factory=dict)

    @classmethod
    def of(cls, attention_mask: Tensor) -> Routing:
        """An empty record for a pass with this mask, [B, S] bool."""
        return cls(attention_mask.flatten().nonzero().squeeze(1))


class GatedMLP(Protocol):
    """The MLP of a dense decoder layer."""

    gate_proj: nn.Linear
    up_proj: nn.Linear
    down_proj: nn.Linear
    act_fn: nn.Module


class DenseLayer(Protocol):
    """A decoder layer of the families that moon2 upcycles."""

    self_attn: nn.Module
    mlp: GatedMLP
    input_layernorm: nn.Module
    post_attention_layernorm: nn.Module


@use_experts_implementation
class Experts(nn.Module):
    """Z gated MLPs with fused weights.

    `gate_up_proj` [Z, 2I, D] holds each expert's gate over its up projection, `down_proj` [Z, D, I].
    """

    def __init__(self, config: Any, count: int, width: int, inner: int, activation: nn.Module) -> None:
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
    """Takes the place of a decoder layer's MLP: routes each token to k of Z experts.

    G = softmax(W_g h) over Z experts, top k kept and renormalised to G̃, ĥ = Σ_z G̃_z f_z(h) (arXiv 2511.12449, MoE).
    """

    def __init__(self, dense: GatedMLP, settings: ExpertSettings, config: Any) -> None:
        super().__init__()
        gate, up, down = dense.gate_proj.weight, dense.up_proj.weight, dense.down_proj.weight
        inner, width = gate.shape
        self.active = settings.active
        self.router = nn.Linear(width, settings.count, bias=False, device=gate.device, dtype=gate.dtype)
        self.experts = Experts(config, settings.count, width, inner, dense.act_fn).to(gate.device, gate.dtype)
        with torch.no_grad():
            nn.init.normal_(self.router.weight, std=0.02)
            self.experts.gate_up_proj.copy_(_noisy_copies(torch.cat([gate, up]), settings))
            self.experts.down_proj.copy_(_noisy_copies(down, settings))

    def forward(self, tokens: Tensor) -> tuple[Tensor, LayerRouting]:
        """[T, D] → [T, D], and what the router decided."""
        # The softmax over experts is taken in float32 whatever the weights are held in: k near-equal experts are
        # otherwise chosen by rounding.
        probabilities = self.router(tokens).float().softmax(dim=-1)
        weights, chosen = probabilities.topk(self.active, dim=-1)
        weights = weights / weights.sum(dim=-1, keepdim=True)
        gates = torch.zeros_like(probabilities).scatter(1, chosen, weights)
        output = self.experts(tokens, chosen, weights.to(tokens.dtype))
        return output, LayerRouting(probabilities, gates, chosen)


class ExpertDecoderLayer(GradientCheckpointingLayer):
    """A decoder layer of the backbone, with experts in place of its MLP. It takes over the other parts as they are."""

    def __init__(self, dense: DenseLayer, number: int, settings: ExpertSettings, config: Any) -> None:
        super().__init__()
        self.number = number
        self.self_attn = dense.self_attn
        self.mlp = ModalityExperts(dense.mlp, settings, config)
        self.input_layernorm = dense.input_layernorm
        self.post_attention_layernorm = dense.post_attention_layernorm

    def forward(self, hidden_states: Tensor, *, routing: Routing, **attention: object) -> Tensor:
        """[B, S, D] → [B, S, D]; padding passes the experts by.

        Args:
            hidden_states: of the layer before.
            routing: names the tokens to route, and receives this layer's decisions.
            attention: what the backbone hands to its attention: mask, positions, cache.
        """
        attended, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **attention)
        hidden_states = hidden_states + attended
        flat = self.post_attention_layernorm(hidden_states).reshape(-1, hidden_states.shape[-1])
        output, decision = self.mlp(flat.index_select(0, routing.token_index))
        routing.layers[self.number] = decision
        output = torch.zeros_like(flat).index_copy(0, routing.token_index, output.to(flat.dtype))
        return hidden_states + output.view_as(hidden_states)


def _noisy_copies(weight: Tensor, settings: ExpertSettings) -> Tensor:
    copies = weight.unsqueeze(0).repeat(settings.count, 1, 1)
    if settings.noise:
        copies = copies + settings.noise * weight.float().std().to(weight.dtype) * torch.randn_like(copies)
    return copies


def upcycle(layers: nn.ModuleList, settings: ExpertSettings, config: Any) -> None:
    """Gives the named decoder layers experts that start as copies of their MLP, in place.

    Args:
        layers: the decoder's layers, each with a gated `mlp` (`gate_proj`, `up_proj`, `down_proj`).
        settings: Z, k, which layers, noise.
        config: the decoder's transformers config; its experts implementation is set to one this device can run.

    Raises:
        RecipeError: a layer number is not there, or a layer's MLP cannot be copied.
    """
    chosen: Sequence[int] = range(len(layers)) if settings.layers is None else settings.layers
    config._experts_implementation = "grouped_mm"
    for number in chosen:
        if not 0 <= number < len(layers):
            raise RecipeError(f"experts.layers names layer {number}; this decoder has layers 0 to {len(layers) - 1}")
        dense = cast(DenseLayer, layers[number])
        projections = [getattr(dense.mlp, name, None) for name in ("gate_proj", "up_proj", "down_proj")]
        if any(projection is None or projection.bias is not None for projection in projections):
            raise RecipeError(
                f"decoder layer {number} has a {type(dense.mlp).__name__}; moon2 upcycles gated MLPs without biases"
            )
        layers[number] = ExpertDecoderLayer(dense, number, settings, config)
