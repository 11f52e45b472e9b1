"""Batches of what waits: packed together, in turns, none held back; what cannot be computed fails alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from moon2.serve.batching import TURN, Batcher, Prepared
from moon2.serve.refusals import Refusal


class Recorder:
    """Computes [n, 1] from n numbers, once the gate is open, and keeps what came together."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()

    def __call__(self, works: list[int]) -> np.ndarray:
        self.gate.wait(5)
        self.batches.append(works)
        if -1 in works:
            raise ValueError("no such thing")
        return np.array([[np.nan if work == -2 else float(work)] for work in works], np.float32)


def items(works: Sequence[int], tokens: int = 1) -> list[Prepared[int]]:
    return [Prepared(tokens, work) for work in works]


async def _first_in_hand(batcher: Batcher[int]) -> asyncio.Task[np.ndarray]:
    """A request that the thread holds while others gather."""
    task = asyncio.create_task(batcher.vectors(items([0]), 5))
    while not batcher.waiting:
        await asyncio.sleep(0)
    while batcher.waiting:
        await asyncio.sleep(0.001)
    return task


def test_requests_that_wait_go_together_and_get_their_own_vectors_in_order() -> None:
    recorder = Recorder()
    batcher = Batcher(recorder, tokens=100, waiting=100)

    async def ask() -> list[np.ndarray]:
        first = await _first_in_hand(batcher)
        others = [asyncio.create_task(batcher.vectors(items([ten, ten + 1]), 5)) for ten in (10, 20, 30)]
        await asyncio.sleep(0.01)
        recorder.gate.set()
        return await asyncio.gather(first, *others)

    found = asyncio.run(ask())
    assert [each.ravel().tolist() for each in found] == [[0], [10, 11], [20, 21], [30, 31]]
    assert recorder.batches == [[0], [10, 11, 20, 21, 30, 31]]
    batcher.close()


def test_a_large_request_does_not_hold_up_a_small_one_and_batches_keep_to_their_tokens() -> None:
    recorder = Recorder()
    batcher = Batcher(recorder, tokens=TURN + 2, waiting=1000)

    async def ask() -> None:
        first = await _first_in_hand(batcher)
        large = asyncio.create_task(batcher.vectors(items(range(100, 200)), 5))
        await asyncio.sleep(0.01)
        small = asyncio.create_task(batcher.vectors(items([7]), 5))
        long = asyncio.create_task(batcher.vectors(items([8], tokens=1000), 5))
        await asyncio.sleep(0.01)
        recorder.gate.set()
        await asyncio.gather(first, large, small, long)

    asyncio.run(ask())
    assert 7 in recorder.batches[1]
    assert [8] in recorder.batches
    assert all(len(batch) <= TURN + 2 for batch in recorder.batches)
    batcher.close()


def test_an_item_that_cannot_be_computed_fails_alone_with_its_number() -> None:
    recorder = Recorder()
    batcher = Batcher(recorder, tokens=100, waiting=100)

    async def ask() -> list[object]:
        first = await _first_in_hand(batcher)
        works = ([1, -1, 2], [3, 4], [5, -2])
        others = [asyncio.create_task(batcher.vectors(items(each), 5)) for each in works]
        await asyncio.sleep(0.01)
        recorder.gate.set()
        await first
        return await asyncio.gather(*others, return_exceptions=True)

    broken, good, infinite = asyncio.run(ask())
    assert isinstance(broken, Refusal) and (broken.status, broken.param) == (422, "1")
    assert isinstance(good, np.ndarray) and good.ravel().tolist() == [3, 4]
    assert isinstance(infinite, Refusal) and (infinite.status, infinite.param) == (422, "1")
    batcher.close()


def test_too_many_are_turned_away_the_late_give_up_and_the_forgotten_make_room() -> None:
    recorder = Recorder()
    batcher = Batcher(recorder, tokens=100, waiting=3)

    async def ask() -> None:
        first = await _first_in_hand(batcher)
        late = asyncio.create_task(batcher.vectors(items([1, 2]), 0.0))
        await asyncio.sleep(0.01)
        with pytest.raises(Refusal) as full:
            await batcher.vectors(items([3, 4]), 5)
        assert (full.value.status, full.value.retry_after) == (429, 1)
        given_up = asyncio.create_task(batcher.vectors(items([5]), 5))
        await asyncio.sleep(0.01)
        given_up.cancel()
        await asyncio.sleep(0.01)
        assert batcher.waiting == 2
        urgent = asyncio.create_task(batcher.vectors(items([6, 7, 8]), 5, first=True))
        await asyncio.sleep(0.01)
        recorder.gate.set()
        assert (await urgent).ravel().tolist() == [6, 7, 8]
        await first
        with pytest.raises(Refusal) as waited:
            await late
        assert waited.value.status == 503 and waited.value.retry_after

    asyncio.run(ask())
    assert batcher.waiting == 0 and not any(5 in batch for batch in recorder.batches)
    batcher.close()


def test_it_ends_after_what_waits() -> None:
    recorder = Recorder()
    batcher = Batcher(recorder, tokens=1, waiting=100)

    async def ask() -> np.ndarray:
        waiting = asyncio.create_task(batcher.vectors(items([1, 2, 3]), 5))
        await asyncio.sleep(0.01)
        recorder.gate.set()
        await asyncio.to_thread(batcher.close)
        with pytest.raises(Refusal, match="is stopping"):
            await batcher.vectors(items([4]), 5)
        return await waiting

    assert asyncio.run(ask()).ravel().tolist() == [1, 2, 3]
