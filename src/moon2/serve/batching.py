"""Items of many requests in one pass of the encoder: whatever waits when the encoder is free goes together.

Nothing is held back to fill a batch: an item alone is computed at once, and while that runs others gather. Requests
take turns, so a search does not wait behind a thousand products of another request.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from moon2.serve.refusals import Refusal

Work = TypeVar("Work")
TURN = 32
"""Items of one request that go into a batch before other requests have their turn."""
MOST_ITEMS = 128
"""Items of a batch, however short."""


class Prepared(NamedTuple, Generic[Work]):
    """An item ready for the encoder: how many tokens it has, and whatever `compute` takes."""

    tokens: int
    work: Work


class _Request(Generic[Work]):
    """Items of one request; `vectors` fills up as batches are done."""

    def __init__(self, items: Sequence[Prepared[Work]], deadline: float) -> None:
        self.items, self.deadline = items, deadline
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[np.ndarray] = self.loop.create_future()
        self.vectors: list[np.ndarray | None] = [None] * len(items)
        self.taken = 0
        self.left = len(items)
        self.problem: Exception | None = None

    def settle(self) -> None:
        """On the event loop, when all is done; nobody may be waiting any more."""
        if self.future.done():
            return
        if self.problem is not None:
            self.future.set_exception(self.problem)
        else:
            self.future.set_result(np.stack([vector for vector in self.vectors if vector is not None]))


class Batcher(Generic[Work]):
    """One thread that computes the vectors of what waits.

    Args:
        compute: some work → [n, D] float32. An item for which it raises fails alone.
        tokens: of a batch; a longer item makes a batch of its own.
        waiting: how many items may wait.
        observe: is told the items, the tokens and the seconds of each batch.
    """

    def __init__(
        self,
        compute: Callable[[list[Work]], np.ndarray],
        tokens: int,
        waiting: int,
        observe: Callable[[int, int, float], object] = lambda items, tokens, seconds: None,
    ) -> None:
        self._compute, self._tokens, self._most_waiting, self._observe = compute, tokens, waiting, observe
        self._requests: deque[_Request[Work]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.waiting = 0
        self._thread = threading.Thread(target=self._run, name="moon2-encoder", daemon=True)
        self._thread.start()

    async def vectors(self, items: Sequence[Prepared[Work]], seconds: float, *, first: bool = False) -> np.ndarray:
        """[n, D] float32 of these items, in order.

        Args:
            items: at least one.
            seconds: how long they may wait for their turn.
            first: before all others, and though too many wait: for the server's own checks.

        Raises:
            Refusal: too many items wait (429), these have waited too long or the server stops (503), or an item cannot
                be embedded (422, its number as `param`).
        """
        request = _Request(items, time.monotonic() + seconds)
        with self._changed:
            if self._closed:
                raise Refusal(503, "the server is stopping", retry_after=1)
            if not first and self.waiting + len(items) > self._most_waiting:
                raise Refusal(429, f"{self.waiting:,} items wait already; try again in a moment", retry_after=1)
            self.waiting += len(items)
            self._requests.appendleft(request) if first else self._requests.append(request)
            self._changed.notify()
        try:
            return await request.future
        except asyncio.CancelledError:
            self._forget(request)
            raise

    def close(self) -> None:
        """Computes what waits, and ends the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _forget(self, request: _Request[Work]) -> None:
        """Nobody waits for it any more."""
        with self._changed:
            if request in self._requests:
                self._requests.remove(request)
                self.waiting -= len(request.items) - request.taken

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._requests and not self._closed:
                    self._changed.wait()
                if not self._requests:
                    return
                batch = self._next_batch()
            if batch:
                self._compute_batch(batch)
            # What a batch held must not stay in memory while the thread waits.
            del batch

    def _next_batch(self) -> list[tuple[_Request[Work], int]]:
        batch: list[tuple[_Request[Work], int]] = []
        tokens, now = 0, time.monotonic()
        while self._requests and len(batch) < MOST_ITEMS:
            request = self._requests.popleft()
            if now > request.deadline:
                self.waiting -= len(request.items) - request.taken
                request.problem = Refusal(503, "waited too long for the encoder; try again later", retry_after=5)
                self._settle([request])
                continue
            end = min(len(request.items), request.taken + TURN)
            while request.taken < end and len(batch) < MOST_ITEMS:
                length = request.items[request.taken].tokens
                if batch and tokens + length > self._tokens:
                    self._requests.appendleft(request)
                    return batch
                batch.append((request, request.taken))
                tokens += length
                request.taken += 1
                self.waiting -= 1
            if request.taken < len(request.items):
                self._requests.append(request)
        return batch

    def _compute_batch(self, batch: list[tuple[_Request[Work], int]]) -> None:
        started = time.monotonic()
        vectors = self._without_fault(batch)
        self._observe(len(batch), sum(request.items[row].tokens for request, row in batch), time.monotonic() - started)
        done = []
        for (request, row), vector in zip(batch, vectors, strict=True):
            if isinstance(vector, Exception):
                request.problem = request.problem or vector
            request.vectors[row] = vector if isinstance(vector, np.ndarray) else None
            request.left -= 1
            if not request.left:
                done.append(request)
        self._settle(done)

    def _without_fault(self, batch: list[tuple[_Request[Work], int]]) -> list[np.ndarray | Exception]:
        """The vector of each item, or what it is refused with."""
        works = [request.items[row].work for request, row in batch]
        try:
            vectors = self._compute(works)
        except Exception as error:  # whatever a network raises for one odd item must not fail the others
            if len(batch) == 1:
                reason = " ".join(str(error).split())[:120] or type(error).__name__
                return [Refusal(422, f"cannot be embedded ({reason})", str(batch[0][1]))]
            return [found for one in batch for found in self._without_fault([one])]
        finite = np.isfinite(vectors).all(axis=1)
        return [
            vector if good else Refusal(422, "cannot be embedded: its vector is not finite", str(row))
            for vector, good, (_, row) in zip(vectors, finite, batch, strict=True)
        ]

    def _settle(self, requests: list[_Request[Work]]) -> None:
        for loop in {request.loop for request in requests}:
            mine = [request for request in requests if request.loop is loop]
            # Once a batch, not once a request: each call wakes the loop. A loop that has ended waits for nothing.
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle_all, mine)


def _settle_all(requests: Sequence[_Request[Any]]) -> None:
    for request in requests:
        request.settle()
