"""An OpenAI-compatible chat server that fails as told: late, too often, half-way, in nonsense. Real HTTP on loopback.

A test gives it one function: what was asked, and how often that product was asked before, to what is answered.
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
    """What goes back; `cut` closes the connection in the middle of the body."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    cut: bool = False


@dataclass
class Asked:
    """One request: its JSON, the product's title in it, and how often that title was asked before."""

    body: dict[str, Any]
    title: str
    before: int


def saying(words: str | None, **more: Any) -> Answer:
    """A well-formed completion with those words; `more` for the other fields of `Answer` or of the choice."""
    choice = {"index": 0, "finish_reason": more.pop("finish_reason", "stop")}
    choice["message"] = {"role": "assistant", "content": words, "refusal": more.pop("refusal", None)}
    usage = {"prompt_tokens": TOKENS_IN, "completion_tokens": TOKENS_OUT, "total_tokens": TOKENS_IN + TOKENS_OUT}
    completion = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return Answer(json.dumps({**completion, "usage": usage}).encode(), **more)


def richer(asked: Asked, **more: Any) -> Answer:
    """What an honest server answers."""
    return saying(json.dumps({"title": f"richer {asked.title}"}), **more)


def failing(status: int, message: str = "no", code: str | None = None, **headers: str) -> Answer:
    error = {"error": {"message": message, "type": "error", "code": code}}
    return Answer(
        json.dumps(error).encode(), status, {name.replace("_", "-"): value for name, value in headers.items()}
    )


class FaultyServer:
    """Serves while its `with` block lasts; keeps every request and how many were open at once."""

    def __init__(self, answer: Callable[[Asked], Answer]) -> None:
        self.requests: list[Asked] = []
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

    def _begin(self, body: dict[str, Any]) -> Asked:
        text = next(part["text"] for part in body["messages"][-1]["content"] if part["type"] == "text")
        found = re.search(r'"title": "(product [^"]*)"', text)
        title = found[1] if found else ""
        with self._lock:
            self._open += 1
            self.most_at_once = max(self.most_at_once, self._open)
            asked = Asked(body, title, self._before[title])
            self._before[title] += 1
            self.requests.append(asked)
            self.times.append(time.monotonic())
            return asked
