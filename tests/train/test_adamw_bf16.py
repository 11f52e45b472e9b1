"""AdamW in bfloat16: it learns as float32 does, rounding to nearest does not, and a resumed run is the same run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.benchmark_scripts import load_script
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._python_dispatch import TorchDispatchMode

from moon2 import Encoder
from moon2.catalog.store import Catalog
from moon2.model.items import Item
from moon2.recipe import Recipe
from moon2.train import adamw_bf16
from moon2.train.adamw_bf16 import AdamWBf16, draw_noise, round_stochastically
from moon2.train.batches import ChunkLayout, TripletExample, TripletOutline, collate
from moon2.train.step import triplet_loss
from moon2.train.train import run_training

DENSE = ("experts.layers=[]", "experts.count=1", "experts.active=1")
WORDS = ("navy", "red", "green", "black", "shirt", "shoes", "bag", "dress")


def weights(dtype: torch.dtype = torch.bfloat16) -> list[nn.Parameter]:
    """Three parameters with gradients; always the same ones."""
    random = torch.Generator().manual_seed(0)
    shapes = ((30, 20), (7,), (4, 5, 6))
    parameters = [nn.Parameter((0.02 * torch.randn(shape, generator=random)).to(dtype)) for shape in shapes]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=random).to(dtype)
    return parameters


def steps(optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
    """Steps by gradients that are a function of the step."""
    for step in range(first, last):
        random = torch.Generator().manual_seed(step)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.randn(parameter.shape, generator=random).to(parameter.dtype)
        optimizer.step()


def nearest(values: Tensor, noise: Tensor) -> Tensor:
    return values.bfloat16()


def all_equal(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


@pytest.mark.parametrize("value", [1.001, -0.02, 3e-9, 1e-39, 0.0, 1.5, -torch.inf])
def test_rounding_is_right_on_average(value: float) -> None:
    every = torch.arange(2**16, dtype=torch.int32)
    rounded = round_stochastically(torch.full((2, 2**16), value), every)
    assert rounded.dtype == torch.bfloat16 and len(rounded.unique()) <= 2, "only the two neighbours"
    assert rounded.double().mean() == float(torch.tensor(value)), "every noise once: exactly the value"


def test_what_is_no_number_does_not_become_one() -> None:
    # A GPU's NaN has all bits set, and a carry would make it zero.
    broken = torch.tensor([[2**31 - 1, -1]], dtype=torch.int32).view(torch.float32)
    assert broken.isnan().all()
    assert round_stochastically(broken, torch.full((2,), 2**16 - 1, dtype=torch.int32)).isinf().all()


def test_noise_is_uniform_over_weights_and_over_steps() -> None:
    draws = [draw_noise(4000, step, torch.Generator().manual_seed(1)) for step in range(400)]
    noise = torch.stack(draws).double() / 2**16
    assert noise.min() >= 0 and noise.max() < 1
    over_steps, over_weights = 0, 1
    # By chance alone, 400 draws of one weight would be off by 0.02 on average and by 0.08 for some weight.
    for way, tolerance in ((over_steps, 0.015), (over_weights, 0.04)):
        for share in (0.1, 0.5, 0.9):
            assert ((noise < share).double().mean(dim=way) - share).abs().max() < tolerance


def test_a_step_is_adamws_own_but_for_rounding() -> None:
    parameters = weights()
    before = [(parameter.detach().float(), parameter.grad.float()) for parameter in parameters]
    optimizer = AdamWBf16(parameters, lr=0.01, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1)
    optimizer.step()
    for parameter, (weight, gradient) in zip(parameters, before, strict=True):
        first, second = 0.1 * gradient, 0.01 * gradient**2
        update = (first / (1 - 0.9)) / ((second / (1 - 0.99)).sqrt() + 1e-8)
        state = optimizer.state[parameter]
        wanted = (weight * (1 - 0.01 * 0.1) - 0.01 * update, first, second)
        for found, value in zip((parameter, state["exp_avg"], state["exp_avg_sq"]), wanted, strict=True):
            # Neighbours are at most 2^-7 of the value apart.
            torch.testing.assert_close(found.detach().float(), value, rtol=2**-7, atol=1e-7)


def test_float32_parameters_move_exactly_as_under_adamw() -> None:
    ours, plain = weights(torch.float32), weights(torch.float32)
    beside = weights()  # in the same group, as the dual-alignment matrix is beside a bfloat16 backbone
    steps(AdamWBf16([*ours, *beside], lr=0.01, weight_decay=0.1), 0, 5)
    steps(torch.optim.AdamW(plain, lr=0.01, weight_decay=0.1, fused=True), 0, 5)
    assert all_equal(ours, plain)


def test_a_parameter_without_gradient_stays() -> None:
    parameters = weights()
    parameters[1].grad = None
    before = parameters[1].detach().clone()
    AdamWBf16(parameters, lr=0.01).step()
    assert torch.equal(parameters[1], before) and not torch.equal(parameters[0], weights()[0])


def test_large_tensors_are_cut_and_small_ones_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adamw_bf16, "round_stochastically", nearest)
    whole, cut = weights(), weights()
    steps(AdamWBf16(whole, lr=0.01), 0, 3)
    monkeypatch.setattr(adamw_bf16, "PORTION", 64)
    steps(AdamWBf16(cut, lr=0.01), 0, 3)
    assert all_equal(whole, cut)


def test_a_resumed_optimizer_ends_at_the_same_weights(tmp_path: Path) -> None:
    whole, first, second = (weights() for _ in range(3))
    optimizer = AdamWBf16(whole, lr=1e-4, seed=3)
    steps(optimizer, 0, 6)
    before = AdamWBf16(first, lr=1e-4, seed=3)
    steps(before, 0, 3)
    torch.save([first, before.state_dict()], tmp_path / "checkpoint")
    saved, state = torch.load(tmp_path / "checkpoint", weights_only=True)
    for parameter, value in zip(second, saved, strict=True):
        parameter.data.copy_(value)
    torch.manual_seed(5)  # noise is none of the process's own random numbers
    after = AdamWBf16(second, lr=1e-4, seed=3)
    after.load_state_dict(state)
    steps(after, 3, 6)
    assert all_equal(whole, second)
    other = weights()
    steps(AdamWBf16(other, lr=1e-4, seed=4), 0, 6)
    assert not all_equal(whole, other)


def test_a_killed_run_in_bfloat16_ends_as_if_never_killed(
    small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path
) -> None:
    settings = ("training.optimizer=adamw_bf16", "training.steps=4", "training.save_every=2")
    recipe = small_recipe("backbone.dtype=bfloat16", *settings)

    def killed(*arguments: Any) -> Any:
        if arguments[-1] == 3:
            raise KeyboardInterrupt
        return triplet_loss(*arguments)

    run_training(recipe, shop, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run_training(recipe, shop, tmp_path / "killed", loss=killed)
    run_training(recipe, shop, tmp_path / "killed", resume=True)
    whole, other = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "killed"))
    assert all_equal([*whole.values()], [*other.values()])
    assert {weight.dtype for weight in whole.values()} == {torch.bfloat16, torch.float32}


def test_the_state_takes_four_bytes_a_weight() -> None:
    parameters = weights()
    optimizer = AdamWBf16(parameters, lr=0.01)
    optimizer.step()
    state = [value for values in optimizer.state.values() for value in values.values()]
    number = sum(parameter.numel() for parameter in parameters)
    assert sum(value.numel() * value.element_size() for value in state) == 4 * number


def test_a_step_never_waits_for_the_device() -> None:
    class Seen(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.names: set[str] = set()

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.names.add(function.name())
            return function(*args, **(kwargs or {}))

    optimizer = AdamWBf16([*weights(), *weights(torch.float32)], lr=0.01)
    with Seen() as seen:
        steps(optimizer, 0, 2)
    assert "aten::_fused_adamw_" in seen.names
    assert not [name for name in seen.names if "_local_scalar_dense" in name or "nonzero" in name or "masked" in name]


def test_sharded_weights_move_as_whole_ones(mesh: DeviceMesh) -> None:
    whole = weights()
    sharded = [nn.Parameter(distribute_tensor(weight.detach().clone(), mesh)) for weight in whole]
    optimizers = AdamWBf16(whole, lr=0.01), AdamWBf16(sharded, lr=0.01)
    for weight, shard in zip(whole, sharded, strict=True):
        shard.grad = distribute_tensor(weight.grad, mesh)
    for optimizer in optimizers:
        optimizer.step()
    assert all_equal(whole, [shard.full_tensor() for shard in sharded])
    assert isinstance(optimizers[1].state[sharded[0]]["exp_avg_sq"], DTensor), "saved and resharded like the weight"


def test_rounded_to_nearest_a_falling_second_moment_comes_to_rest_too_high(monkeypatch: pytest.MonkeyPatch) -> None:
    def second_moment() -> float:
        """After one gradient of 10 and then 1,500 of 0.1."""
        parameter = nn.Parameter(torch.zeros(1000, dtype=torch.bfloat16))
        optimizer = AdamWBf16([parameter], lr=1e-5, betas=(0.9, 0.99))
        for step in range(1501):
            parameter.grad = torch.full_like(parameter, 10.0 if step == 0 else 0.1)
            optimizer.step()
        return float(optimizer.state[parameter]["exp_avg_sq"].float().mean())

    assert second_moment() == pytest.approx(0.01, rel=0.01)
    monkeypatch.setattr(adamw_bf16, "round_stochastically", nearest)
    assert second_moment() > 1.2 * 0.01


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_it_learns_as_float32_does_and_rounding_to_nearest_does_not(
    seed: int, new_encoder: Callable[..., Encoder], small_recipe: Callable[..., Recipe]
) -> None:
    """300 steps at 1e-5 on short texts: the loss within 1 % and the movement within 10 % of AdamW's in float32."""
    settings = (*DENSE, "backbone.tiny.layers=1", f"training.seed={seed}", "training.steps=300")
    recipe = small_recipe(*settings, "training.learning_rate=1e-5")
    encoder = new_encoder(*settings)
    random = Random(seed)
    items = [Item(" ".join(random.choices(WORDS, k=4))) for _ in range(64)]
    examples = [
        TripletExample(query, product, None, TripletOutline(str(number), None, frozenset()))
        for number, (query, product) in enumerate(zip(items[::2], items[1::2], strict=True))
    ]
    layout = ChunkLayout(encoder.processor)
    batches = [
        collate(part, [[example.outline for example in part]], layout)
        for part in (examples[start : start + 8] for start in range(0, 32, 8))
    ]
    train_copy = load_script("optimizer_rounding").train_copy
    single, lean, near = (
        train_copy(encoder.model, batches, recipe, kind) for kind in ("float32", "bfloat16", "nearest")
    )
    assert lean.loss == pytest.approx(single.loss, rel=0.01)
    assert lean.movement == pytest.approx(single.movement, rel=0.1)
    assert near.loss > 1.1 * single.loss
    assert near.movement < 0.5 * single.movement
