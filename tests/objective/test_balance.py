"""The dual-alignment matrix: what the weights sum to, where they drift, and what the guard holds."""

import math

import pytest
import torch

from moon2.objective.balance import expert_preference, guarded_weights, load_balance, objective_weights, sparsity
from moon2.views import OBJECTIVES
from moon2.views import parse_objective as objective

EXPERTS, M = 4, len(OBJECTIVES)


def random_matrix(seed: int = 0) -> torch.Tensor:
    return torch.randn(EXPERTS, M, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def random_routing(samples: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, EXPERTS, dtype=torch.float64, generator=generator).softmax(dim=1)


def routing_of_each(samples: int = 3) -> dict[str, torch.Tensor]:
    return {name: random_routing(samples, seed) for seed, name in enumerate(OBJECTIVES)}


def test_preference_by_hand():
    preference = expert_preference(torch.tensor([[0.0, math.log(3.0)], [1.0, 1.0]]))
    assert preference.flatten().tolist() == pytest.approx([0.25, 0.75, 0.5, 0.5])


def test_objective_weights_by_hand():
    # Expert 0 prefers t→mm four to one over each other objective, expert 1 likes all alike.
    matrix = torch.tensor([[math.log(4.0), 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    even = torch.tensor([[0.5, 0.5]])
    routing = {name: even for name in OBJECTIVES}
    routing[objective("t→mm")] = torch.tensor([[0.9, 0.1], [0.7, 0.3]])  # on average 0.8 to expert 0, 0.2 to expert 1
    routing[objective("i→t")] = torch.tensor([[0.0, 1.0]])
    weights = objective_weights(matrix, routing)
    even_weight = 0.5 * (1 / 8) + 0.5 * (1 / 5)
    assert weights.tolist() == pytest.approx(
        [0.8 * (4 / 8) + 0.2 * (1 / 5), even_weight, even_weight, 1 / 5, even_weight]
    )


def test_weights_sum_to_one_under_one_routing_and_stay_between_0_and_1_under_any():
    same = random_routing(6, seed=7)
    assert objective_weights(random_matrix(), {name: same for name in OBJECTIVES}).sum().item() == pytest.approx(1)
    for seed in range(20):
        weights = objective_weights(5 * random_matrix(seed), routing_of_each())
        assert ((weights > 0) & (weights < 1)).all()
    untrained = objective_weights(torch.zeros(EXPERTS, M), routing_of_each())
    assert untrained.tolist() == pytest.approx([1 / M] * M)


def test_weights_shrink_together_when_experts_prefer_what_they_do_not_serve():
    """Why a guard is needed: the printed ω need not sum to 1, so descent can lower every weight at once."""
    matrix = torch.zeros(2, M)
    matrix[0, 0] = matrix[1, 1] = 5.0  # expert 0 prefers t→mm, expert 1 prefers i→mm ...
    routing = {name: torch.tensor([[0.5, 0.5]]) for name in OBJECTIVES}
    routing[objective("t→mm")], routing[objective("i→mm")] = (
        torch.tensor([[0.0, 1.0]]),
        torch.tensor([[1.0, 0.0]]),
    )  # ... served by the other
    weights = objective_weights(matrix, routing)
    assert weights.sum() < 0.1
    assert guarded_weights(weights, 0.5).sum().item() == pytest.approx(1)


def test_an_objective_without_samples_neither_takes_weight_nor_draws_it():
    matrix = random_matrix().requires_grad_()
    same = random_routing(4, seed=1)
    routing = {name: same for name in OBJECTIVES if name != objective("i→t")} | {objective("i→mm"): same[:0]}
    weights = objective_weights(matrix, routing)
    assert weights[1] == weights[3] == 0
    assert weights.sum().item() == pytest.approx(1)
    (weights * torch.arange(M)).sum().backward()
    assert (matrix.grad[:, [1, 3]] == 0).all()
    assert (matrix.grad[:, [0, 2, 4]] != 0).all()


def test_no_sample_of_any_objective_gives_no_weight():
    assert objective_weights(random_matrix(), {}).tolist() == [0] * M
    nothing = {name: torch.zeros(3, dtype=torch.bool) for name in OBJECTIVES}
    assert objective_weights(random_matrix(), routing_of_each(), nothing).tolist() == [0] * M


def test_samples_that_are_not_there_count_nowhere():
    """Left out by a mask or not given at all is the same, down to the gradients."""
    routing = routing_of_each(4)
    valid = {name: torch.tensor([True, False, True, seed % 2 == 0]) for seed, name in enumerate(OBJECTIVES)}
    valid[objective("i→t")] = torch.zeros(4, dtype=torch.bool)
    masked, picked = random_matrix().requires_grad_(), random_matrix().requires_grad_()
    one = objective_weights(masked, routing, valid)
    other = objective_weights(picked, {name: gates[valid[name]] for name, gates in routing.items()})
    torch.testing.assert_close(one, other)
    assert one[OBJECTIVES.index(objective("i→t"))] == 0 and (one > 0).sum() == M - 1
    for weights in (one, other):
        (weights * torch.arange(M)).sum().backward()
    torch.testing.assert_close(masked.grad, picked.grad)


def test_gradients_by_finite_differences():
    matrix = random_matrix().requires_grad_()
    routing = {name: value.requires_grad_() for name, value in routing_of_each(2).items()}

    def weights(matrix: torch.Tensor, *rows: torch.Tensor) -> torch.Tensor:
        return guarded_weights(objective_weights(matrix, dict(zip(OBJECTIVES, rows, strict=True))), 0.3)

    assert torch.autograd.gradcheck(weights, (matrix, *routing.values()))
    assert torch.autograd.gradcheck(sparsity, (matrix,))
    index = torch.tensor([[0, 1], [0, 2], [3, 0]])
    probabilities = random_routing(3, seed=3).requires_grad_()
    assigned = torch.zeros(3, EXPERTS, dtype=torch.float64).scatter(1, index, 1.0).sum(dim=0)
    # The number of tokens is no variable: a row of probabilities sums to 1, whatever the router's weights are.
    assert torch.autograd.gradcheck(
        lambda logits: load_balance(assigned, logits.softmax(dim=1).sum(dim=0)), (probabilities,)
    )


def test_guarded_weights_by_hand():
    # Normalised to 0.75 and 0.25, then half an equal split: 0.25 + 0.375 and 0.25 + 0.125.
    assert guarded_weights(torch.tensor([0.3, 0.1]), 0.5).tolist() == pytest.approx([0.625, 0.375])
    assert guarded_weights(torch.tensor([0.3, 0.1]), 0.0).tolist() == pytest.approx([0.75, 0.25])
    assert guarded_weights(torch.tensor([0.3, 0.1]), 1.0).tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("floor_share", [0.0, 0.2, 0.5, 1.0])
def test_no_weight_falls_below_the_floor(floor_share):
    for omega in ([1.0, 0, 0, 0, 0], [1e-30, 1e-38, 0, 0, 1e-4], [0.2] * M):
        weights = guarded_weights(torch.tensor(omega), floor_share)
        assert weights.sum().item() == pytest.approx(1)
        assert weights.min().item() >= floor_share / M - 1e-7


def test_the_guard_shares_the_weight_among_the_objectives_present():
    weights = guarded_weights(torch.tensor([0.3, 0.9, 0.1]), 0.5, present=torch.tensor([True, False, True]))
    assert weights.tolist() == pytest.approx([0.625, 0, 0.375])


def test_sparsity_is_the_mean_entropy_of_the_experts():
    half = -(0.5 * math.log(0.5) + 0.5 * math.log(0.5))
    quarter = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert sparsity(torch.tensor([[0.0, math.log(3.0)], [2.0, 2.0]])).item() == pytest.approx((quarter + half) / 2)
    assert sparsity(torch.zeros(EXPERTS, M)).item() == pytest.approx(math.log(M))
    assert sparsity(1000 * torch.eye(EXPERTS, M)).item() == 0


def balance_of(probabilities: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """L_aux of tokens with these probabilities [T, Z] and chosen experts [T, k]."""
    assigned = torch.zeros_like(probabilities).scatter(1, chosen, 1.0).sum(dim=0)
    return load_balance(assigned, probabilities.sum(dim=0))


def test_load_balance_by_hand_and_at_its_extremes():
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.1, 0.4]])
    index = torch.tensor([[0, 1], [0, 2]])
    # Shares of the four assignments 1/2, 1/4, 1/4; mean probabilities 0.6, 0.15, 0.25.
    expected = 3 * (0.5 * 0.6 + 0.25 * 0.15 + 0.25 * 0.25)
    assert balance_of(probabilities, index).item() == pytest.approx(expected)

    even = torch.full((4, 4), 0.25)
    assert balance_of(even, torch.tensor([[0, 1], [1, 2], [2, 3], [3, 0]])).item() == pytest.approx(1)
    collapsed = torch.tensor([[0.5, 0.5, 0.0, 0.0]]).repeat(4, 1)
    assert balance_of(collapsed, torch.tensor([[0, 1]] * 4)).item() == pytest.approx(4 / 2)
    assert balance_of(torch.zeros(0, 4), torch.zeros(0, 2, dtype=torch.long)).item() == 0


def test_the_sums_of_parts_of_a_batch_give_the_balance_of_the_whole():
    """Layers and kinds of rows stay apart: the sums have leading dimensions, and so has the result."""
    probabilities, index = random_routing(12, seed=1), torch.arange(24).view(12, 2) % 4
    assigned = torch.zeros_like(probabilities).scatter(1, index, 1.0)
    parts = [(assigned[part].sum(dim=0), probabilities[part].sum(dim=0)) for part in (slice(5), slice(5, 12))]
    whole = load_balance(sum(part[0] for part in parts), sum(part[1] for part in parts))
    assert whole.item() == pytest.approx(balance_of(probabilities, index).item())
    stacked = load_balance(*(torch.stack(tensors) for tensors in zip(*parts, strict=True)))
    assert stacked.tolist() == pytest.approx([load_balance(*part).item() for part in parts])


def test_descent_on_the_load_balance_moves_probability_off_the_overloaded_expert():
    logits = torch.zeros(6, 3, requires_grad=True)
    balance_of(logits.softmax(dim=1), torch.tensor([[0], [0], [0], [0], [1], [2]])).backward()
    after = (logits - logits.grad).softmax(dim=1).mean(dim=0)
    assert after[0] < 1 / 3 < after[1]
