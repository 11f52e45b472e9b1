"""The adapter of a LoRA run as a folder in peft's layout, for those who keep one base and many adapters.

It holds all that was trained: adapters, routers and W*. `peft.PeftModel.from_pretrained` puts it on the network that
the run began with.

peft keeps the pairs of a stack of Z experts in two matrices, A [Z · r, in] and B [out, r · Z], and nests the adapters
of one module in the order of its weights. It has no place for W*, which no vector needs, and passes over it.
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from moon2.model.lora import adapters
from moon2.model.moon_model import MoonModel

PREFIX = "base_model.model."
CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"


def save_adapter(model: MoonModel, folder: Path, weights: dict[str, Tensor] | None = None) -> None:
    """Writes what was trained of a network with adapters.

    Args:
        model: with adapters.
        folder: made if it is not there.
        weights: in the place of the network's own, such as those gathered from several devices.
    """
    state = model.state_dict() if weights is None else weights
    found = list(adapters(model))
    _, _, any_adapter = found[0]
    rank = any_adapter.A.shape[-2]
    linear = [name.removesuffix(".weight") for name, _, _ in found if name.endswith(".weight")]
    stacks = [name for name, _, _ in found if not name.endswith(".weight")]
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": any_adapter.scale * rank,
        "target_modules": linear,
        "target_parameters": stacks,
        "modules_to_save": ["router"] if stacks else None,
        "inference_mode": True,
    }
    tensors = {}
    for name in _trained(model):
        tensors[_peft_name(name)] = _peft_layout(name, state[name].detach()).contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / WEIGHTS_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=1))


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def _peft_name(name: str) -> str:
    """….q_proj.adapter.A → ….q_proj.lora_A.weight; that of a stack's first weight is nested one deeper."""
    module, is_adapter, rest = name.partition(".adapter.")
    if not is_adapter:
        return PREFIX + name
    nested = ".base_layer" if rest.startswith("gate_up_proj.") else ""
    return f"{PREFIX}{module}{nested}.lora_{rest[-1]}.weight"


def _peft_layout(name: str, weight: Tensor) -> Tensor:
    """[Z, r, in] → [Z · r, in]; [Z, out, r] → [out, r · Z]; a matrix as it is."""
    if weight.dim() < 3:
        return weight
    return weight.flatten(0, 1) if name.endswith(".A") else weight.permute(1, 2, 0).flatten(1)
