"""LoRA trains little, computes what the merged network computes, and is saved for moon2 and for peft."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from moon2 import Encoder
from moon2.model.adapter_folder import save_adapter
from moon2.model.lora import adapters, add_lora
from moon2.recipe import LoraSettings

ITEMS: list[Any] = [
    "navy shirt",
    {"text": "red women shoes", "image": Image.new("RGB", (40, 24), "red")},
    Image.new("RGB", (24, 48), "navy"),
]
SETTINGS = LoraSettings(rank=8, vision=True)


def trained_a_little(encoder: Encoder, settings: LoraSettings = SETTINGS) -> Encoder:
    """A copy with adapters that are no longer zero, and routers that moved."""
    result = copy.deepcopy(encoder)
    add_lora(result.model, settings)
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in result.model.parameters():
            if weight.requires_grad:
                weight += 0.05 * torch.randn(weight.shape, generator=random)
    return result


def test_new_adapters_change_nothing(encoder: Encoder) -> None:
    with_adapters = copy.deepcopy(encoder)
    add_lora(with_adapters.model, SETTINGS)
    np.testing.assert_array_equal(with_adapters.encode(ITEMS), encoder.encode(ITEMS))


def test_saved_it_is_an_ordinary_encoder_of_the_same_vectors(encoder: Encoder, tmp_path: Path) -> None:
    trained = trained_a_little(encoder)
    trained.save_pretrained(tmp_path)
    opened = Encoder.from_pretrained(tmp_path, device="cpu")
    assert opened.model.state_dict().keys() == encoder.model.state_dict().keys()
    np.testing.assert_allclose(opened.encode(ITEMS), trained.encode(ITEMS), atol=1e-5)
    assert np.abs(trained.encode(ITEMS) - encoder.encode(ITEMS)).max() > 0.01


def test_peft_reads_the_saved_adapter_to_the_same_vectors(encoder: Encoder, tmp_path: Path) -> None:
    """An independent implementation; it adds the adapters of a stack to the stack itself."""
    trained = trained_a_little(encoder)
    save_adapter(trained.model, tmp_path)
    base: Any = copy.deepcopy(encoder)
    base.model = peft.PeftModel.from_pretrained(base.model, tmp_path).base_model.model
    np.testing.assert_allclose(base.encode(ITEMS), trained.encode(ITEMS), atol=1e-5)


def test_a_saved_bfloat16_encoder_is_read_back_as_it_was_saved(
    new_encoder: Callable[..., Encoder], tmp_path: Path
) -> None:
    """Routers are trained in float32; what is saved of them is what is read."""
    trained = trained_a_little(new_encoder("tiny", "bfloat16"))
    trained.save_pretrained(tmp_path)
    opened = Encoder.from_pretrained(tmp_path, device="cpu").model.state_dict()
    saved = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(saved[name].to(torch.float32), opened[name].to(torch.float32)) for name in saved)
    assert {weight.dtype for name, weight in saved.items() if "router" in name} == {torch.bfloat16}


def test_what_is_trained(encoder: Encoder) -> None:
    """Adapters of every matrix of the decoder's layers, routers and W*; the vision tower on request."""
    model = copy.deepcopy(encoder).model
    add_lora(model, LoraSettings(rank=8))
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    adapted = {name.rpartition(".")[0] for _, name, _ in adapters(model)}
    apart = {name for name in trained if ".adapter." not in name}
    assert {name.rpartition(".layers.")[2] for name in apart} == {
        "0.mlp.router.weight",
        "1.mlp.router.weight",
        "dual_alignment",
    }
    assert {name.rpartition(".layers.")[2] for name in adapted} == {
        f"{layer}.{part}"
        for layer in (0, 1)
        for part in (*(f"self_attn.{name}_proj" for name in "qkvo"), "mlp.experts.adapter")
    }
    with_vision = copy.deepcopy(encoder).model
    add_lora(with_vision, SETTINGS)
    more = {name for _, name, _ in adapters(with_vision)} - {name for _, name, _ in adapters(model)}
    assert more and all("vis" in name for name in more)


def test_layers_without_experts_have_adapters_in_their_mlp(new_encoder: Callable[..., Encoder]) -> None:
    model = new_encoder("qwen3_vl", experts={"layers": [1]}).model
    add_lora(model, LoraSettings(rank=8))
    names = {name.rpartition(".layers.")[2] for _, name, _ in adapters(model)}
    assert {"0.mlp.gate_proj.adapter", "0.mlp.up_proj.adapter", "0.mlp.down_proj.adapter"} <= names


@pytest.mark.parametrize("autocast", [True, False], ids=["float32 weights under autocast", "bfloat16 weights"])
def test_in_bfloat16_the_adapters_stay_in_float32(new_encoder: Callable[..., Encoder], autocast: bool) -> None:
    whole = trained_a_little(new_encoder("tiny"))
    half = trained_a_little(new_encoder("tiny", "float32" if autocast else "bfloat16"))
    assert {weight.dtype for weight in half.model.parameters() if weight.requires_grad} == {torch.float32}
    with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
        vectors = half.encode(ITEMS)
    assert (vectors * whole.encode(ITEMS)).sum(axis=1).min() > 0.99
