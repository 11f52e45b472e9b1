"""Live tensors are counted from when they are made until they are freed."""

from __future__ import annotations

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from moon2.train.memory import MemoryMeter


def test_what_lives_at_once_is_counted_once() -> None:
    with MemoryMeter() as meter:
        first = torch.zeros(100)
        view = first[10:].view(9, 10)
        second = first + 1
        assert meter.live == 800
        del first, second
        assert meter.live == 400, "the view still holds the storage"
        del view
        assert meter.live == 0 and meter.peak == 800


def test_tensors_made_before_count_when_they_are_added() -> None:
    before = torch.zeros(50, dtype=torch.bfloat16)
    with MemoryMeter() as meter:
        before.add_(1)
        meter.add([before, before.view(5, 10)])
        assert meter.live == 100


def test_the_marked_part_of_the_peak_is_told() -> None:
    with MemoryMeter() as meter:
        kept = torch.zeros(100)
        meter.mark(kept)
        large = torch.zeros(1000)
        del large
        assert (meter.live, meter.marked) == (400, 400)
        del kept
        assert (meter.marked, meter.peak, meter.marked_at_peak) == (0, 4400, 400)


def test_a_storage_that_is_emptied_and_filled_again_counts_its_size() -> None:
    with MemoryMeter() as meter:
        tensor = torch.zeros(100)
        tensor.untyped_storage().resize_(0)
        assert meter.live == 0
        tensor.untyped_storage().resize_(400)
        assert meter.live == 400


def test_fake_tensors_count_what_real_ones_would() -> None:
    def peak() -> int:
        with MemoryMeter() as meter:
            network = nn.Sequential(*(nn.Linear(64, 64) for _ in range(3)))
            network(torch.zeros(32, 64)).sum().backward()
        return int(meter.peak)

    real = peak()
    with FakeTensorMode():
        assert peak() == real > 3 * 64 * 65 * 4
