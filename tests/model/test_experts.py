"""Upcycling changes nothing until training does; routing sends each word, and no padding, to k of Z experts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image
from support.some_items import records, views_of
from torch import Tensor

from moon2 import Encoder
from moon2.model.experts import ModalityExperts
from moon2.model.moon_model import Views
from moon2.views import VIEWS


def furthest(left: Views, right: Views) -> float:
    return max(float((left.vectors[view] - right.vectors[view]).abs().max()) for view in VIEWS)


def expert_layers(encoder: Encoder) -> list[ModalityExperts]:
    return [module for module in encoder.model.modules() if isinstance(module, ModalityExperts)]


@pytest.mark.parametrize("backbone", ["qwen2_5_vl", "qwen3_vl", "smolvlm", "tiny"])
def test_upcycled_without_noise_is_the_dense_model(
    backbone: str, new_encoder: Callable[..., Encoder], image: Callable[..., Image.Image]
) -> None:
    dense = views_of(new_encoder(backbone, experts={"layers": []}), records(image))
    for count, active, layers in [(1, 1, None), (4, 2, None), (3, 3, [1]), (5, 1, [0])]:
        encoder = new_encoder(backbone, experts={"count": count, "active": active, "layers": layers})
        assert len(expert_layers(encoder)) == len(layers or [0, 1])
        assert furthest(dense, views_of(encoder, records(image))) < 1e-5


def test_noise_sets_the_experts_apart(new_encoder: Callable[..., Encoder], image: Callable[..., Image.Image]) -> None:
    dense = views_of(new_encoder("qwen3_vl", experts={"layers": []}), records(image))
    assert furthest(dense, views_of(new_encoder("qwen3_vl", experts={"noise": 0.3}), records(image))) > 1e-3


def test_experts_computed_one_by_one_and_grouped_are_the_same(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = expert_layers(encoder)[0]
    tokens = torch.randn(50, encoder.dimension, generator=torch.Generator().manual_seed(0))
    config: Any = layer.experts.config
    results: dict[str, Tensor] = {}
    for implementation in ("eager", "grouped_mm"):
        monkeypatch.setattr(config, "_experts_implementation", implementation)
        with torch.no_grad():
            results[implementation], _ = layer(tokens)
    torch.testing.assert_close(results["eager"], results["grouped_mm"], rtol=1e-5, atol=1e-6)


def test_gates_are_k_shares_of_one(new_encoder: Callable[..., Encoder], image: Callable[..., Image.Image]) -> None:
    found = views_of(new_encoder("qwen3_vl", experts={"count": 5, "active": 3}), records(image))
    assert len(found.passes) == 2
    for routing in found.passes:
        assert list(routing.layers) == [0, 1]
        for layer in routing.layers.values():
            assert ((layer.gates > 0).sum(dim=1) == 3).all()
            torch.testing.assert_close(layer.gates.sum(dim=1), torch.ones(len(layer.gates)))
            torch.testing.assert_close(layer.probabilities.sum(dim=1), torch.ones(len(layer.gates)))
            assert (layer.gates.gather(1, layer.chosen) > 0).all()
            least = layer.probabilities.gather(1, layer.chosen).min(dim=1).values
            assert (least >= layer.probabilities.kthvalue(3, dim=1).values).all()


def test_padding_never_reaches_the_experts(encoder: Encoder, image: Callable[..., Image.Image]) -> None:
    seen: list[int] = []
    hooks = [
        layer.experts.register_forward_pre_hook(lambda _, arguments: seen.append(len(arguments[0])))
        for layer in expert_layers(encoder)
    ]
    items = [encoder.processor.item(record) for record in records(image)]
    batch = encoder.processor.batch(items)
    assert batch.joint is not None and batch.text is not None
    with torch.no_grad():
        encoder.model(batch)
    for hook in hooks:
        hook.remove()
    assert not batch.joint.attention_mask.all() and not batch.text.attention_mask.all()
    assert seen == [int(batch.joint.attention_mask.sum())] * 2 + [int(batch.text.attention_mask.sum())] * 2


def test_a_layer_that_is_not_there_is_named(new_encoder: Callable[..., Encoder]) -> None:
    with pytest.raises(ValueError, match=r"experts\.layers names layer 2; this decoder has layers 0 to 1"):
        new_encoder("tiny", experts={"layers": [0, 2]})


def test_gradient_reaches_every_expert_and_the_router(
    new_encoder: Callable[..., Encoder], image: Callable[..., Image.Image]
) -> None:
    encoder = new_encoder("tiny", experts={"count": 3, "active": 2})
    items = [encoder.processor.item(record) for record in records(image)]
    found = encoder.model(encoder.processor.batch(items))
    # With equal experts the output does not depend on the router; the balancing loss's gradient then does.
    layers = [layer for routing in found.passes for layer in routing.layers.values()]
    loss = found.vectors["mm"][:, 0].sum() + sum(layer.gates[:, 0].sum() for layer in layers)
    loss.backward()
    for layer in expert_layers(encoder):
        for weight in (layer.experts.gate_up_proj, layer.experts.down_proj):
            assert weight.grad is not None
            assert (weight.grad.flatten(1).abs().amax(dim=1) > 0).all()
        assert layer.router.weight.grad is not None
        assert (layer.router.weight.grad.abs().amax(dim=1) > 0).all()
