"""The log: a JSON object a line, or a short line on a terminal; shoppers' words only where that is asked for."""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moon2.serve.metrics import Metrics
from moon2.serve.refusals import Refusal

logger = logging.getLogger(__name__)
OTHER = "other"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")


class Watch:
    """Times each request, counts it, and writes a line about it; a fault of the server's own is answered with 500.

    HEAD is answered as GET, which load balancers ask for: the HTTP server, which knows the method, leaves the body out.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI calls it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, method = time.perf_counter(), 0, scope["method"]
        scope = {**scope, "method": "GET" if method == "HEAD" else method}

        async def remember(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, remember)
        except Exception:
            logger.exception("a request failed")
            if not status:
                await Refusal(500, "the server failed; its log says why").response()(scope, receive, remember)
        finally:
            self._tell(scope, method, status, time.perf_counter() - started)

    def _tell(self, scope: Scope, method: str, status: int, seconds: float) -> None:
        route, method = _route(scope), method if method in METHODS else OTHER
        self._metrics.seconds.labels(route, method, str(status)).observe(seconds)
        if status >= 400:
            self._metrics.rejected.labels(str(status)).inc()
        facts = {"route": route, "method": method, "status": status, "ms": round(1000 * seconds, 1)}
        logger.info(
            "%s %s %s, %.1f ms", status, method, route, facts["ms"], extra={"facts": facts | scope.get("moon2_log", {})}
        )


def _route(scope: Scope) -> str:
    """The template of its path: an id or a shopper's words in an address are neither counted nor written."""
    route = scope.get("route")
    return str(getattr(route, "path", OTHER)).replace(":path", "")


class JsonLines(logging.Formatter):
    """A record as a JSON object in a line."""

    def format(self, record: logging.LogRecord) -> str:
        """As `logging` calls it."""
        facts: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            **(getattr(record, "facts", None) or {"message": record.getMessage()}),
        }
        if record.exc_info:
            facts["traceback"] = self.formatException(record.exc_info)
        return json.dumps(facts, ensure_ascii=True)


def log_as_json() -> None:
    """From now on moon2 and its HTTP library write JSON lines to standard error; a terminal gets plain ones."""
    if sys.stderr.isatty():
        return
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    for name in ("moon2", "uvicorn"):
        logging.getLogger(name).handlers[:] = [handler]
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
