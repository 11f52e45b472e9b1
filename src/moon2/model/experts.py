"""The modality-driven mixture of experts, and upcycling: how a dense decoder becomes one.

Every decoder layer's gated MLP is copied into Z experts behind a router (Komatsuzaki et al., 2023, "Sparse
Upcycling"). The router's weights for a token are renormalised over the k experts it is sent to, so they sum to one.
As long as the copies are equal, the layer computes exactly what the dense MLP did.

What the routers decide travels with the pass. No layer keeps anything between two calls.

Shapes: T tokens (packed rows, no padding), D width, I inner width, Z experts, k active experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from moon2.model.rows import select_rows
from moon2.recipe import ExpertSettings, RecipeError


@dataclass(frozen=True)
class LayerRouting:
    """What one layer's router decided.

    Attributes:
        probabilities: G [T, Z] float32, softmax over all experts (differentiable).
        chosen: [T, k] int64, the chosen experts.
    """

    probabilities: Tensor
    chosen: Tensor

    @property
    def gates(self) -> Tensor:
        """G̃ [T, Z] float32: the probabilities of the k chosen experts renormalised, others 0 (differentiable)."""
        weights = expert_weights(self.probabilities, self.chosen)
        return torch.zeros_like(self.probabilities).scatter(1, self.chosen, weights)


def expert_weights(probabilities: Tensor, chosen: Tensor) -> Tensor:
    """[T, Z], [T, k] → [T, k]: the probabilities of the chosen experts, renormalised to sum to one."""
    weights = probabilities.gather(1, chosen)
    return weights / weights.sum(dim=-1, keepdim=True)


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


class Experts(nn.Module):
    """Z gated MLPs with fused weights, computed for all experts at once by grouped matrix products.

    `gate_up_proj` [Z, 2I, D] holds each expert's gate over its up projection, `down_proj` [Z, D, I].
    """

    def __init__(self, count: int, width: int, inner: int, activation: nn.Module) -> None:
        super().__init__()
        self.act_fn = activation
        self.gate_up_proj = nn.Parameter(torch.empty(count, 2 * inner, width))
        self.down_proj = nn.Parameter(torch.empty(count, width, inner))

    def forward(self, tokens: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """[T, D], [T, k] int64, [T, k] → [T, D]: Σ over the k chosen experts of weight · expert(token).

        Under autocast the products are computed in its number format, as those of linear layers are.
        """
        device = tokens.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tokens.dtype
        count, active = len(self.gate_up_proj), chosen.shape[1]
        # Tokens of one expert together: `order` lists the places [token · k + slot], `place` undoes it.
        expert_of_place, order = chosen.flatten().sort(stable=True)
        place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
        experts = torch.arange(count, device=order.device)
        ends = (expert_of_place[:, None] <= experts).sum(dim=0, dtype=torch.int32)
        grouped = select_rows(tokens.to(dtype), order // active, place)
        gate, up = self.product("gate_up_proj", grouped, ends).chunk(2, dim=-1)
        output = self.product("down_proj", self.act_fn(gate) * up, ends)
        of_token = select_rows(output, place, order).view(*chosen.shape, -1)
        return (of_token * weights.to(dtype).unsqueeze(-1)).sum(dim=1).to(tokens.dtype)

    def product(self, name: str, rows: Tensor, ends: Tensor) -> Tensor:
        """Tokens [R, in], sorted by expert, times each expert's own part of a stack; in the tokens' number format."""
        return grouped_product(rows, getattr(self, name).to(rows.dtype), ends)


def grouped_product(rows: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    """Rows up to ends[z] (and from ends[z − 1] on) times weights[z]ᵀ: [R, D], [Z, O, D], [Z] int32 → [R, O]."""
    return functional.grouped_mm(rows, weights.transpose(-2, -1), offs=ends)


class ModalityExperts(nn.Module):
    """Takes the place of a decoder layer's MLP: routes each token to k of Z experts.

    G = softmax(W_g h) over Z experts, top k kept and renormalised to G̃, ĥ = Σ_z G̃_z f_z(h) (arXiv 2511.12449, MoE).
    """

    def __init__(self, dense: GatedMLP, settings: ExpertSettings) -> None:
        super().__init__()
        gate, up, down = dense.gate_proj.weight, dense.up_proj.weight, dense.down_proj.weight
        inner, width = gate.shape
        self.active = settings.active
        self.router = nn.Linear(width, settings.count, bias=False, device=gate.device, dtype=gate.dtype)
        self.experts = Experts(settings.count, width, inner, dense.act_fn).to(gate.device, gate.dtype)
        with torch.no_grad():
            nn.init.normal_(self.router.weight, std=0.02)
            self.experts.gate_up_proj.copy_(_noisy_copies(torch.cat([gate, up]), settings))
            self.experts.down_proj.copy_(_noisy_copies(down, settings))

    def probabilities(self, tokens: Tensor) -> Tensor:
        """G [T, Z] float32 of tokens [T, D]."""
        # The softmax over experts is taken in float32 whatever the weights are held in: k near-equal experts are
        # otherwise chosen by rounding.
        return self.router(tokens.to(self.router.weight.dtype)).float().softmax(dim=-1)

    def choose(self, probabilities: Tensor) -> Tensor:
        """The k most probable experts [T, k] of each token."""
        return probabilities.detach().topk(self.active, dim=-1).indices

    def mix(self, tokens: Tensor, probabilities: Tensor, chosen: Tensor) -> Tensor:
        """ĥ [T, D] of tokens [T, D] by the chosen experts [T, k]."""
        return self.experts(tokens, chosen, expert_weights(probabilities, chosen))


class ExpertDecoderLayer(nn.Module):
    """A decoder layer of the backbone, with experts in place of its MLP. It takes over the other parts as they are."""

    def __init__(self, dense: DenseLayer, settings: ExpertSettings) -> None:
        super().__init__()
        self.self_attn = dense.self_attn
        self.mlp = ModalityExperts(dense.mlp, settings)
        self.input_layernorm = dense.input_layernorm
        self.post_attention_layernorm = dense.post_attention_layernorm

    def forward(
        self, hidden_states: Tensor, *, chosen: Tensor | None = None, **attention: object
    ) -> tuple[Tensor, Tensor, Tensor]:
        """[1, T, D] → [1, T, D], G [T, Z] float32 and the chosen experts [T, k].

        Args:
            hidden_states: of the layer before.
            chosen: what was chosen in an earlier pass over the same tokens. A pass that is repeated for its gradients
                must not choose anew: another order of sums can tip the balance between near-equal experts.
            attention: what the decoder hands to its attention.
        """
        hidden_states, tokens, probabilities = self.attend(hidden_states, **attention)
        # Chosen between the halves, so that each of them computes the same whether a choice is made or repeated.
        if chosen is None:
            chosen = self.mlp.choose(probabilities)
        return self.mix(hidden_states, tokens, probabilities, chosen), probabilities, chosen

    def attend(self, hidden_states: Tensor, **attention: object) -> tuple[Tensor, Tensor, Tensor]:
        """The first half: the states after attention, what the experts get [T, D], and G [T, Z]."""
        attended, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **attention)
        hidden_states = hidden_states + attended
        tokens = self.post_attention_layernorm(hidden_states)[0]
        return hidden_states, tokens, self.mlp.probabilities(tokens)

    def mix(self, hidden_states: Tensor, tokens: Tensor, probabilities: Tensor, chosen: Tensor) -> Tensor:
        """The second half: the states after the experts."""
        return hidden_states + self.mlp.mix(tokens, probabilities, chosen)


def _noisy_copies(weight: Tensor, settings: ExpertSettings) -> Tensor:
    copies = weight.unsqueeze(0).repeat(settings.count, 1, 1)
    if settings.noise:
        copies = copies + settings.noise * weight.float().std().to(weight.dtype) * torch.randn_like(copies)
    return copies


def upcycle(layers: nn.ModuleList, settings: ExpertSettings) -> None:
    """Gives the named decoder layers experts that start as copies of their MLP, in place.

    Args:
        layers: the decoder's layers, each with a gated `mlp` (`gate_proj`, `up_proj`, `down_proj`).
        settings: Z, k, which layers, noise.

    Raises:
        RecipeError: a layer number is not there, or a layer's MLP cannot be copied.
    """
    chosen: Sequence[int] = range(len(layers)) if settings.layers is None else settings.layers
    for number in chosen:
        if not 0 <= number < len(layers):
            raise RecipeError(f"experts.layers names layer {number}; this decoder has layers 0 to {len(layers) - 1}")
        dense = cast(DenseLayer, layers[number])
        projections = [getattr(dense.mlp, name, None) for name in ("gate_proj", "up_proj", "down_proj")]
        if any(projection is None or projection.bias is not None for projection in projections):
            raise RecipeError(
                f"decoder layer {number} has a {type(dense.mlp).__name__}; moon2 upcycles gated MLPs without biases"
            )
        layers[number] = ExpertDecoderLayer(dense, settings)
