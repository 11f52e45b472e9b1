"""The sum of all parts, and what the balance modes do to the weights over training."""

import math
from dataclasses import replace

import pytest
import torch

from moon2.objective.balance import objective_weights
from moon2.objective.total import LossParts, total_loss
from moon2.recipe import AlignmentSettings
from moon2.views import OBJECTIVES, Objective
from moon2.views import parse_objective as objective

PAPER = AlignmentSettings(balance="paper", load_balance_weight=0.1, sparsity_weight=0.01)
GUARDED = AlignmentSettings(balance="guarded", floor_share=0.5, load_balance_weight=0.1, sparsity_weight=0.01)
MINIMAX = replace(GUARDED, balance="minimax")
OMEGA = torch.tensor([0.1, 0.2, 0.3, 0.1, 0.1], dtype=torch.float64)
ZERO = torch.zeros(())
M = len(OBJECTIVES)


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def two_samples_each() -> dict[Objective, torch.Tensor]:
    return {name: column(m, m + 2.0) for m, name in enumerate(OBJECTIVES)}  # means 1, 2, 3, 4, 5


def values(parts: dict[Objective, torch.Tensor]) -> list[float]:
    return [parts[name].item() for name in OBJECTIVES]


def test_total_as_printed_by_hand():
    parts = total_loss(two_samples_each(), OMEGA, torch.tensor(1.5), torch.tensor(0.7), PAPER)
    assert values(parts.by_objective) == pytest.approx([1, 2, 3, 4, 5])
    assert values(parts.weight_by_objective) == pytest.approx([0.5, 1.0, 1.5, 0.5, 0.5])  # five-fold ω
    aligned = 0.5 * 1 + 1.0 * 2 + 1.5 * 3 + 0.5 * 4 + 0.5 * 5
    assert parts.total.item() == pytest.approx(aligned + 0.1 * 1.5 + 0.01 * 0.7)
    assert (parts.load_balance.item(), parts.sparsity.item()) == pytest.approx((1.5, 0.7))


def test_total_guarded_by_hand():
    parts = total_loss(two_samples_each(), OMEGA, ZERO, ZERO, GUARDED)
    # ω sums to 0.8; its five-fold share 0.625, 1.25, 1.875, 0.625, 0.625, halfway to 1.
    weights = [0.8125, 1.125, 1.4375, 0.8125, 0.8125]
    assert values(parts.weight_by_objective) == pytest.approx(weights)
    assert parts.total.item() == pytest.approx(sum(w * loss for w, loss in zip(weights, [1, 2, 3, 4, 5], strict=True)))


def test_weighted_down_samples_count_less_between_products_and_alike_within():
    parts = total_loss(two_samples_each(), OMEGA, ZERO, ZERO, PAPER, sample_weights=column(1.0, 0.25))
    inter = [(1.0 * m + 0.25 * (m + 2)) / 1.25 for m in range(3)]
    assert values(parts.by_objective) == pytest.approx([*inter, 4, 5])


def test_weighing_every_sample_down_alike_changes_nothing():
    full = total_loss(two_samples_each(), OMEGA, ZERO, ZERO, GUARDED)
    down = total_loss(two_samples_each(), OMEGA, ZERO, ZERO, GUARDED, sample_weights=column(1e-6, 1e-6))
    assert down.total.item() == pytest.approx(full.total.item())


def test_samples_that_are_not_valid_are_not_averaged():
    losses = two_samples_each()
    losses[objective("i→mm")] = column(4.0, math.nan)
    losses[objective("i→mm")].requires_grad_()
    parts = total_loss(
        losses,
        OMEGA,
        ZERO,
        ZERO,
        PAPER,
        sample_weights=column(0.5, 1.0),
        valid={objective("i→mm"): torch.tensor([True, False])},
    )
    parts.total.backward()
    assert parts.by_objective[objective("i→mm")].item() == pytest.approx(4)
    assert losses[objective("i→mm")].grad.tolist() == pytest.approx([M * 0.2, 0])


@pytest.mark.parametrize("missing", ["no key", "no rows", "no valid rows"])
@pytest.mark.parametrize("settings", [PAPER, GUARDED, MINIMAX], ids=["paper", "guarded", "minimax"])
def test_an_objective_without_samples_drops_out_and_leaves_the_others_their_scale(settings, missing):
    losses, valid = two_samples_each(), {}
    if missing == "no key":
        del losses[objective("i→mm")]
    elif missing == "no rows":
        losses[objective("i→mm")] = losses[objective("i→mm")][:0]
    else:
        valid[objective("i→mm")] = torch.tensor([False, False])
    routing = {name: torch.tensor([[0.5, 0.5]]) for name in OBJECTIVES if name != objective("i→mm")}
    matrix = torch.zeros(2, M, requires_grad=True)
    weights = None if missing == "no rows" else column(1.0, 1.0)
    parts = total_loss(
        losses, objective_weights(matrix, routing), ZERO, ZERO, settings, sample_weights=weights, valid=valid
    )
    assert values(parts.weight_by_objective) == pytest.approx([1, 0, 1, 1, 1])
    assert parts.by_objective[objective("i→mm")].isnan(), "0 would be a perfect loss"
    assert parts.total.item() == pytest.approx(1 + 3 + 4 + 5)
    parts.total.backward()
    assert (matrix.grad[:, 1] == 0).all()  # an objective that costs nothing today draws no weight


@pytest.mark.parametrize("settings", [PAPER, GUARDED, MINIMAX], ids=["paper", "guarded", "minimax"])
def test_a_batch_without_any_sample_still_has_the_router_losses(settings):
    parts = total_loss({}, torch.zeros(M), torch.tensor(1.0), torch.tensor(2.0), settings)
    assert parts.total.item() == pytest.approx(0.1 * 1.0 + 0.01 * 2.0)


@pytest.mark.parametrize("settings", [PAPER, GUARDED], ids=["paper", "guarded"])
def test_gradient_by_finite_differences(settings):
    losses = [value.requires_grad_() for value in two_samples_each().values()]
    omega, router = OMEGA.clone().requires_grad_(), [column(1.2).requires_grad_(), column(0.4).requires_grad_()]

    def total(omega: torch.Tensor, aux: torch.Tensor, sparse: torch.Tensor, *rows: torch.Tensor) -> torch.Tensor:
        named = dict(zip(OBJECTIVES, rows, strict=True))
        return total_loss(named, omega, aux.sum(), sparse.sum(), settings, sample_weights=column(1.0, 0.3)).total

    assert torch.autograd.gradcheck(total, (omega, *router, *losses))


# What descent on W* does to the weights. The model stands still: L_m stays 3, 2, 1, 4, 5, so mm→mm is the easiest.
LOSS_OF = dict(zip(OBJECTIVES, (3.0, 2.0, 1.0, 4.0, 5.0), strict=True))


def descend(matrix: torch.Tensor, settings: AlignmentSettings, steps: int, rate: float = 0.5) -> LossParts:
    """Gradient steps on W* alone under fixed losses and one routing; the parts at the matrix reached."""
    routing = {name: torch.tensor([[0.4, 0.3, 0.2, 0.1]]) for name in OBJECTIVES}
    losses = {name: torch.tensor([value]) for name, value in LOSS_OF.items()}

    def parts() -> LossParts:
        return total_loss(losses, objective_weights(matrix, routing), ZERO, ZERO, settings)

    for _ in range(steps):
        (gradient,) = torch.autograd.grad(parts().total, matrix)
        matrix = (matrix - rate * gradient).detach().requires_grad_()
    return parts()


def test_one_step_as_printed_moves_weight_to_the_easiest_objective():
    after = descend(torch.zeros(4, M, requires_grad=True), PAPER, steps=1).weight_by_objective
    assert max(after, key=lambda name: after[name].item()) == objective("mm→mm")
    assert after[objective("mm→mm")] > 1
    # And the harder an objective, the more it loses.
    assert sorted(OBJECTIVES, key=lambda name: -after[name].item()) == sorted(OBJECTIVES, key=LOSS_OF.__getitem__)


def test_many_steps_as_printed_give_up_the_hard_objectives_and_guarded_keeps_the_floor():
    start = torch.zeros(4, M, requires_grad=True)
    printed = descend(start, PAPER, steps=400).weight_by_objective
    guarded = descend(start, GUARDED, steps=400).weight_by_objective
    assert printed[objective("t→i")] < 0.1 < 3 < printed[objective("mm→mm")]
    assert min(values(guarded)) >= 0.5 - 1e-6
    assert sum(values(guarded)) == pytest.approx(M)


def test_minimax_weighs_as_guarded_does_and_descends_the_other_way():
    """The same weights in the same state; but a step moves weight to the hardest, down to the floor elsewhere."""
    start = torch.randn(4, M, generator=torch.Generator().manual_seed(0)).requires_grad_()
    same, guarded = (descend(start, settings, steps=0) for settings in (MINIMAX, GUARDED))
    assert same.total == guarded.total and same.weight_by_objective == guarded.weight_by_objective
    after = descend(torch.zeros(4, M, requires_grad=True), MINIMAX, steps=1).weight_by_objective
    assert sorted(OBJECTIVES, key=lambda name: after[name].item()) == sorted(OBJECTIVES, key=LOSS_OF.__getitem__)
    at_the_end = descend(torch.zeros(4, M, requires_grad=True), MINIMAX, steps=400).weight_by_objective
    assert max(at_the_end, key=lambda name: at_the_end[name].item()) == objective("t→i")
    assert min(values(at_the_end)) >= 0.5 - 1e-6


@pytest.mark.parametrize("balance", ["minimax", "minimax_routing"])
def test_minimax_reverses_the_gradient_of_the_matrix_and_of_the_routing_where_it_may(balance):
    def slopes(balance: str) -> tuple[torch.Tensor, ...]:
        matrix = torch.randn(2, M, generator=torch.Generator().manual_seed(1)).requires_grad_()
        routing = torch.tensor([[0.3, 0.7]]).requires_grad_()
        losses = {name: value.requires_grad_() for name, value in two_samples_each().items()}
        del losses[objective("i→mm")]  # an objective that is absent takes no weight and gives no slope
        omega = objective_weights(
            matrix, {name: routing for name in losses}, moves_routing=balance in ("guarded", "minimax_routing")
        )
        parts = total_loss(losses, omega, ZERO, ZERO, replace(GUARDED, balance=balance))
        assert parts.weight_by_objective[objective("i→mm")] == 0
        wanted = (matrix, routing, *losses.values())
        of_matrix, of_routing, *of_losses = torch.autograd.grad(parts.total, wanted, materialize_grads=True)
        assert (of_matrix[:, 1] == 0).all()
        return of_matrix, of_routing, torch.stack(of_losses)

    guarded, found = slopes("guarded"), slopes(balance)
    assert torch.equal(found[0], -guarded[0])
    assert guarded[1].abs().min() > 0
    assert torch.equal(found[1], torch.zeros_like(guarded[1]) if balance == "minimax" else -guarded[1])
    assert torch.equal(found[2], guarded[2]), "the network learns of each objective as before"


def test_fixed_shares_weigh_the_objectives_that_are_there_by_hand():
    """MOON's 12:3:2: of three objectives, each weight is three times its share of 17."""
    shares = {"t→mm": 3.0, "i→mm": 12.0, "mm→mm": 2.0}
    fixed = AlignmentSettings(balance="fixed", objectives=shares, load_balance_weight=0.0, sparsity_weight=0.0)
    losses = {name: loss for name, loss in two_samples_each().items() if str(name) in shares}
    parts = total_loss(losses, OMEGA, ZERO, ZERO, fixed)
    assert values(parts.weight_by_objective) == pytest.approx([9 / 17, 36 / 17, 6 / 17, 0, 0])
    assert parts.total.item() == pytest.approx((9 * 1 + 36 * 2 + 6 * 3) / 17)
    without_images = total_loss({objective("t→mm"): losses[objective("t→mm")]}, OMEGA, ZERO, ZERO, fixed)
    assert values(without_images.weight_by_objective) == pytest.approx([1, 0, 0, 0, 0])
