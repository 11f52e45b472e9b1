"""Cutting vectors: by hand, whatever their length was before, and where nothing is left."""

import pytest
import torch

from moon2.objective.matryoshka import shortened

VECTOR = torch.tensor([3.0, 4.0, 12.0])


def test_the_first_numbers_at_unit_length_again():
    assert shortened(VECTOR / 13, 2).tolist() == pytest.approx([0.6, 0.8])
    assert shortened(VECTOR, 2).tolist() == pytest.approx([0.6, 0.8]), "a multiple of it gives the same"


def test_the_whole_length_is_left_as_it_is():
    unit = VECTOR / 13
    assert shortened(unit, 3) is unit


def test_zeros_stay_zeros_and_break_no_gradient():
    """An item that lacks a view has zeros, which take part in no loss."""
    rows = torch.stack([torch.zeros(3), VECTOR]).requires_grad_()
    cut = shortened(rows, 2)
    assert cut[0].tolist() == [0, 0]
    (cut[1, 0] + 0 * cut[0].sum()).backward()
    assert rows.grad is not None and rows.grad[0].tolist() == [0, 0, 0]
    # d(x/|x|)/dx of the first number of (3, 4): (16/125, −12/125).
    assert rows.grad[1].tolist() == pytest.approx([16 / 125, -12 / 125, 0])
