"""Visual expansion by an images/edits server that fails as told: real HTTP on loopback, real pictures."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from moon2.augment.images.openai import EditingServerProvider
from moon2.augment.images.provider import ExpansionError
from moon2.augment.settings import ImageSettings
from moon2.images import open_image
from moon2.records import Product

COLOURS = {"navy": (0, 0, 128), "red": (255, 0, 0), "green": (0, 128, 0)}


class Server:
    """Inverts the posted picture, unless `fault` says otherwise; it gets the posted picture's colour and prompt."""

    def __init__(self) -> None:
        self.fault: Callable[[tuple[int, int, int], str, int], bytes | int | float | None] = lambda *_: None
        self.requests: list[str] = []
        self.busy = self.most_busy = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with outer._lock:
                    outer.busy += 1
                    outer.most_busy = max(outer.most_busy, outer.busy)
                try:
                    outer.answer(self, body)
                finally:
                    with outer._lock:
                        outer.busy -= 1

            def do_GET(self) -> None:
                outer.send(self, 200, outer.kept, "image/png")

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        self.kept = b""
        self.by_address = False
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        start = body.index(b"\x89PNG")
        picture = Image.open(io.BytesIO(body[start:])).convert("RGB")
        prompt = body.decode("utf-8", "ignore").split('name="prompt"')[1].split("\r\n\r\n")[1].split("\r\n--")[0]
        rgb = colour_of(picture)
        before = self.requests.count(str(rgb))
        with self._lock:
            self.requests.append(str(rgb))
        wrong = self.fault(rgb, prompt, before)
        if isinstance(wrong, float):
            time.sleep(wrong)
        if isinstance(wrong, int) and not isinstance(wrong, bool):
            error = json.dumps({"error": {"message": "no"}}).encode()
            return self.send(handler, wrong, error, headers={"Retry-After": "0.01"})
        stored = io.BytesIO()
        ImageOps.invert(picture).save(stored, "PNG")
        made = wrong if isinstance(wrong, bytes) else stored.getvalue()
        if made == b"cut":
            handler.send_response(200)
            handler.send_header("Content-Length", "1000")
            handler.end_headers()
            handler.wfile.write(b"{")
            handler.connection.close()
            return None
        data: dict[str, str] = {"b64_json": base64.b64encode(made).decode()}
        if self.by_address:
            self.kept = made
            data = {"url": made.decode() if made.startswith(b"http") else self.url.replace("/v1", "/made.png")}
        return self.send(handler, 200, json.dumps({"created": 1, "data": [data]}).encode())

    def send(
        self,
        handler: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        kind: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> None:
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def provider(server: Server, **settings: Any) -> EditingServerProvider:
    chosen = {"retries": 2, "timeout": 20.0, "base_url": server.url, **settings}
    return EditingServerProvider(ImageSettings(provider="openai", model="editor", **chosen))


def product(name: str) -> Product:
    stored = io.BytesIO()
    Image.new("RGB", (30, 40), COLOURS[name]).save(stored, "PNG")
    return Product(id=name, title=f"{name} shirt", images=(stored.getvalue(),))


PRODUCTS = [product(name) for name in COLOURS]


def colour(image: bytes) -> tuple[int, int, int]:
    return colour_of(open_image(image))


def colour_of(picture: Image.Image) -> tuple[int, int, int]:
    red, green, blue = np.asarray(picture)[5, 5].tolist()
    return red, green, blue


def inverted(rgb: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = rgb
    return 255 - red, 255 - green, 255 - blue


def test_the_main_image_is_made_of_the_photo_and_variants_of_the_main_image(server: Server) -> None:
    made = provider(server).expand(PRODUCTS, 2, seed=0)
    for one, own in zip(made, COLOURS.values(), strict=True):
        assert one.reason == "" and one.main is not None
        assert colour(one.main) == inverted(own)
        assert [colour(variant.image) for variant in one.variants] == [own, own]
        assert len({variant.prompt for variant in one.variants}) == 2


def test_a_busy_server_is_asked_again(server: Server) -> None:
    server.fault = lambda _, __, before: (429, 500)[before] if before < 2 else None
    made = provider(server).expand(PRODUCTS[:1], 0, seed=0)
    assert made[0].main is not None and len(server.requests) == 3


@pytest.mark.parametrize(
    ("wrong", "reason"), [(500, "http_500"), (b"garbage", "bad_image"), (b"cut", "connection"), (400, "http_400")]
)
def test_one_product_that_fails_costs_no_other(server: Server, wrong: bytes | int, reason: str) -> None:
    server.fault = lambda rgb, *_: wrong if rgb == COLOURS["red"] else None
    made = provider(server, retries=1).expand(PRODUCTS, 0, seed=0)
    assert [one.main is not None for one in made] == [True, False, True]
    assert made[1].reason.startswith(reason)


def test_a_slow_server_is_not_waited_for_longer_than_told(server: Server) -> None:
    server.fault = lambda rgb, *_: 3.0 if rgb == COLOURS["red"] else None
    made = provider(server, retries=0, timeout=1.0).expand(PRODUCTS, 0, seed=0)
    assert [one.reason.partition(":")[0] for one in made] == ["", "timeout", ""]


def test_never_more_products_at_once_than_told(server: Server) -> None:
    server.fault = lambda *_: 0.05
    provider(server, concurrency=2).expand(PRODUCTS * 3, 0, seed=0)
    assert server.most_busy == 2


@pytest.mark.parametrize("status", [401, 404])
def test_what_no_product_could_get_ends_the_run(server: Server, status: int) -> None:
    server.fault = lambda *_: status
    with pytest.raises(ExpansionError, match=f"HTTP {status}"):
        provider(server).expand(PRODUCTS, 1, seed=0)


def test_nothing_at_the_address_ends_the_run(server: Server) -> None:
    server.close()
    with pytest.raises(ExpansionError, match="nothing answers there"):
        provider(server, retries=0).expand(PRODUCTS, 1, seed=0)


def test_an_address_is_followed_on_the_server_itself_only(server: Server) -> None:
    server.by_address = True
    assert colour(provider(server).expand(PRODUCTS[:1], 0, seed=0)[0].main or b"") == inverted(COLOURS["navy"])
    server.fault = lambda *_: b"http://127.0.0.1:1/other.png"
    assert provider(server).expand(PRODUCTS[:1], 0, seed=0)[0].reason.startswith("bad_image")


def test_what_is_no_picture_is_not_sent(server: Server) -> None:
    broken = Product(id="broken", title="a shirt", images=(b"no picture",))
    made = provider(server).expand([broken, Product(id="words", title="a shirt")], 1, seed=0)
    assert [one.reason.partition(":")[0] for one in made] == ["unreadable_picture", "no_image"]
    assert not server.requests
