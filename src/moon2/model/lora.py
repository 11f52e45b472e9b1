"""LoRA: a low-rank adapter is trained in the place of each weight (Hu et al., 2021, arXiv 2106.09685).

A product with W becomes one with W + (α / r) · B A, where A [r, in] and B [out, r] are trained and W stays as it is.
The adapter is computed as two thin products, and W + B A is never formed: for a stack of experts that would be a
second copy of the stack in every pass. A stack gets a pair an expert, through the same grouped products. Merged, the
network is an ordinary one again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from moon2.model.experts import Experts, grouped_product
from moon2.model.families import decoder_of
from moon2.model.moon_model import MoonModel
from moon2.recipe import LoraSettings


class Adapter(nn.Module):
    """What is added to one weight [out, in], or to each of a stack [Z, out, in]; it starts as zero.

    It is held in float32, whatever the weight is held in: it is small, and its updates are smaller.

    Attributes:
        A: [r, in] or [Z, r, in].
        B: [out, r] or [Z, out, r].
        scale: α / r.
    """

    def __init__(self, weight: Tensor, settings: LoraSettings, generator: torch.Generator) -> None:
        super().__init__()
        *stack, rows, columns = weight.shape
        bound = 1 / math.sqrt(columns)
        first = torch.empty(*stack, settings.rank, columns).uniform_(-bound, bound, generator=generator)
        self.A = nn.Parameter(first.to(weight.device))
        self.B = nn.Parameter(torch.zeros(*stack, rows, settings.rank, device=weight.device))
        self.scale = settings.alpha / settings.rank

    def factors(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """A and α / r · B, in the number format of the product they add to."""
        return self.A.to(dtype), (self.scale * self.B).to(dtype)


class AdaptedLinear(nn.Linear):
    """A linear layer with an adapter; it takes over the weight and the bias."""

    def __init__(self, base: nn.Linear, settings: LoraSettings, generator: torch.Generator) -> None:
        super().__init__(base.in_features, base.out_features, bias=base.bias is not None, device="meta")
        self.weight, self.bias = base.weight, base.bias
        self.adapter = Adapter(base.weight, settings, generator)

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., in] → [..., out]."""
        output = functional.linear(inputs, self.weight, self.bias)
        first, second = self.adapter.factors(output.dtype)
        return output + functional.linear(functional.linear(inputs, first), second)


class AdaptedExperts(Experts):
    """Experts with an adapter for each one's weights; it takes over the stacks."""

    def __init__(self, base: Experts, settings: LoraSettings, generator: torch.Generator) -> None:
        nn.Module.__init__(self)
        self.act_fn = base.act_fn
        self.gate_up_proj, self.down_proj = base.gate_up_proj, base.down_proj
        stacks = {"gate_up_proj": base.gate_up_proj, "down_proj": base.down_proj}
        self.adapter = nn.ModuleDict({name: Adapter(stack, settings, generator) for name, stack in stacks.items()})

    def product(self, name: str, rows: Tensor, ends: Tensor) -> Tensor:
        """As that of `Experts`, with the adapter."""
        first, second = cast(Adapter, self.adapter[name]).factors(rows.dtype)
        return super().product(name, rows, ends) + grouped_product(grouped_product(rows, first, ends), second, ends)


def add_lora(model: MoonModel, settings: LoraSettings, seed: int = 0) -> None:
    """Freezes a network, and gives it adapters that are trained in its place; in place.

    Every matrix of the decoder's layers gets one. Routers and W* are trained whole: an upcycled model begins with them
    at random or at zero. With `vision` the linear layers of the vision tower's blocks get adapters too.

    Args:
        model: with weights in any number format.
        settings: rank and scale.
        seed: of A.
    """
    model.requires_grad_(False)
    model.dual_alignment.requires_grad_(True)
    generator = torch.Generator().manual_seed(seed)
    _adapt(decoder_of(model.backbone, model.family).layers, settings, generator)
    if settings.vision:
        _adapt(model.backbone.get_submodule(model.family.vision_blocks), settings, generator)


def _adapt(module: nn.Module, settings: LoraSettings, generator: torch.Generator) -> None:
    for name, child in module.named_children():
        if name == "router":
            # In float32 like the adapters: FSDP wants one number format of all that is trained in a block.
            child.float().requires_grad_(True)
        elif isinstance(child, Experts):
            setattr(module, name, AdaptedExperts(child, settings, generator))
        elif isinstance(child, nn.Linear):
            setattr(module, name, AdaptedLinear(child, settings, generator))
        else:
            _adapt(child, settings, generator)


def adapters(model: nn.Module) -> Iterator[tuple[str, str, Adapter]]:
    """Each adapter after its name and that of its weight."""
    for name, module in model.named_modules():
        if isinstance(module, AdaptedLinear):
            yield f"{name}.weight", f"{name}.adapter", module.adapter
        elif isinstance(module, AdaptedExperts):
            for stack, adapter in module.adapter.items():
                yield f"{name}.{stack}", f"{name}.adapter.{stack}", cast(Adapter, adapter)


def merged(model: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the ordinary network that computes the same, W + α / r · B A; no adapters are left.

    Routers, which are trained in float32, come in the number format of the other weights, as they are read again.

    Args:
        model: whose weights they are.
        weights: its state dict, on any device.
    """
    result = dict(weights)
    for weight_name, name, adapter in adapters(model):
        first, second = (result.pop(f"{name}.{factor}").float() for factor in ("A", "B"))
        weight = result[weight_name]
        result[weight_name] = (weight.float() + adapter.scale * second @ first).to(weight.dtype)
        router = f"{weight_name.rpartition('.experts.')[0]}.router.weight"
        if router in result:
            result[router] = result[router].to(weight.dtype)
    return result
