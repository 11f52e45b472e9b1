"""What the routes share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from moon2.serve.metrics import Metrics
from moon2.serve.served import Served
from moon2.serve.settings import ServeSettings


@dataclass(frozen=True)
class State:
    """One server.

    Attributes:
        settings: as it was started with.
        served: its indexes and encoders.
        metrics: its counters.
        has_keys: whether requests must bring a key.
        heatmaps: for one explanation at a time, as each keeps the attention of all layers.
    """

    settings: ServeSettings
    served: Served
    metrics: Metrics
    has_keys: bool
    heatmaps: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))


def state_of(request: Request) -> State:
    """That of the server that got this request."""
    state: State = request.app.state.moon2
    return state


def log(request: Request, **facts: Any) -> None:
    """Adds to the line that the log gets of this request; words of shoppers only where that is asked for."""
    private = facts.pop("private", {})
    request.scope.setdefault("moon2_log", {}).update(
        {**facts, **(private if state_of(request).settings.log_queries else {})}
    )
