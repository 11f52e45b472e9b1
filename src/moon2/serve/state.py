"""What the routes share."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
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
        heatmaps: for one explanation at a time, as each keeps the attention of all layers. It is a thread, since an
            explanation goes on when its request is out of time.
    """

    settings: ServeSettings
    served: Served
    metrics: Metrics
    has_keys: bool
    heatmaps: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "moon2-heatmap"))


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
