"""What is learned of a teacher: by hand, what takes no part, and the gradient."""

from __future__ import annotations

import math

import pytest
import torch

from moon2.objective.teacher import teacher_loss

ALL = torch.ones(3, dtype=torch.bool)


def on_a_circle(*angles: float) -> torch.Tensor:
    """[N, 2] unit vectors."""
    return torch.tensor([[math.cos(angle), math.sin(angle)] for angle in angles], dtype=torch.float64)


def test_by_hand() -> None:
    """Three items, so two candidates each: softmax over two logits is a logistic function of their difference."""
    student, teacher = (0.0, 0.1, 0.3), (0.0, 0.3, 0.4)
    by_hand = []
    for anchor, (one, other) in enumerate([(1, 2), (0, 2), (0, 1)]):
        shares = []
        for angles, temperature in ((teacher, 0.05), (student, 0.07)):
            gap = math.cos(angles[anchor] - angles[one]) - math.cos(angles[anchor] - angles[other])
            shares.append(1 / (1 + math.exp(-gap / temperature)))
        taught, learned = shares
        by_hand.append(taught * math.log(taught / learned) + (1 - taught) * math.log((1 - taught) / (1 - learned)))
    s, t = on_a_circle(*student), on_a_circle(*teacher)
    assert teacher_loss(s, s, t, t, ALL).item() == pytest.approx(sum(by_hand) / 3)


def test_what_is_ranked_alike_by_other_numbers_costs_little_and_a_wrong_order_much() -> None:
    teacher = on_a_circle(0.0, 0.2, 0.9)
    alike, wrong = on_a_circle(0.0, 0.25, 1.0), on_a_circle(0.0, 0.9, 0.2)
    assert teacher_loss(alike, alike, teacher, teacher, ALL) < 0.3 < teacher_loss(wrong, wrong, teacher, teacher, ALL)


def test_an_item_that_takes_no_part_is_as_if_it_were_not_there() -> None:
    """Whatever its vectors are, neither the loss nor a gradient knows of it."""
    student, teacher = on_a_circle(0.0, 0.3, 0.7), on_a_circle(0.0, 0.5, 0.6)
    alone = teacher_loss(student, student, teacher, teacher, ALL)
    more = torch.cat([student[:1], on_a_circle(0.1), student[1:]]).requires_grad_()
    counts = torch.tensor([True, False, True, True])
    taught = torch.cat([teacher[:1], torch.zeros(1, 2, dtype=torch.float64), teacher[1:]])
    among = teacher_loss(more, more, taught, taught, counts)
    among.backward()
    torch.testing.assert_close(among, alone)
    assert more.grad is not None and (more.grad[1] == 0).all() and more.grad[0].abs().max() > 0


@pytest.mark.parametrize("number", [0, 1, 2])
def test_of_so_few_nothing_is_learned(number: int) -> None:
    """One candidate has the whole share in any model."""
    student, teacher = on_a_circle(0.0, 0.3, 0.7).requires_grad_(), on_a_circle(0.0, 0.5, 0.6)
    loss = teacher_loss(student, student, teacher, teacher, torch.arange(3) < number)
    loss.backward()
    assert loss == 0 and student.grad is not None and (student.grad == 0).all()


def test_gradient_by_finite_differences() -> None:
    draw = torch.Generator().manual_seed(0)
    anchors, candidates, *teacher = (torch.randn(4, 3, dtype=torch.float64, generator=draw) / 3 for _ in range(4))
    counts = torch.tensor([True, True, False, True])
    inputs = (anchors.requires_grad_(), candidates.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, c: teacher_loss(a, c, *teacher, counts), inputs)
