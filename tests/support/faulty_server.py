"""An OpenAI-compatible chat server that fails on purpose: late, often, half-way, in nonsense. Real HTTP on loopback.

A test gives it one function from a request to an answer.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKENS_IN, TOKENS_OUT = 100, 10


@dataclass
class Answer:
    """A response; `cut` closes the connection in the middle of the body."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    cut: bool = False


@dataclass
class Request:
    """One request: its JSON, the product's title in it, and how many requests with that title came before."""

    body: dict[str, Any]
    title: str
    before: int


def reply(text: str | None, **more: Any) -> Answer:
    """A well-formed completion with that text; `more` for the other fields of `Answer` or of the choice."""
    choice = {"index": 0, "finish_reason": more.pop("finish_reason", "stop")}
    choice["message"] = {"role": "assistant", "content": text, "refusal": more.pop("refusal", None)}
    usage = {"prompt_tokens": TOKENS_IN, "completion_tokens": TOKENS_OUT, "total_tokens": TOKENS_IN + TOKENS_OUT}
    completion = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return Answer(json.dumps({**completion, "usage": usage}).encode(), **more)


def richer(request: Request, **more: Any) -> Answer:
    """The answer of an honest server."""
    return reply(json.dumps({"title": f"richer {request.title}"}), **more)


def failing(status: int, message: str = "no", code: str | None = None, **headers: str) -> Answer:
    error = {"error": {"message": message, "type": "error", "code": code}}
    return Answer(
        json.dumps(error).encode(), status, {name.replace("_", "-"): value for name, value in headers.items()}
    )


class FaultyServer:
    """Serves while its `with` block lasts; records every request, its time, and how many were open at once."""

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self.requests: list[Request] = []
        self.times: list[float] = []
        self.most_at_once = 0
        self._answer = answer
        self._open = 0
        self._before: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __enter__(self) -> FaultyServer:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(server) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                try:
                    self._send(server._answer(server._begin(body)))
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # a client that timed out has gone

            def _send(self, answer: Answer) -> None:
                time.sleep(answer.seconds)
                with server._lock:
                    server._open -= 1
                self.send_response(answer.status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer.body)))
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body[: len(answer.body) // 2] if answer.cut else answer.body)
                self.wfile.flush()
                self.close_connection = self.close_connection or answer.cut

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _begin(self, body: dict[str, Any]) -> Request:
        text = next(part["text"] for part in body["messages"][-1]["content"] if part["type"] == "text")
        match = re.search(r'"title": "(product [^"]*)"', text)
        title = match[1] if match else ""
        with self._lock:
            self._open += 1
            self.most_at_once = max(self.most_at_once, self._open)
            request = Request(body, title, self._before[title])
            self._before[title] += 1
            self.requests.append(request)
            self.times.append(time.monotonic())
            return request
