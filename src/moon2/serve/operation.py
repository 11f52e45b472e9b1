"""Is it alive, is it ready, and what has it done."""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter, Request, Response

from moon2.serve.refusals import Refusal, json_response
from moon2.serve.searching import with_index
from moon2.serve.served import Opened, in_thread
from moon2.serve.state import State, state_of

router = APIRouter(tags=["operation"])
FRESH_SECONDS = 5.0
"""A check is not made again for so long: whoever asks a thousand times makes no work."""


class Readiness:
    """Whether the server computes what it should: the reference items are encoded, and each index is searched."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._until = 0.0
        self._problem: str | None = None

    async def problem(self, state: State) -> str | None:
        """What is wrong; None if nothing is."""
        async with self._turn:
            if time.monotonic() >= self._until:
                self._problem = await self._look(state)
                self._until = time.monotonic() + FRESH_SECONDS
            return self._problem

    async def _look(self, state: State) -> str | None:
        for encoding in state.served.encoders.services():
            if problem := await encoding.problem():
                return f"encoder {encoding.names[0]}: {problem}"
        for index in state.served.indexes:

            async def work(opened: Opened) -> int:
                if not opened.products:
                    return 0
                vector = opened.index.table.sample_vectors(1)[0]
                return len(await in_thread(lambda: opened.index.rank(vector, limit=1)))

            try:
                await with_index(index, work)
            except Refusal as refusal:
                return f"index {index.name}: {refusal.message}"
        return None


@router.get("/healthz")
async def healthy() -> Response:
    """The process answers."""
    return json_response({"status": "alive"})


@router.get("/readyz")
async def ready(request: Request) -> Response:
    """It encodes, the vectors are those that were saved with the model, and its indexes can be searched."""
    readiness: Readiness = request.app.state.readiness
    problem = await readiness.problem(state_of(request))
    if problem is not None:
        raise Refusal(503, f"not ready: {problem}", retry_after=5)
    return json_response({"status": "ready"})


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Counters for Prometheus."""
    return Response(state_of(request).metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
