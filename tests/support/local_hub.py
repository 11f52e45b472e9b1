"""The part of the Hugging Face hub's HTTP API that uploads and downloads use, on loopback, for the hub's own client."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class LocalHub:
    """Serves while its `with` block lasts.

    Attributes:
        token: that a request must bear.
        private: repository → whether it is.
        files: (repository, branch) → path → content.
        requests: (method, path), in order.
    """

    token: str = "hf_local"
    private: dict[str, bool] = field(default_factory=dict)
    files: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)

    def __enter__(self) -> LocalHub:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _handler(hub: LocalHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            path = self._path()
            if self.headers.get("authorization") != f"Bearer {hub.token}":
                self._send({"error": "Invalid credentials in Authorization header"}, 401)
            elif path == "/api/repos/create":
                asked = json.loads(body)
                name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
                if name in hub.private:
                    self._send({"error": "You already created this model repo", "url": f"{hub.url}/{name}"}, 409)
                    return
                hub.private[name] = asked.get("visibility") == "private"
                hub.files[name, "main"] = {}
                self._send({"url": f"{hub.url}/{name}", "name": name})
            elif path == "/api/validate-yaml":
                self._send({"errors": [], "warnings": []})
            elif "/branch/" in path:
                name, _, branch = path.removeprefix("/api/models/").partition("/branch/")
                hub.files[name, branch] = dict(hub.files[name, "main"])
                self._send({})
            elif "/preupload/" in path:
                files = [
                    {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for file in json.loads(body)["files"]
                ]
                self._send({"files": files})
            elif "/commit/" in path:
                name, _, branch = path.removeprefix("/api/models/").partition("/commit/")
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        hub.files[name, branch][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                self._send({"success": True, "commitUrl": f"{hub.url}/{name}/commit/{COMMIT}", "commitOid": COMMIT})
            else:
                self._send({"error": f"POST {path}"}, 404)

        def do_GET(self) -> None:
            path = self._path()
            if path.startswith("/api/models/"):
                name, kind, branch = re.fullmatch("/api/models/([^/]+/[^/]+)(?:/(revision|tree)/(.+))?", path).groups()
                files = hub.files.get((name, "main" if branch in (None, COMMIT) else branch))
                if files is None:
                    self._send({"error": "Repository not found"}, 404, {"x-error-code": "RepoNotFound"})
                    return
                if kind == "tree":
                    self._send([{"type": "file", "path": n, "size": len(c), "oid": _oid(c)} for n, c in files.items()])
                    return
                siblings = [{"rfilename": file} for file in files]
                self._send({"id": name, "sha": COMMIT, "private": hub.private[name], "siblings": siblings, "tags": []})
                return
            name, _, rest = path.lstrip("/").partition("/resolve/")
            revision, _, file = rest.partition("/")
            files = hub.files.get((name, "main" if revision == COMMIT else revision), {})
            if file not in files:
                self._send({"error": "Entry not found"}, 404, {"x-error-code": "EntryNotFound"})
                return
            self._send(files[file], headers={"etag": f'"{_oid(files[file])}"', "x-repo-commit": COMMIT})

        do_HEAD = do_GET

        def _path(self) -> str:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append((self.command, path))
            return path

        def _send(self, content: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
