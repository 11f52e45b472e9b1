"""`moon2 serve` in a thread of this process, on a free port, as real clients meet it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from fastapi import FastAPI

from moon2.serve.app import create_app
from moon2.serve.command import listen
from moon2.serve.settings import ServeSettings


@dataclass
class RunningServer:
    """A server that answers.

    Attributes:
        app: what it runs.
        client: sends requests to it.
        address: such as http://127.0.0.1:12345.
    """

    app: FastAPI
    client: httpx2.Client
    address: str

    def ask(self, path: str, **json: Any) -> dict[str, Any]:
        """The answer to a POST, which must be 200."""
        answer = self.client.post(path, json=json)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def get(self, path: str) -> dict[str, Any]:
        """The answer to a GET, which must be 200."""
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def metric(self, name: str) -> float:
        """A counter or gauge, summed over its labels."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


@contextmanager
def running_server(source: str | Path, **settings: Any) -> Iterator[RunningServer]:
    """Serves a source until the block ends; then the server has stopped gracefully."""
    app = create_app(ServeSettings(str(source), **settings))
    with listen("127.0.0.1", 0) as listening, _no_terminal():
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            with httpx2.Client(base_url=address, timeout=60) as client:
                yield RunningServer(app, client, address)
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def _no_terminal() -> Iterator[None]:
    """Keeps a server's lines, some of which come after the test that asked, out of pytest's own output."""
    logger = logging.getLogger("moon2")
    kept, logger.handlers[:] = logger.handlers[:], []
    try:
        yield
    finally:
        logger.handlers[:] = kept
