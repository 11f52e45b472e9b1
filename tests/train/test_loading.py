"""With workers or without, the same batches come in the same order; waiting is counted and memory is bounded."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
import torch
from support.some_batches import Numbers, SlowNumbers
from torch import Tensor

from moon2 import Encoder
from moon2.catalog.store import Catalog, CatalogError
from moon2.catalog.triplets import training_triplets
from moon2.recipe import AugmentationSettings, ImageTransformSettings
from moon2.train.batches import ChunkLayout
from moon2.train.loading import Loader, LoadingError, make_loader
from moon2.train.stream import TripletBatches, TripletStream

PLENTY = 10**9


def numbers(loader: Loader[Numbers]) -> list[int]:
    return [int(batch.numbers["numbers"][0][0]) for batch in loader]


def same(one: Any, other: Any) -> bool:
    """Whether two batches, as dictionaries, are equal to the bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, Tensor) else bool(one == other)


def test_workers_give_the_batches_of_training_in_order(shop: Catalog, new_encoder: Callable[..., Encoder]) -> None:
    processor = new_encoder().processor
    processor.batch([processor.item("navy shirt")])  # the tokenizer's threads are running, which no fork survives
    stream = TripletStream(
        training_triplets(shop),
        shop,
        processor,
        ImageTransformSettings(flip=True, crop=0.2),
        AugmentationSettings(),
        length=28,
        seed=0,
    )
    batches = TripletBatches(stream, 4, ChunkLayout(processor))
    wanted = [asdict(batches[number]) for number in range(len(batches))]
    assert len(wanted) == 7
    for start in (0, 2):
        loader = Loader(batches, 2, memory=PLENTY, start=start)
        loaded = [asdict(batch) for batch in loader]
        assert len(loaded) == 7 - start
        assert all(same(one, other) for one, other in zip(loaded, wanted[start:], strict=True))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("bad", [0, 2])
def test_an_error_of_the_data_arrives_as_it_was_raised(workers: int, bad: int) -> None:
    loader, loaded = Loader(SlowNumbers(5, bad=bad), workers, memory=PLENTY), []
    with pytest.raises(CatalogError) as caught:
        for batch in loader:
            loaded.append(batch)
    assert str(caught.value) == "not one triplet of a whole batch could be read; the lines above say why"
    assert len(loaded) == bad


def test_a_killed_worker_is_one_line() -> None:
    with pytest.raises(LoadingError, match=r"came to an end .*lower training\.batch_size") as caught:
        numbers(Loader(SlowNumbers(9, seconds=0.05, deadly=4), 2, memory=PLENTY))
    assert "\n" not in str(caught.value)


def test_batches_of_more_tensors_than_files_may_be_open_arrive() -> None:
    """Torch hands over each tensor as an open file; a batch of many photos has hundreds."""
    program = """
import resource
from support.some_batches import SlowNumbers
from moon2.train.loading import Loader
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
for batch in Loader(SlowNumbers(4, tensors=300), 2, memory=10**9):
    print(batch.size, len(batch.numbers["numbers"]), float(batch.numbers["numbers"][-1].sum()))
"""
    environment = os.environ | {"PYTHONPATH": "tests"}
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=300
    )
    assert ended.stdout.splitlines() == [f"4 300 {100.0 * number}" for number in range(4)], ended.stderr


def test_memory_bounds_the_batches_that_wait(caplog: pytest.LogCaptureFixture) -> None:
    for fitting, workers in ((0, 0), (1, 1), (5, 2)):  # a batch has 400 bytes
        loader = Loader(SlowNumbers(4), 2, memory=400 * fitting + 399)
        assert numbers(loader) == [0, 1, 2, 3]
        assert loader.workers == workers
        assert ("lower training.batch_size" in caplog.text) == (workers < 2)
        caplog.clear()


def test_waiting_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loader of 0.05 s a batch, without workers: a step of no time waits always, one of 0.1 s a third of it."""
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    # A slow machine would stretch real time.
    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr("time.monotonic", lambda: now)
    for step, waiting in ((0.0, 1.0), (0.1, 1 / 3)):
        loader = Loader(SlowNumbers(6, seconds=0.05), 0, memory=PLENTY)
        started = time.monotonic()
        for _ in loader:
            time.sleep(step)
        report = loader.report(time.monotonic() - started)
        assert report["loader/waiting"] == pytest.approx(waiting)
        assert report["loader/triplets_per_second"] == pytest.approx(4 / 0.05)
        assert loader.report(1.0) == {"loader/triplets_per_second": 0.0, "loader/waiting": 0.0}


def test_workers_work_during_the_steps() -> None:
    loader = Loader(SlowNumbers(12, seconds=0.5), 2, memory=PLENTY)
    batches = iter(loader)
    for _ in range(3):  # the first one is prepared here, and the workers take their time to start
        next(batches)
    loader.report(1.0)
    time.sleep(3.0)
    started = time.monotonic()
    for _ in range(4):  # two workers are two batches ahead each
        next(batches)
    assert time.monotonic() - started < 0.5, "a batch was not ready"
    # A slow machine takes longer, up to twice; a report that forgot that there are two workers would say half at most.
    assert 4 / 0.5 < loader.report(1.0)["loader/triplets_per_second"] <= 1.01 * 2 * 4 / 0.5


@pytest.mark.parametrize(
    ("device", "processes", "workers"), [("cpu", 1, 0), ("cpu", 12, 0), ("cuda", 1, 8), ("cuda", 2, 5), ("cuda", 12, 1)]
)
def test_an_accelerator_gets_workers_and_a_cpu_none(
    device: str, processes: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(12))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    loader = make_loader(SlowNumbers(3), torch.device(device), 0, 3)
    assert (loader.workers, loader.pin_memory) == (workers, device == "cuda")


def test_every_tensor_of_a_batch_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor + 100)  # stands for it where there is no CUDA
    assert numbers(Loader(SlowNumbers(3), 0, memory=PLENTY, pin_memory=True)) == [100, 101, 102]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="memory is pinned for CUDA only")
@pytest.mark.parametrize("workers", [0, 1])
def test_batches_for_cuda_are_pinned(workers: int) -> None:
    loader = Loader(SlowNumbers(3), workers, memory=PLENTY, pin_memory=True)
    assert [batch.numbers["numbers"][0].is_pinned() for batch in loader] == [True] * 3


def test_nothing_to_load_is_no_batch() -> None:
    assert numbers(Loader(SlowNumbers(3), 2, memory=PLENTY, start=3)) == []
