"""Visual expansion by an images/edits server that fails on purpose: real HTTP on loopback, real images."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from moon2.augment.errors import AugmentationError
from moon2.augment.images.openai import OpenAIImageProvider
from moon2.augment.images.provider import Expansion
from moon2.augment.prompts import load_prompts
from moon2.augment.settings import ImageSettings
from moon2.augment.stages import ProviderCalls
from moon2.augment.text.sanitize import clean_product
from moon2.images import open_image
from moon2.records import Product

COLOURS = {"navy": (0, 0, 128), "red": (255, 0, 0), "green": (0, 128, 0)}


class Server:
    """Inverts the posted image, unless `fault` says otherwise; it gets the posted image's colour and prompt."""

    def __init__(self) -> None:
        self.fault: Callable[[tuple[int, int, int], str, int], bytes | int | float | None] = lambda *_: None
        self.requests: list[str] = []
        self.busy = self.most_busy = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.answer(self, self.rfile.read(int(self.headers["Content-Length"])))

            def do_GET(self) -> None:
                outer.send(self, 200, outer.stored, "image/png")

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        self.stored = b""
        self.by_address = False
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        start = body.index(b"\x89PNG")
        image = Image.open(io.BytesIO(body[start:])).convert("RGB")
        prompt = body.decode("utf-8", "ignore").split('name="prompt"')[1].split("\r\n\r\n")[1].split("\r\n--")[0]
        rgb = colour_of(image)
        before = self.requests.count(str(rgb))
        with self._lock:
            self.requests.append(str(rgb))
            self.busy += 1
            self.most_busy = max(self.most_busy, self.busy)
        wrong = self.fault(rgb, prompt, before)
        if isinstance(wrong, float):
            time.sleep(wrong)
        with self._lock:
            self.busy -= 1  # before the answer, after which the client may ask again at once
        if isinstance(wrong, int) and not isinstance(wrong, bool):
            error = json.dumps({"error": {"message": "no"}}).encode()
            return self.send(handler, wrong, error, headers={"Retry-After": "0.01"})
        stored = io.BytesIO()
        ImageOps.invert(image).save(stored, "PNG")
        edited = wrong if isinstance(wrong, bytes) else stored.getvalue()
        if edited == b"cut":
            handler.send_response(200)
            handler.send_header("Content-Length", "1000")
            handler.end_headers()
            handler.wfile.write(b"{")
            handler.connection.close()
            return None
        data: dict[str, str] = {"b64_json": base64.b64encode(edited).decode()}
        if self.by_address:
            self.stored = edited
            data = {"url": edited.decode() if edited.startswith(b"http") else self.url.replace("/v1", "/made.png")}
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


def expand(server: Server, products: Sequence[Product], count: int, **more: Any) -> list[Any]:
    """As the pipeline does: several products at once, behind the circuit breaker."""
    options = {"retries": 2, "timeout": 20.0, "base_url": server.url, **more}
    provider = OpenAIImageProvider(ImageSettings(provider="openai", model="editor", **options), load_prompts())
    cleaned = [clean_product(product) for product in products]

    def call(rows: Sequence[int]) -> list[Expansion]:
        return [provider.expand(cleaned[row], count, seed=0) for row in rows]

    return ProviderCalls("images", provider).results(call, len(products))


def reasons(results: Sequence[Any]) -> list[str]:
    return ["" if isinstance(result, Expansion) else str(result).partition(":")[0] for result in results]


def product(name: str) -> Product:
    stored = io.BytesIO()
    Image.new("RGB", (30, 40), COLOURS[name]).save(stored, "PNG")
    return Product(id=name, title=f"{name} shirt", images=(stored.getvalue(),))


PRODUCTS = [product(name) for name in COLOURS]


def colour(image: bytes) -> tuple[int, int, int]:
    return colour_of(open_image(image))


def colour_of(image: Image.Image) -> tuple[int, int, int]:
    red, green, blue = np.asarray(image)[5, 5].tolist()
    return red, green, blue


def inverted(rgb: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = rgb
    return 255 - red, 255 - green, 255 - blue


def test_the_main_image_is_made_of_the_photo_and_variants_of_the_main_image(server: Server) -> None:
    for expansion, original in zip(expand(server, PRODUCTS, 2), COLOURS.values(), strict=True):
        assert expansion.reason == ""
        assert colour(expansion.main) == inverted(original)
        assert [colour(variant.image) for variant in expansion.variants] == [original, original]
        assert len({variant.prompt for variant in expansion.variants}) == 2


def test_a_busy_server_is_asked_again(server: Server) -> None:
    server.fault = lambda _, __, before: (429, 500)[before] if before < 2 else None
    assert reasons(expand(server, PRODUCTS[:1], 0)) == [""] and len(server.requests) == 3


@pytest.mark.parametrize(
    ("wrong", "reason"), [(500, "http_500"), (b"garbage", "bad_image"), (b"cut", "connection"), (400, "http_400")]
)
def test_one_product_that_fails_costs_no_other(server: Server, wrong: bytes | int, reason: str) -> None:
    server.fault = lambda rgb, *_: wrong if rgb == COLOURS["red"] else None
    assert reasons(expand(server, PRODUCTS, 0, retries=1)) == ["", reason, ""]


def test_a_slow_server_is_given_up_after_the_timeout(server: Server) -> None:
    server.fault = lambda rgb, *_: 60.0 if rgb == COLOURS["red"] else None
    assert reasons(expand(server, PRODUCTS, 0, retries=0, timeout=4.0)) == ["", "timeout", ""]


def test_never_more_products_at_once_than_the_settings_allow(server: Server) -> None:
    server.fault = lambda *_: 0.05
    expand(server, PRODUCTS * 3, 0, concurrency=2)
    assert server.most_busy == 2


@pytest.mark.parametrize("status", [401, 404])
def test_what_no_product_can_get_ends_the_run(server: Server, status: int) -> None:
    server.fault = lambda *_: status
    with pytest.raises(AugmentationError, match=f"HTTP {status}"):
        expand(server, PRODUCTS, 1)


def test_nothing_at_the_address_ends_the_run(server: Server) -> None:
    server.close()
    with pytest.raises(AugmentationError, match="nothing answers there"):
        expand(server, PRODUCTS, 1, retries=0)


def test_a_server_that_breaks_on_every_product_ends_the_run(server: Server) -> None:
    server.fault = lambda *_: 500
    with pytest.raises(AugmentationError, match=r"failed on the last 8 products \(http_500"):
        expand(server, PRODUCTS * 5, 1, retries=0)


def test_an_address_is_followed_on_the_server_itself_only(server: Server) -> None:
    server.by_address = True
    (expansion,) = expand(server, PRODUCTS[:1], 0)
    assert colour(expansion.main) == inverted(COLOURS["navy"])
    server.fault = lambda *_: b"http://127.0.0.1:1/other.png"
    assert reasons(expand(server, PRODUCTS[:1], 0)) == ["bad_image"]


def test_a_product_without_a_readable_image_is_not_sent(server: Server) -> None:
    broken = Product(id="broken", title="a shirt", images=(b"not an image",))
    text = Product(id="text", title="a shirt")
    assert reasons(expand(server, [broken, text], 1)) == ["unreadable_image", "no_image"]
    assert not server.requests
