"""Dynamic sample filtering: which triplets are believed, and when."""

import math

import pytest
import torch

from moon2.objective.sample_filter import margin_at, reliability, sample_weights


def test_reliability_by_hand():
    phi = reliability(torch.tensor([0.8, 0.2]), torch.tensor([0.3, 0.6]), margin=0.1, sharpness=10.0)
    # Gaps of 0.5 and -0.4, less the margin.
    assert phi.tolist() == pytest.approx([1 / (1 + math.exp(-10 * 0.4)), 1 / (1 + math.exp(10 * 0.5))])


def test_reliability_is_monotone_in_both_similarities_and_in_the_margin():
    rising, still = torch.linspace(-1, 1, 21), torch.zeros(21)
    assert (reliability(rising, still, 0.1, 10.0).diff() > 0).all()
    assert (reliability(still, rising, 0.1, 10.0).diff() < 0).all()
    by_margin = [reliability(still[:1], still[:1], margin, 10.0).item() for margin in (-0.2, 0.0, 0.1, 0.3, 0.8)]
    assert by_margin == sorted(by_margin, reverse=True)
    assert len(set(by_margin)) == 5


def test_a_triplet_at_the_margin_is_half_believed_and_one_without_negative_fully():
    assert reliability(torch.tensor([0.5]), torch.tensor([0.25]), 0.25, 10.0).item() == pytest.approx(0.5)
    assert reliability(torch.tensor([0.1]), torch.tensor([-torch.inf]), 0.3, 10.0).item() == 1


def test_reliability_gradient_by_finite_differences():
    positive = torch.tensor([0.7, 0.1], dtype=torch.float64, requires_grad=True)
    negative = torch.tensor([0.2, 0.3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p, n: reliability(p, n, 0.1, 10.0), (positive, negative))


def test_half_precision_similarities_are_compared_in_float32():
    phi = reliability(torch.tensor([0.5]).bfloat16(), torch.tensor([0.25]).bfloat16(), 0.2, 10.0)
    assert phi.dtype == torch.float32
    assert phi.item() == pytest.approx(1 / (1 + math.exp(-0.5)))


def test_sample_weights_are_phi_below_the_threshold_and_one_from_it_on():
    phi = torch.tensor([0.05, 0.59, 0.6, 0.95])
    assert sample_weights(phi, 0.6).tolist() == pytest.approx([0.05, 0.59, 1, 1])
    assert sample_weights(phi, 0.0).tolist() == [1, 1, 1, 1]


def test_no_gradient_goes_through_the_weights():
    positive = torch.tensor([0.1, 0.9], requires_grad=True)
    weights = sample_weights(reliability(positive, torch.tensor([0.5, 0.1]), 0.0, 10.0), 0.6)
    assert not weights.requires_grad
    (weights * positive).sum().backward()
    assert torch.equal(positive.grad, weights)


def test_the_margin_goes_from_start_to_end_in_a_line():
    margins = [margin_at(step, 5, start=0.4, end=0.0) for step in range(5)]
    assert margins == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.0])
    assert margin_at(9, 5, start=0.4, end=0.0) == 0.0
    assert margin_at(0, 1, start=0.4, end=0.0) == 0.4


def test_a_hard_triplet_counts_in_full_only_late():
    gap = torch.tensor([0.15])
    early, late = (
        sample_weights(reliability(gap, torch.zeros(1), margin_at(step, 100, 0.3, 0.0), 10.0), 0.6) for step in (0, 99)
    )
    assert early < 0.2
    assert late == 1
