"""Requests that mean harm or make no sense: refused in a line, and the next good one is answered."""

from __future__ import annotations

import base64
import io
import json
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.running_server import RunningServer, running_server

from moon2.serve.refusals import Refusal
from moon2.serve.security import MOST_DEPTH, ApiKeys, check_depth, check_filter
from moon2.serve.settings import Limits, ServeError

SMALL = Limits(body_bytes=400_000, pixels=4_000_000, items=50, characters=1000, waiting=100, seconds=5)
COLUMNS = ["id", "title", "price", "category", "category_path", "brand", "vector", "thumbnail", "a"]


@pytest.fixture(scope="module")
def server(shop_index: Path) -> Iterator[RunningServer]:
    with running_server(shop_index, limits=SMALL) as running:
        yield running


def png(width: int, height: int) -> bytes:
    """A file that says it has so many pixels and holds none of them."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0" * 100)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def part(header: str, end: str = "\r\n--b--\r\n") -> bytes:
    """A form of one part."""
    return f"--b\r\nContent-Disposition: form-data; {header}{end}".encode()


def image_file(kind: str = "PNG") -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (32, 32), "navy").save(written, kind)
    return written.getvalue()


def uri(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


GOOD = image_file()
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1:9/x.png"/></svg>'
IMAGES: dict[str, str] = {  # what stands in the place of an image, each to be refused
    "http": "http://127.0.0.1:9/photo.jpg",
    "https": "https://169.254.169.254/latest/meta-data",
    "file": "file:///etc/passwd",
    "ftp": "ftp://127.0.0.1/x",
    "path": "/etc/passwd",
    "relative path": "../../../etc/passwd",
    "windows path": "C:\\windows\\win.ini",
    "pipe": "/dev/stdin",
    "nothing": "",
    "text": "data:text/html;base64,PGI+",
    "no base64": "data:image/png,%89PNG",
    "bad base64": "data:image/png;base64,!!!!",
    "parameters": "data:image/png;a=" + "b" * 500 + ";base64,AAAA",
    "cut short": uri(GOOD[: len(GOOD) // 2]),
    "fifty thousand pixels a side": uri(png(50_000, 50_000)),
    "a billion wide": uri(png(2**31 - 1, 1)),
    "no pixels": uri(png(0, 0)),
    "pixels that are not there": uri(png(1500, 1500)),
    "svg": uri(SVG, "image/svg+xml"),
    "postscript": uri(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nquit\n", "image/eps"),
    "zip bomb": uri(zlib.compress(b"\0" * 10**6)),
    "html before a jpeg": uri(b"<script>alert(1)</script>" + image_file("JPEG"), "image/jpeg"),
}
JSON = {"content-type": "application/json"}
FORM = {"content-type": "multipart/form-data; boundary=b"}
BODIES: dict[str, tuple[str, str, Any, dict[str, str]]] = {  # method, path, body, headers; each is the client's fault
    "no JSON": ("POST", "/v1/search", b"{", JSON),
    "nothing": ("POST", "/v1/search", b"", JSON),
    "null": ("POST", "/v1/embeddings", b"null", JSON),
    "a list": ("POST", "/v1/search", b"[]", JSON),
    "no UTF-8": ("POST", "/v1/search", b'{"text":"\xff\xfe"}', JSON),
    "half an emoji": ("POST", "/v1/search", b'{"text":"\\ud83d"}', JSON),
    "half an emoji in a key": ("POST", "/v1/embeddings", b'{"\\ud83d":1}', JSON),
    "half an emoji to embed": ("POST", "/v1/embeddings", b'{"model":"encoder0","input":"\\ud83d"}', JSON),
    "a zero byte": ("POST", "/v1/search", b'{"text":"a","like":"\\u0000"}', JSON),
    "nested lists": ("POST", "/v1/embeddings", b"[" * 100_000, JSON),
    "nested objects": ("POST", "/v1/search", b'{"a":' * 50_000, JSON),
    "a long number": ("POST", "/v1/search", b'{"text":"a","limit":' + b"9" * 10_000 + b"}", JSON),
    "a long float": ("PUT", "/v1/products", b'[{"id":"x","title":"x","price":1e999}]', JSON),
    "not a number": ("PUT", "/v1/products", b'[{"id":"x","title":"x","price":NaN}]', JSON),
    "a price that is none": ("PUT", "/v1/products", b'[{"id":"x","title":"x","price":true}]', JSON),
    "a price in words": ("PUT", "/v1/products", b'[{"id":"x","title":"x","price":"29"}]', JSON),
    "an empty id": ("PUT", "/v1/products", b'[{"id":" ","title":"x"}]', JSON),
    "an id that is none": ("PUT", "/v1/products", b'[{"id":{"a":1},"title":"x"}]', JSON),
    "products that are none": ("PUT", "/v1/products", b'[1,null,"a",[]]', JSON),
    "no products": ("PUT", "/v1/products", b"[]", JSON),
    "too many products": ("PUT", "/v1/products", json.dumps([{"id": "a"}] * 51).encode(), JSON),
    "too many texts": ("POST", "/v1/embeddings", json.dumps({"model": "m", "input": ["a"] * 51}).encode(), JSON),
    "a long text": ("POST", "/v1/embeddings", json.dumps({"model": "m", "input": "a" * 1001}).encode(), JSON),
    "a long query": ("POST", "/v1/search", json.dumps({"text": "a" * 2001}).encode(), JSON),
    "wrong types": ("POST", "/v1/search", b'{"text":1,"limit":"5"}', JSON),
    "limit 0": ("POST", "/v1/search", b'{"text":"a","limit":0}', JSON),
    "limit -1 in a form": ("POST", "/v1/search", part('name="limit"\r\n\r\n-1'), FORM),
    "a form without end": ("POST", "/v1/search", part('name="text"\r\n\r\na', ""), FORM),
    "a form without boundary": ("POST", "/v1/search", b"a", {"content-type": "multipart/form-data"}),
    "a file elsewhere": ("POST", "/v1/search", part('name="text"; filename="/etc/passwd"\r\n\r\na'), FORM),
    "plain text": ("POST", "/v1/search", b'{"text":"a"}', {"content-type": "text/plain"}),
    "no type": ("PUT", "/v1/products", b'[{"id":"x","title":"x"}]', {}),
    "compressed": ("POST", "/v1/search", zlib.compress(b"\0" * 10**6), {**JSON, "content-encoding": "gzip"}),
    "a large body": ("POST", "/v1/search", b" " * 500_000, JSON),
    "another site's name": ("GET", "/v1/facets", None, {"host": "evil.example"}),
    "an unknown parameter": ("GET", "/v1/facets?wehre=1", None, {}),
    "no such index": ("GET", "/v1/facets?index=7", None, {}),
    "traversal": ("GET", "/v1/products/..%2F..%2F..%2Fetc%2Fpasswd/images/0", None, {}),
    "traversal in a number": ("GET", "/v1/products/p00001/images/..%2F0", None, {}),
    "a negative image": ("GET", "/v1/products/p00001/images/-1", None, {}),
    "SQL in an id": ("GET", "/v1/products/x'%20OR%20'1'='1", None, {}),
    "no such method": ("PATCH", "/v1/products", b"", {}),
    "all products": ("DELETE", "/v1/products/%25", None, {}),
}
FILTERS = (
    "1=1; DROP TABLE products", "price < 3 --", "id IN (SELECT id FROM products)", "repeat('a', 1000000000) = 'b'",
    "read_csv('/etc/passwd') IS NULL", "vector IS NOT NULL", "thumbnail = 'a'", "prise < 3", "price <", "price = 'a",
    "(" * 500 + "1=1" + ")" * 500, "NOT " * 450 + "true", "price = 1 OR " * 300 + "true", "-" * 900 + "1 = 1", "price",
    "price LIKE 'a'", "title < 3 AND", "CASE WHEN true THEN 1 END", "category_path[999999999999999999999] = 'a'",
    "price > 1e999999", "price = 999999999999999999999999999999", "\0",
    "price / 0 = 1", "lower() = 'a'", "id = ''''",
)  # fmt: skip


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_never_fetched_and_a_bad_one_is_refused(server: RunningServer, name: str) -> None:
    image = IMAGES[name]
    for path, body in (
        ("/v1/search", {"image": image}),
        ("/v2/embed", {"model": server.get("/v1/models")["data"][0]["id"], "images": [image]}),
    ):
        answer = server.client.post(path, json=body)
        assert answer.status_code == 422, answer.text
        assert answer.json()["error"]["param"] in ("image", "images[0]")


@pytest.mark.parametrize("side", [2001, 20_000])
def test_an_image_of_too_many_pixels_is_told_so(server: RunningServer, side: int) -> None:
    error = server.client.post("/v1/search", json={"image": uri(png(side, side))}).json()["error"]
    assert error["message"].endswith("pixels are more than 4,000,000"), "also where Pillow itself refuses it"


@pytest.mark.parametrize("name", BODIES)
def test_a_request_that_makes_no_sense_is_refused_in_a_line(server: RunningServer, name: str) -> None:
    method, path, body, headers = BODIES[name]
    answer = server.client.request(method, path, content=body, headers=headers)
    assert 400 <= answer.status_code < 500, answer.text
    error = answer.json()["error"]
    assert error["message"] and "\n" not in error["message"] and len(error["message"]) < 700
    assert "Traceback" not in answer.text and str(Path(__file__).parents[2]) not in answer.text


def test_a_key_that_is_none_is_named_and_so_is_the_one_that_was_meant(server: RunningServer) -> None:
    def refused(path: str, method: str = "POST", **body: Any) -> tuple[str, str]:
        error = server.client.request(method, path, json=body or None).json()["error"]
        return error["param"], error["message"].partition(": ")[2]

    for name, meant in (("query", "text"), ("q", "text"), ("top_k", "limit"), ("wehre", "where"), ("body", "")):
        end = f"; did you mean {meant!r}?" if meant else ""
        assert refused("/v1/search", **{name: "navy"}) == (name, f"there is no key {name!r} here{end}")
    assert refused("/v1/facets?wehre=1", "GET") == ("wehre", "there is no key 'wehre' here; did you mean 'where'?")
    assert refused("/v1/heatmap", txet="navy", query="red")[0] == "txet"
    put = server.client.put("/v1/products", json=[{"id": "a", "query": 1}]).json()["error"]["message"]
    assert put == "[0]: query: there is no key 'query' here"


@pytest.mark.parametrize("where", FILTERS, ids=range(len(FILTERS)))
def test_a_filter_compares_columns_and_does_nothing_else(server: RunningServer, where: str) -> None:
    answer = server.client.post("/v1/search", content=json.dumps({"text": "shirt", "where": where}), headers=JSON)
    # What compares nothing that is there may find nothing; nothing else is done.
    assert answer.status_code == 422 or (answer.status_code == 200 and answer.json()["hits"] == []), answer.text


def test_good_requests_are_answered_after_all_that(server: RunningServer) -> None:
    assert server.ask("/v1/search", text="shirt", image=uri(GOOD))["hits"]
    assert server.ask("/v1/search", text="shirt", where="price < 100 AND (brand = 'a' OR lower(title) LIKE '%s%')")
    assert server.get("/readyz") == {"status": "ready"}
    assert server.metric('moon2_rejected_requests_total{status="500"}') == 0


def test_a_slow_or_broken_sender_holds_nobody_up(shop_index: Path) -> None:
    with running_server(shop_index, limits=Limits(seconds=3)) as server:
        host, port = server.address.removeprefix("http://").split(":")
        slow = socket.create_connection((host, int(port)))
        begun = b"POST /v1/search HTTP/1.1\r\nhost: localhost\r\n"
        slow.sendall(begun + b"content-type: application/json\r\ncontent-length: 99\r\n\r\n{")
        gone = socket.create_connection((host, int(port)))
        gone.sendall(begun + b"content-length: 99\r\n\r\n{")
        gone.close()
        with socket.create_connection((host, int(port))) as smuggling:
            smuggling.sendall(
                begun + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
                b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n"
            )
            assert b" 200 " not in smuggling.recv(65536).split(b"\r\n")[0]
        assert server.ask("/v1/search", text="shirt")["hits"]
        assert slow.recv(65536).startswith(b"HTTP/1.1 504")
        slow.close()


def test_keys_are_asked_for_and_told_from_others(
    shop_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# of the shop\nfirst-key\n\nsecond-key\n")
    monkeypatch.setenv("MOON2_API_KEYS", "third-key, ")
    accepted = ApiKeys.read(keys)
    for key in ("first-key", "second-key", "third-key"):
        assert accepted.accept(f"Bearer {key}") and not accepted.accept(key) and not accepted.accept(f"Basic {key}")
    for wrong in ("", "Bearer ", "Bearer first", "Bearer # of the shop", "Bearer first-key\0"):
        assert not accepted.accept(wrong)
    with running_server(shop_index, api_keys=keys) as server:
        for path in ("/v1/facets", "/v1/models", "/metrics", "//v1/facets"):
            answer = server.client.get(path)
            assert answer.status_code == 404 or answer.headers["www-authenticate"] == "Bearer"
        assert server.client.get("/v1/facets", headers={"Authorization": "Bearer second-key"}).status_code == 200
        assert server.client.get("/healthz").status_code == 200
    for content in ("", "# nothing\n"):
        keys.write_text(content)
        with pytest.raises(ServeError, match="no API key"):
            ApiKeys.read(keys)


def test_depth_counts_brackets_outside_of_strings() -> None:
    check_depth(json.dumps({"text": "[" * 1000 + '"\\', "list": [[] for _ in range(100)]}).encode())
    check_depth(b"[" * MOST_DEPTH)
    for body in (b"[" * (MOST_DEPTH + 1), b'{"a":' * 100, b'["\\"", ' + b"[" * 100):
        with pytest.raises(Refusal, match="nested"):
            check_depth(body)


def test_a_string_without_end_is_checked_in_linear_time() -> None:
    started = time.monotonic()
    check_depth(b"[]" * 33 + b'"' + b'\\"' * 500_000)
    assert time.monotonic() - started < 2


def test_useful_filters_pass() -> None:
    for where in (
        "price < 50 AND category = 'Shoes'",
        "array_has(category_path, 'Apparel') OR NOT (brand IN ('A''s', 'B'))",
        "brand = 'a--b /* (' OR price = 5 - 3",
        "price BETWEEN .5 AND 2e3 AND title LIKE '%navy%' AND `brand` IS NOT NULL",
    ):
        check_filter(where, COLUMNS)
    for where in (
        "sleep(9) = 1",
        "id IN (SELECT 1)",
        "vector IS NULL",
        "a::int = 1",
        'id = "x"',
        "price < 5) OR (price > 5",
        "true -- (\n) OR (true",
        "true /* ( */",
        "(price < 5",
        "brand = 'a' AND (price < 5]",
    ):
        with pytest.raises(Refusal):
            check_filter(where, COLUMNS)
