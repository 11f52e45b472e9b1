"""What `moon2 serve` bears: many clients at once against one at a time, and memory over many requests.

    python benchmarks/serving.py throughput SOURCE DATA [--clients 64] [--seconds 60] [--out FILE.json]
    python benchmarks/serving.py memory SOURCE DATA [--requests 10000] [--out FILE.json]

SOURCE is an index or a run, DATA the catalog whose titles and photos are asked for. The server runs in a process of
its own with its cache of queries off; each text is asked once, photos differ from each other. `throughput` asks for
embeddings of texts, photos and both, and for searches where SOURCE is an index. Each kind is asked by one client for a
third of the time before and after the many, so both meet the same machine. Clients share this process and its cores.
The server's CPU time a request does not depend on what else the machine does, as its rate does.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from moon2.catalog.store import Catalog
from moon2.images import open_image

PHOTOS = 256
KINDS = ("text", "photo", "both", "search")
Bodies = Callable[[], tuple[str, dict[str, Any]]]


@dataclass
class Load:
    """What clients met: seconds of each answered request, the number of each status, all time, and the server's CPU."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    time: float = 0.0
    cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Answered requests a second."""
        return len(self.seconds) / max(self.time, 1e-9)

    def told(self) -> dict[str, Any]:
        """As the table has it."""
        p50, p99 = np.quantile(self.seconds, [0.5, 0.99]) * 1000 if self.seconds else (np.nan, np.nan)
        return {
            "requests": len(self.seconds),
            "a second": round(self.rate, 1),
            "p50 ms": round(float(p50), 1),
            "p99 ms": round(float(p99), 1),
            "server CPU ms": round(1000 * self.cpu / max(1, len(self.seconds)), 2),
            "429": self.statuses[429],
            "errors": sum(number for status, number in self.statuses.items() if status not in (200, 429)),
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one of the measurements and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measurement", choices=("throughput", "memory"))
    parser.add_argument("source")
    parser.add_argument("data", type=Path)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    measure = throughput if options.measurement == "throughput" else memory
    with running(options.source) as (port, pid):
        rows = asyncio.run(measure(options, port, pid))
    columns = list(rows[0])
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(str(row[column]) for column in columns) + " |")
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1))


async def throughput(options: argparse.Namespace, port: int, pid: int) -> list[dict[str, Any]]:
    """A row a kind of request and number of clients; the many also with their ratio to one."""
    rows = []
    requests = Requests(options.data, await _model(port))
    for kind in options.kinds:
        if kind == "search" and not _has_index(options.source):
            continue
        body = requests.of(kind)
        await ask(port, body, 4, 1.0)  # what is made at first use
        one, many = Load(), Load()
        for load, clients, seconds in ((one, 1, 1 / 3), (many, options.clients, 1.0), (one, 1, 1 / 3)):
            used = _cpu_seconds(pid)
            await ask(port, body, clients, seconds * options.seconds, load)
            load.cpu += _cpu_seconds(pid) - used
        rows.append({"asked": kind, "clients": 1, **one.told(), "ratio": 1.0})
        rows.append({"asked": kind, "clients": options.clients, **many.told(), "ratio": round(many.rate / one.rate, 1)})
    return rows


async def memory(options: argparse.Namespace, port: int, pid: int) -> list[dict[str, Any]]:
    """The resident memory of the server at every tenth of the requests, of all kinds in turn."""
    requests = Requests(options.data, await _model(port))
    bodies = cycle([requests.of(kind) for kind in options.kinds if kind != "search" or _has_index(options.source)])
    rows = []
    for tenth in range(11):
        if tenth:
            await ask(port, lambda: next(bodies)(), options.clients, np.inf, most=options.requests // 10)
        rows.append({"requests": tenth * options.requests // 10, "resident MB": _resident_mb(pid)})
    return rows


class Requests:
    """Paths and bodies of requests: texts that are asked once, photos that differ.

    Args:
        data: folder of a catalog.
        model: name of the encoder.
    """

    def __init__(self, data: Path, model: str) -> None:
        catalog = Catalog.open(data)
        products = list(islice(catalog.products(), 4 * PHOTOS))
        self._model = model
        self._titles = [product.title for product in products if product.title]
        images = [product.images[0] for product in products if product.images][:PHOTOS]
        self._photos = [_uri(open_image(image)) for image in images]
        self._numbers = count()

    def of(self, kind: str) -> Bodies:
        """Gives one request after the other."""
        photos = cycle(self._photos)

        def text() -> str:
            number = next(self._numbers)
            return f"{self._titles[number % len(self._titles)]} {number}"

        def embedding(content: list[dict[str, Any]]) -> tuple[str, dict[str, Any]]:
            return "/v1/embeddings", {"model": self._model, "messages": [{"content": content}]}

        def image() -> dict[str, Any]:
            return {"type": "image_url", "image_url": {"url": next(photos)}}

        return {
            "text": lambda: ("/v1/embeddings", {"model": self._model, "input": text()}),
            "photo": lambda: embedding([image()]),
            "both": lambda: embedding([image(), {"type": "text", "text": text()}]),
            "search": lambda: ("/v1/search", {"text": text()}),
        }[kind]


async def ask(
    port: int, body: Bodies, clients: int, seconds: float, load: Load | None = None, most: float = np.inf
) -> Load:
    """Lets clients ask, each one request after the other on its own connection, for a time or so many requests."""
    found = Load() if load is None else load
    end, started, begun = time.monotonic() + seconds, time.monotonic(), count()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < end and next(begun) < most:
            path, content = body()
            clock = time.monotonic()
            status, _ = await _post(reader, writer, path, content)
            found.statuses[status] += 1
            if status == 200:
                found.seconds.append(time.monotonic() - clock)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    found.time += time.monotonic() - started
    return found


async def _post(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, content: dict[str, Any] | None
) -> tuple[int, bytes]:
    body = b"" if content is None else json.dumps(content).encode()
    method = "GET" if content is None else "POST"
    head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", answer)
    assert length is not None
    return int(answer[9:12]), await reader.readexactly(int(length[1]))


async def _model(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    _, answer = await _post(reader, writer, "/v1/models", None)
    writer.close()
    return str(json.loads(answer)["data"][0]["id"])


@contextmanager
def running(source: str, *options: str) -> Iterator[tuple[int, int]]:
    """A server of its own; gives its port and its process."""
    command = [sys.executable, "-m", "moon2", "serve", source, "--port", "0", "--query_cache", "0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line, port = "", None
        while port is None:
            last, line = line, process.stderr.readline()
            if not line:
                raise SystemExit(f"the server did not start: {last.strip()}")
            port = re.search(r"serving .* at http://[\d.]+:(\d+)", line)
        # Its log has a line a request; somebody has to read it.
        drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
        yield int(port[1]), process.pid
        process.terminate()
        process.wait(60)
        drain.wait(10)
    finally:
        process.kill()
        process.wait()


def _has_index(source: str) -> bool:
    return (Path(source) / "index.json").is_file()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    assert found is not None
    return round(int(found[1]) / 1024, 1)


def _uri(image: Image.Image) -> str:
    written = io.BytesIO()
    image.save(written, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(written.getvalue()).decode()}"


if __name__ == "__main__":
    main()
