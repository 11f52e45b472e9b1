"""Muon's step: orthogonal updates, stacks of matrices as single ones, AdamW's own parameters untouched by it."""

import pytest
import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import distribute_tensor

from moon2.recipe import RecipeError, TrainingSettings
from moon2.train.adamw_bf16 import AdamWBf16
from moon2.train.optimizer import MuonWithAdamW, learning_rate_at, make_optimizer, orthogonalize


def test_the_update_is_nearly_orthogonal_whatever_the_momentum():
    torch.manual_seed(0)
    for shape in ((12, 30), (30, 12)):
        badly_scaled = torch.randn(shape) @ torch.diag(torch.logspace(-1, 1, shape[1]))
        values = torch.linalg.svdvals(orthogonalize(badly_scaled))
        assert values.min() > 0.5
        assert values.max() < 1.3


def test_a_stack_of_experts_moves_as_each_expert_alone_would():
    torch.manual_seed(0)
    stack = torch.randn(4, 6, 10)
    together = orthogonalize(stack)
    for expert in range(4):
        torch.testing.assert_close(together[expert], orthogonalize(stack[expert]))


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(5, 8)
        self.layer = nn.Linear(8, 8)
        self.router = nn.Linear(8, 4, bias=False)
        self.dual_alignment = nn.Parameter(torch.zeros(4, 5))


def groups_by_name(optimizer: torch.optim.Optimizer, model: nn.Module) -> list[tuple[list[str], float]]:
    """Of each parameter group, its names and its weight decay."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [
        (sorted(names[id(parameter)] for parameter in group["params"]), group["weight_decay"])
        for group in optimizer.param_groups
    ]


def test_muon_moves_a_matrix_as_torchs_own_does():
    """Which works in bfloat16, on single matrices."""
    draw = torch.Generator().manual_seed(0)
    start = torch.randn(12, 20, generator=draw)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    options = {"momentum": 0.95, "adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.1}
    optimizers = (
        MuonWithAdamW([{"params": [ours], "muon": True, "weight_decay": 0.1}], lr=0.01),
        torch.optim.Muon([theirs], lr=0.01, **options),
    )
    for _ in range(4):
        gradient = torch.randn(12, 20, generator=draw)
        for weight, optimizer in zip((ours, theirs), optimizers, strict=True):
            weight.grad = gradient.clone()
            optimizer.step()
    assert (ours - theirs).norm() < 0.02 * (ours - start).norm()


def test_only_hidden_matrices_go_to_muon_and_preferences_do_not_decay():
    model = Small()
    muon = make_optimizer(model, TrainingSettings(optimizer="muon", weight_decay=0.1))
    assert groups_by_name(muon, model) == [
        (["layer.weight"], 0.1),
        (["embed_tokens.weight", "router.weight"], 0.1),
        (["layer.bias"], 0.0),
        (["dual_alignment"], 0.0),
    ]
    for name, kind in (("adamw", torch.optim.AdamW), ("adamw_bf16", AdamWBf16)):
        adamw = make_optimizer(model, TrainingSettings(optimizer=name, weight_decay=0.1))
        assert isinstance(adamw, kind)
        assert groups_by_name(adamw, model) == [
            (["embed_tokens.weight", "layer.weight", "router.weight"], 0.1),
            (["layer.bias"], 0.0),
            (["dual_alignment"], 0.0),
        ]


def test_muon_refuses_sharded_weights(mesh: DeviceMesh):
    model = Small()
    early, late = Small(), MuonWithAdamW([{"params": model.layer.parameters(), "muon": True}], lr=0.01)
    early.layer.weight = nn.Parameter(distribute_tensor(early.layer.weight.detach(), mesh))
    late.param_groups[0]["params"][0] = early.layer.weight  # accelerate shards after the optimizer is made
    with pytest.raises(RecipeError, match="does not work with sharded weights; use adamw"):
        make_optimizer(early, TrainingSettings(optimizer="muon"))
    with pytest.raises(RecipeError, match="does not work with sharded weights; use adamw"):
        late.step()


def test_the_rest_moves_exactly_as_under_adamw():
    torch.manual_seed(0)
    ours, plain = Small(), Small()
    plain.load_state_dict(ours.state_dict())
    settings = TrainingSettings(optimizer="muon", learning_rate=0.01, weight_decay=0.0)
    optimizers = (
        make_optimizer(ours, settings),
        torch.optim.AdamW(plain.parameters(), lr=0.01, betas=(0.9, 0.99), weight_decay=0.0),
    )
    for _ in range(3):
        for model, optimizer in zip((ours, plain), optimizers, strict=True):
            for name, parameter in model.named_parameters():
                parameter.grad = torch.full_like(parameter, len(name) / 10)
            optimizer.step()
    torch.testing.assert_close(ours.embed_tokens.weight, plain.embed_tokens.weight)
    torch.testing.assert_close(ours.dual_alignment, plain.dual_alignment)
    assert not torch.allclose(ours.layer.weight, plain.layer.weight)


def test_the_learning_rate_rises_over_the_warm_up_and_falls_to_nothing():
    settings = TrainingSettings(steps=100, warmup_steps=10, learning_rate=2.0)
    rates = [learning_rate_at(step, settings) for step in range(101)]
    assert rates[0] == 0 and rates[5] == 1.0 and rates[10] == 2.0
    assert rates[55] == 1.0, "half of the cosine is half of the rate"
    assert rates[100] == 0 and rates[10:] == sorted(rates[10:], reverse=True)
    assert learning_rate_at(0, TrainingSettings(warmup_steps=0, learning_rate=2.0)) == 2.0


@pytest.mark.parametrize("name", ["embed", "hidden"])
def test_a_run_that_trains_one_kind_of_weight_can_be_resumed(name: str):
    """Torch reads no checkpoint of an optimizer with two groups that hold nothing."""
    model = nn.ModuleDict({name: nn.Linear(4, 4, bias=False)})
    optimizer = make_optimizer(model, TrainingSettings(optimizer="muon"))
    assert [len(group["params"]) for group in optimizer.param_groups] == [1]
    weights, states = get_state_dict(model, optimizer)
    set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=states)


def test_momentum_survives_saving():
    torch.manual_seed(0)
    target = torch.randn(8, 8)

    def steps(model: nn.Linear, optimizer: MuonWithAdamW, number: int) -> None:
        for _ in range(number):
            optimizer.zero_grad()
            (model.weight - target).square().mean().backward()
            optimizer.step()

    def fresh(model: nn.Linear) -> MuonWithAdamW:
        return MuonWithAdamW([{"params": [model.weight], "muon": True}], lr=0.01)

    whole = nn.Linear(8, 8, bias=False)
    first, second = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
    first.load_state_dict(whole.state_dict())
    steps(whole, fresh(whole), 6)
    before = fresh(first)
    steps(first, before, 3)
    second.load_state_dict(first.state_dict())
    after = fresh(second)
    after.load_state_dict(before.state_dict())
    steps(second, after, 3)
    assert torch.equal(second.weight, whole.weight)
