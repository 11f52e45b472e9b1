"""Batches ahead of the steps: worker processes read, scale and lay out the next ones while a step runs.

How many wait at once is bounded by memory, since a batch of large images takes gigabytes. Batches come in the order of
the dataset, with workers or without. How long the steps had to wait for them is counted.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from moon2.errors import UserError

MOST_WORKERS = 8
MOST_AHEAD = 2  # batches a worker may be ahead
ALIGNED = 64  # bytes to a multiple of which each tensor of a block begins
logger = logging.getLogger(__name__)


class LoadingError(UserError):
    """A worker process came to an end; the message says how, and what to do."""


class Batch(Protocol):
    """What a loader loads: a dataclass of tensors, at whatever depth."""

    @property
    def size(self) -> int:
        """Triplets in it."""


B = TypeVar("B", bound=Batch)
T = TypeVar("T")
Of = TypeVar("Of", bound=Batch, covariant=True)


class Batches(Protocol[Of]):
    """A dataset whose item is one whole batch. Workers get a copy by pickle."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Of: ...


def make_loader(batches: Batches[B], device: torch.device, start: int, end: int) -> Loader[B]:
    """The loader for steps `start` to `end` − 1 on one device.

    On a CPU it has no workers, as they would take the cores from the steps. Otherwise it has one for each further core
    of this process, at most eight. For CUDA, batches come in pinned memory.

    Args:
        batches: item n is the batch of step n.
        device: of the steps.
        start, end: the first step, and the one after the last.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # of one run on this machine, as torchrun says
    workers = 0 if device.type == "cpu" else max(1, min(MOST_WORKERS, len(os.sched_getaffinity(0)) // processes - 1))
    return Loader(
        batches, workers, memory=_memory() // processes, pin_memory=device.type == "cuda", start=start, end=end
    )


class Loader(Generic[B]):
    """Iterate it once. The first batch is prepared here: its size tells how many may wait at once.

    Args:
        batches, start, end: see `make_loader`.
        workers: processes, fewer where memory is short; 0: batches are prepared when they are asked for.
        memory: bytes that batches which wait may take.
        pin_memory: put them where CUDA copies from without a detour.
    """

    def __init__(
        self,
        batches: Batches[B],
        workers: int,
        *,
        memory: int,
        pin_memory: bool = False,
        start: int = 0,
        end: int | None = None,
    ) -> None:
        self.workers = workers
        self.memory = memory
        self.pin_memory = pin_memory
        self._prepare = _Prepare(batches)
        self._numbers = range(start, len(batches) if end is None else end)
        self._waited = self._preparing = 0.0
        self._triplets = 0

    def __iter__(self) -> Iterator[B]:
        """The batches, in order.

        Raises:
            UserError: as it was raised where a batch was prepared.
            LoadingError: a worker was killed.
        """
        asked = time.monotonic()
        try:
            for prepared in self._prepared():
                if isinstance(prepared.batch, UserError):
                    raise prepared.batch
                self._waited += time.monotonic() - asked
                self._preparing += prepared.seconds
                self._triplets += prepared.batch.size
                yield prepared.batch
                asked = time.monotonic()
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker (pid"):
                raise
            raise LoadingError(
                f"a process that loads batches came to an end ({' '.join(str(error).split()):.120}); where memory ran "
                "out, lower training.batch_size or input.max_pixels"
            ) from None

    def report(self, seconds: float) -> dict[str, float]:
        """What the loader did since the last report.

        Args:
            seconds: that the steps took since then, waiting included.

        Returns:
            `loader/triplets_per_second`: what it would deliver if nothing else took time; `loader/waiting`: the share
            of the time in which a step waited for its batch, 0 to 1.
        """
        alone = self._triplets * max(1, self.workers) / max(self._preparing, 1e-9)
        waiting = min(1.0, self._waited / max(seconds, 1e-9))
        self._waited = self._preparing = 0.0
        self._triplets = 0
        return {"loader/triplets_per_second": alone, "loader/waiting": waiting}

    def _prepared(self) -> Iterator[_Prepared[B]]:
        if not self._numbers:
            return
        first, rest = self._prepare[self._numbers[0]], self._numbers[1:]
        ahead = self._choose_workers(first)
        if not ahead or not rest:
            yield self._pinned(first)
            yield from (self._pinned(self._prepare[number]) for number in rest)
            return
        # Neither tokenizers nor torch survive a fork once their threads have started. A server that was started anew,
        # and has imported what the workers need, forks them instead.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["moon2.train.stream"])
        loader = DataLoader(
            Subset(_Packing(self._prepare), rest),
            batch_size=None,
            num_workers=self.workers,
            prefetch_factor=ahead,
            multiprocessing_context=context,
            pin_memory=self.pin_memory,
            worker_init_fn=_begin_worker,
        )
        following = iter(loader)  # the workers start here, and are at work during the first step
        yield self._pinned(first)
        yield from (packed.unpacked() for packed in following)

    def _pinned(self, prepared: _Prepared[B]) -> _Prepared[B]:
        return prepared.pin_memory() if self.pin_memory else prepared

    def _choose_workers(self, first: _Prepared[B]) -> int:
        """Lowers the number of workers to what memory allows; returns how many batches each may be ahead."""
        size = _bytes(first.batch)
        fitting = self.memory // max(1, size)
        if fitting < self.workers:
            logger.warning(
                "%d of %d processes load batches: one takes %.2f GB, and %.2f GB of (shared) memory may be used; "
                "lower training.batch_size or input.max_pixels, or give more memory (docker run --shm-size)",
                fitting,
                self.workers,
                size / 1e9,
                self.memory / 1e9,
            )
            self.workers = fitting
        return min(MOST_AHEAD, fitting // self.workers) if self.workers else 0


@dataclass
class _Prepared(Generic[B]):
    """A batch, or why there is none, and the seconds it took; the loader of torch pins what has `pin_memory`."""

    batch: B | UserError
    seconds: float

    def pin_memory(self) -> _Prepared[B]:
        return replace(self, batch=_with_each(self.batch, Tensor, Tensor.pin_memory))


class _Prepare(Dataset[_Prepared[B]]):
    """Batches, timed. An error that a user can fix is handed over as it is: torch would wrap it in a traceback."""

    def __init__(self, batches: Batches[B]) -> None:
        self.batches = batches

    def __getitem__(self, number: int) -> _Prepared[B]:
        started = time.monotonic()
        batch: B | UserError
        try:
            batch = self.batches[number]
        except UserError as error:
            # Its traceback would keep the loader's own frame alive, and the workers with it.
            batch = error.with_traceback(None)
        return _Prepared(batch, time.monotonic() - started)


class _Place(NamedTuple):
    """Where a tensor lies in a block of bytes."""

    start: int
    dtype: torch.dtype
    shape: torch.Size

    def view(self, block: Tensor) -> Tensor:
        size = self.shape.numel() * self.dtype.itemsize
        return block[self.start : self.start + size].view(self.dtype).view(self.shape)


@dataclass
class _Packed(Generic[B]):
    """A prepared batch on its way from a worker, with all its tensors in one block of bytes.

    Torch hands each tensor over as an open file, of which most machines allow 1,024, and pins each by itself.
    """

    places: _Prepared[B]
    block: Tensor

    @classmethod
    def of(cls, prepared: _Prepared[B]) -> _Packed[B]:
        tensors: list[tuple[_Place, Tensor]] = []
        end = 0

        def place(tensor: Tensor) -> _Place:
            nonlocal end
            at = _Place(end, tensor.dtype, tensor.shape)
            tensors.append((at, tensor))
            end += -(-tensor.nbytes // ALIGNED) * ALIGNED
            return at

        places = replace(prepared, batch=_with_each(prepared.batch, Tensor, place))
        block = torch.empty(end, dtype=torch.uint8)
        for at, tensor in tensors:
            at.view(block).copy_(tensor)
        return cls(places, block)

    def unpacked(self) -> _Prepared[B]:
        return replace(self.places, batch=_with_each(self.places.batch, _Place, lambda place: place.view(self.block)))

    def pin_memory(self) -> _Packed[B]:
        return replace(self, block=self.block.pin_memory())


class _Packing(Dataset[_Packed[B]]):
    """What workers hand over."""

    def __init__(self, prepare: _Prepare[B]) -> None:
        self.prepare = prepare

    def __getitem__(self, number: int) -> _Packed[B]:
        return _Packed.of(self.prepare[number])


def _begin_worker(number: int) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # there is a worker a core already


def _with_each(value: Any, kind: type[T], change: Callable[[T], object]) -> Any:
    """A copy of dataclasses, dictionaries and lists, at whatever depth, with everything of a kind changed."""
    if isinstance(value, kind):
        return change(value)
    if is_dataclass(value) and not isinstance(value, type):
        parts = {part.name: _with_each(getattr(value, part.name), kind, change) for part in fields(value)}
        return replace(value, **parts)
    if isinstance(value, dict):
        return {name: _with_each(part, kind, change) for name, part in value.items()}
    if isinstance(value, list):
        return [_with_each(part, kind, change) for part in value]
    return value


def _bytes(batch: object) -> int:
    """Of its tensors."""
    sizes: list[int] = []

    def add(tensor: Tensor) -> Tensor:
        sizes.append(tensor.nbytes)
        return tensor

    _with_each(batch, Tensor, add)
    return sum(sizes)


def _memory() -> int:
    """Bytes that waiting batches may take: a quarter of the machine's, or half of the shared memory that is free."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(machine // 4, shutil.disk_usage("/dev/shm").free // 2)
