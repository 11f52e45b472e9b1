"""Upcycling changes nothing until training does; routing sends each token of each row, and no other, to k of Z."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from PIL import Image
from support.some_items import items_of, records, views_of
from torch import Tensor, nn

from moon2 import Encoder
from moon2.model.experts import Experts, ModalityExperts, expert_weights
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


def one_by_one(experts: Experts, tokens: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
    """Σ over the chosen experts of weight · expert(token), token by token."""
    outputs = []
    for token, numbers, shares in zip(tokens, chosen, weights, strict=True):
        output = torch.zeros_like(token)
        for expert, share in zip(numbers, shares, strict=True):
            gate, up = (experts.gate_up_proj[expert] @ token).chunk(2)
            output = output + share * (experts.down_proj[expert] @ (experts.act_fn(gate) * up))
        outputs.append(output)
    return torch.stack(outputs)


def test_experts_computed_one_by_one_and_grouped_are_the_same(encoder: Encoder) -> None:
    layer = expert_layers(encoder)[0]
    tokens = torch.randn(50, encoder.dimension, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        probabilities = layer.probabilities(tokens)
        chosen = layer.choose(probabilities)
        grouped = layer.mix(tokens, probabilities, chosen)
        wanted = one_by_one(layer.experts, tokens, chosen, expert_weights(probabilities, chosen))
    torch.testing.assert_close(grouped, wanted, rtol=1e-5, atol=1e-6)


def test_gradients_are_those_of_experts_one_by_one() -> None:
    """Three experts, the middle one without a token: it changes nothing, and gets no gradient."""
    generator = torch.Generator().manual_seed(0)
    experts = Experts(3, 8, 12, nn.SiLU())
    with torch.no_grad():
        for weight in experts.parameters():
            weight.normal_(generator=generator)
    tokens = torch.randn(7, 8, generator=generator, requires_grad=True)
    weights = torch.rand(7, 2, generator=generator, requires_grad=True)
    chosen = torch.tensor([[0, 2], [2, 0], [0, 2], [2, 0], [2, 0], [0, 2], [0, 2]])
    grouped, wanted = experts(tokens, chosen, weights), one_by_one(experts, tokens, chosen, weights)
    torch.testing.assert_close(grouped, wanted, rtol=1e-4, atol=1e-4)
    inputs = [tokens, weights, *experts.parameters()]
    ours, by_hand = (torch.autograd.grad(output.sin().sum(), inputs) for output in (grouped, wanted))
    for gradient, other in zip(ours, by_hand, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-3, atol=1e-3)
    assert all(not gradient[1].any() and gradient[0].any() and gradient[2].any() for gradient in ours[2:])


def test_what_was_chosen_before_is_chosen_again(encoder: Encoder, image: Callable[..., Image.Image]) -> None:
    """Whatever the router says now: a pass repeated for its gradients must send each token where it went."""
    batch = encoder.processor.batch(items_of(encoder, records(image)))
    with torch.no_grad():
        free = encoder.model(batch)
        chosen = {number: (routing.chosen + 1) % 4 for number, routing in free.layers.items()}
        told = encoder.model(batch, VIEWS, chosen)
        again = encoder.model(batch, VIEWS, {number: routing.chosen for number, routing in free.layers.items()})
    for number, routing in told.layers.items():
        assert torch.equal(routing.chosen, chosen[number])
    assert furthest(told, free) > 1e-3 and furthest(again, free) == 0


def test_gates_are_k_shares_of_one(new_encoder: Callable[..., Encoder], image: Callable[..., Image.Image]) -> None:
    found = views_of(new_encoder("qwen3_vl", experts={"count": 5, "active": 3}), records(image))
    assert list(found.layers) == [0, 1]
    for layer in found.layers.values():
        assert ((layer.gates > 0).sum(dim=1) == 3).all()
        torch.testing.assert_close(layer.gates.sum(dim=1), torch.ones(len(layer.gates)))
        torch.testing.assert_close(layer.probabilities.sum(dim=1), torch.ones(len(layer.gates)))
        assert (layer.gates.gather(1, layer.chosen) > 0).all()
        least = layer.probabilities.gather(1, layer.chosen).min(dim=1).values
        assert (least >= layer.probabilities.kthvalue(3, dim=1).values).all()


def test_nothing_but_the_tokens_of_the_items_reaches_the_experts(
    encoder: Encoder, image: Callable[..., Image.Image]
) -> None:
    """Each row alone sends as many tokens as it has: so there is no padding among what they send together."""
    items = items_of(encoder, records(image))
    seen: list[int] = []
    hooks = [
        layer.experts.register_forward_pre_hook(lambda _, arguments: seen.append(len(arguments[0])))
        for layer in expert_layers(encoder)
    ]
    with torch.no_grad():
        batches = [encoder.processor.batch(group) for group in (items, *([item] for item in items))]
        for batch in batches:
            encoder.model(batch)
    for hook in hooks:
        hook.remove()
    together, *alone = seen[::2]
    assert seen[1::2] == seen[::2], "both layers see the same tokens"
    # Of an item by hand: words twice where it has images, and each image's tokens between its markers.
    markers = sum(map(len, encoder.processor.family.image_markers(encoder.processor.tokenizer)))
    by_hand = [
        len(item.tokens) * (1 + bool(item.images)) + sum(image.tokens + markers for _, image in item.images)
        for item in encoder.processor.read(items)
    ]
    assert alone == by_hand and together == sum(by_hand)


def test_a_layer_that_is_not_there_is_named(new_encoder: Callable[..., Encoder]) -> None:
    with pytest.raises(ValueError, match=r"experts\.layers names layer 2; this decoder has layers 0 to 1"):
        new_encoder("tiny", experts={"layers": [0, 2]})


def test_gradient_reaches_every_expert_and_the_router(
    new_encoder: Callable[..., Encoder], image: Callable[..., Image.Image]
) -> None:
    encoder = new_encoder("tiny", experts={"count": 3, "active": 2})
    found = encoder.model(encoder.processor.batch(items_of(encoder, records(image))))
    # With equal experts the output does not depend on the router; the balancing loss's gradient then does.
    loss = found.vectors["mm"][:, 0].sum() + sum(layer.gates[:, 0].sum() for layer in found.layers.values())
    loss.backward()
    for layer in expert_layers(encoder):
        for weight in (layer.experts.gate_up_proj, layer.experts.down_proj):
            assert weight.grad is not None
            assert (weight.grad.flatten(1).abs().amax(dim=1) > 0).all()
        assert layer.router.weight.grad is not None
        assert (layer.router.weight.grad.abs().amax(dim=1) > 0).all()
