"""Downloading images by URL from a real server on this machine: good ones arrive, bad ones are listed."""

from __future__ import annotations

import csv
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from moon2.catalog.importing import download
from moon2.catalog.importing.download import FetchError, ImageFetcher, is_public
from moon2.catalog.importing.import_catalog import ImportResult, import_catalog
from moon2.catalog.store import Catalog, CatalogWriter
from moon2.cli import main
from moon2.records import Product

Encode = Callable[..., bytes]


class ImageHost(ThreadingHTTPServer):
    """A shop's image host. The path decides the answer, as in `Answers`; `requests` counts requests by path."""

    daemon_threads = True

    def __init__(self, good: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.good = good
        self.requests: Counter[str] = Counter()
        self.hosts: list[str] = []
        self.closing = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Answers(BaseHTTPRequestHandler):
    server: ImageHost

    def do_GET(self) -> None:
        requests, good = self.server.requests, self.server.good
        path = self.path.partition("?")[0]
        requests[self.path] += 1
        self.server.hosts.append(self.headers["Host"])
        if path == "/busy-once.png" and requests[self.path] == 1:
            self.answer(503, b"", ("Retry-After", "0"))
        elif path == "/broken-off-once.png" and requests[self.path] == 1:
            self.answer(200, good[:20], ("Content-Length", str(len(good))))
        elif path == "/busy.png":
            self.answer(429, b"")
        elif path == "/missing.png":
            self.answer(404, b"")
        elif path == "/page.png":
            self.answer(200, b"<html>not here</html>")
        elif path == "/large.png":
            self.answer(200, bytes(3_000))
        elif path == "/large-unannounced.png":
            self.answer(200, bytes(3_000), ("Content-Length", ""))
        elif path == "/slow.png":
            self.server.closing.wait(5)
        elif path.startswith("/to/"):
            self.answer(302, b"", ("Location", self.path.removeprefix("/to/")))
        elif path == "/round":
            self.answer(302, b"", ("Location", "/round"))
        else:
            # Later requests are answered sooner, so the order of the answers is not that of the table.
            time.sleep(0.04 / (1 + requests.total()))
            self.answer(200, good)

    def answer(self, status: int, content: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **dict(headers)}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def host(image_bytes: Encode) -> Iterator[ImageHost]:
    with ImageHost(image_bytes()) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def fetcher() -> Iterator[ImageFetcher]:
    with ImageFetcher(allow_private_hosts=True, max_bytes=2_000, pause=0.01) as fetcher:
        yield fetcher


def write_shop(path: Path, images: list[str]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = [(f"p{i}", f"Product {i}", image) for i, image in enumerate(images)]
        csv.writer(file).writerows([("id", "title", "image"), *rows])
    return path


@pytest.mark.parametrize(
    "path",
    ["/a.png", "/to//a.png", "/shirt blå (1).png?size=å b", "/busy-once.png", "/broken-off-once.png"],
    ids=["good", "redirect", "spaces and accents", "503 then fine", "broken off then fine"],
)
def test_an_image_arrives_as_the_server_has_it(host: ImageHost, fetcher: ImageFetcher, path: str) -> None:
    assert fetcher.fetch(host.url + path) == host.good


@pytest.mark.parametrize(
    ("path", "why", "tries"),
    [
        ("/missing.png", "answered 404", 1),
        ("/page.png", "cannot be read as an image", 1),
        ("/large.png", "larger than 0.002 MB", 1),
        ("/large-unannounced.png", "larger than 0.002 MB", 1),
        ("/round", "more than 5 redirects", 6),
        ("/to/file:///etc/passwd", "not one of http", 1),
        ("/busy.png", "answered 429 Too Many Requests, 3 times", 3),
    ],
)
def test_an_error_says_why_and_only_passing_ones_are_retried(
    host: ImageHost, fetcher: ImageFetcher, path: str, why: str, tries: int
) -> None:
    with pytest.raises(FetchError, match=why):
        fetcher.fetch(host.url + path)
    assert host.requests[path] == tries


def test_a_slow_host_is_given_up(host: ImageHost) -> None:
    url = f"{host.url}/slow.png"
    hasty = ImageFetcher(allow_private_hosts=True, timeout=0.2, pause=0.01)
    with hasty, pytest.raises(FetchError, match="took too long, 3 times"):
        hasty.fetch(url)


class DrippingHost:
    """Answers a request with an opening, then drips for two seconds. `finished` counts requests answered in full."""

    def __init__(self, opening: bytes) -> None:
        self.opening, self.finished = opening, 0
        self.closing = threading.Event()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.settimeout(0.05)
        self.port = self.listening.getsockname()[1]
        self.thread = threading.Thread(target=self.answer)

    def __enter__(self) -> DrippingHost:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.thread.join()
        self.listening.close()

    def answer(self) -> None:
        while not self.closing.is_set():
            with suppress(TimeoutError, ConnectionError):
                visitor, _ = self.listening.accept()
                with visitor:
                    visitor.recv(65_536)
                    visitor.sendall(self.opening)
                    for _ in range(40):
                        visitor.sendall(b"a")
                        self.closing.wait(0.05)
                    self.finished += 1


@pytest.mark.parametrize(
    ("scheme", "opening"),
    [
        ("https", b"\x16\x03\x03\x40\x00"),
        ("http", b"HTTP/1.1 200 "),
        ("http", b"HTTP/1.1 200 OK\r\nContent-Type: "),
        ("http", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        ("http", b"HTTP/1.1 200 OK\r\n\r\n"),
    ],
    ids=["handshake", "first line", "header", "announced body", "unannounced body"],
)
def test_a_host_that_drips_is_hung_up_on(
    fetcher: ImageFetcher, monkeypatch: pytest.MonkeyPatch, scheme: str, opening: bytes
) -> None:
    monkeypatch.setattr(download, "MAX_SECONDS", 0.3)
    with DrippingHost(opening) as host:
        with pytest.raises(FetchError, match="took too long, 3 times"):
            fetcher.fetch(f"{scheme}://127.0.0.1:{host.port}/a.png")
        assert not host.finished


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://[::1/a.png",
        "http://x.example:port/a.png",
        "http://127.0.0.1:70000/a.png",
        "http://a..b/c.png",
    ],
)
def test_an_invalid_address_is_named_as_such(fetcher: ImageFetcher, url: str) -> None:
    with pytest.raises(FetchError, match="address"):
        fetcher.fetch(url)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:4700::1111", True),
        ("64:ff9b::5db8:d822", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("::1", False),
        ("fe80::1%2", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) == public


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "2130706433", "[::1]"])
def test_private_hosts_are_refused_without_a_request(host: ImageHost, name: str) -> None:
    with ImageFetcher() as fetcher, pytest.raises(FetchError, match=r"not on the public internet .*--allow_private"):
        fetcher.fetch(f"http://{name}:{host.server_port}/a.png")
    assert not host.requests


def test_a_redirect_to_a_private_host_is_refused(host: ImageHost, monkeypatch: pytest.MonkeyPatch) -> None:
    # This host counts as public here, the target of its redirect does not.
    monkeypatch.setattr(download, "is_public", lambda address: address == "127.0.0.1")
    with ImageFetcher() as fetcher:
        assert fetcher.fetch(f"{host.url}/to//a.png") == host.good
        with pytest.raises(FetchError, match=r"host 127\.0\.0\.2 is not on the public internet"):
            fetcher.fetch(f"{host.url}/to/http://127.0.0.2:{host.server_port}/a.png")


def resolve(monkeypatch: pytest.MonkeyPatch, addresses: dict[str, list[str]]) -> None:
    """Lets names resolve to these addresses, one after the other; addresses resolve to themselves."""
    system = socket.getaddrinfo

    def getaddrinfo(host: str, *args: object, **options: object) -> object:
        return system(addresses[host].pop(0) if host in addresses else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_the_connection_goes_to_the_address_that_was_checked(host: ImageHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "is_public", lambda address: address == "127.0.0.1")
    resolve(monkeypatch, {"shop.example": ["127.0.0.1", "127.0.0.2"]})
    url = f"http://shop.example:{host.server_port}/a.png"
    with ImageFetcher() as fetcher:
        assert fetcher.fetch(url) == host.good
        assert host.hosts == [f"shop.example:{host.server_port}"]
        with pytest.raises(FetchError, match=r"host shop\.example is not on the public internet \(127\.0\.0\.2\)"):
            fetcher.fetch(url)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, to make a certificate")
def test_a_certificate_is_checked_against_the_name(
    host: ImageHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -nodes -newkey rsa:2048 -subj /CN=shop.example -addext subjectAltName=DNS:shop.example"
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    names: list[str | None] = []
    server.sni_callback = lambda connection, name, context: names.append(name)
    host.socket = server.wrap_socket(host.socket, server_side=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    resolve(monkeypatch, {"shop.example": ["127.0.0.1"], "other.example": ["127.0.0.1"]})
    with ImageFetcher(allow_private_hosts=True) as fetcher:
        assert fetcher.fetch(f"https://shop.example:{host.server_port}/a.png") == host.good
        with pytest.raises(FetchError, match=r"no connection .*not valid for 'other\.example'"):
            fetcher.fetch(f"https://other.example:{host.server_port}/a.png")
    assert names == ["shop.example", "other.example"]


def test_rows_keep_their_order_and_are_read_only_a_little_ahead(host: ImageHost, fetcher: ImageFetcher) -> None:
    read = 0

    def rows() -> Iterator[int]:
        nonlocal read
        while read < 80:
            read += 1
            yield read

    for i, (row, futures) in enumerate(fetcher.ahead(rows(), lambda row: [f"{host.url}/{row}.png"]), start=1):
        assert row == i and read - row < download.MAX_IMAGES_AHEAD
        assert [future.result() for future in futures.values()] == [host.good]
    assert i == 80


def test_import_with_fetch_stores_images_and_lists_those_that_failed(host: ImageHost, tmp_path: Path) -> None:
    (tmp_path / "local.png").write_bytes(host.good)
    images = [f"{host.url}/{i}.png" for i in range(70)]
    images[3] = f"{host.url}/missing.png"
    images[5] = f"{host.url}/page.png|{host.url}/5.png"
    images[7] = "local.png"
    table = write_shop(tmp_path / "shop.csv", images)
    result = run(table, tmp_path / "out")
    assert (result.products, result.rejected, result.dropped, result.unfetched) == (70, 0, 2, 0)
    assert result.reasons == {"image_not_fetched": 2}
    assert [product.id for product in result.catalog.products() if product.images != (host.good,)] == ["p3"]
    assert result.catalog.product("p3").images == ()
    again = run(table, tmp_path / "again")
    assert content(again.catalog) == content(result.catalog)


def run(table: Path, out: Path) -> ImportResult:
    return import_catalog(str(table), layout="csv", out=out, fetch=True, allow_private_hosts=True)


def content(catalog: Catalog) -> dict[str, bytes]:
    return {
        str(file.relative_to(catalog.folder)): file.read_bytes() for file in sorted(catalog.folder.rglob("*.parquet"))
    }


def test_the_command_says_which_images_it_did_not_download(
    host: ImageHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_shop(tmp_path / "shop.csv", [f"{host.url}/a.png", f"{host.url}/b.png", ""])
    command = ["import", str(table), "--as", "csv", "--overwrite", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert "2 images are URLs" in last and "--fetch" in last and not host.requests
    assert main([*command, "--fetch", "--allow_private_hosts"]) == 0
    assert "URLs" not in capsys.readouterr().err
    assert Catalog.open(tmp_path / "out").product("p0").images == (host.good,)


def test_an_import_that_was_stopped_does_not_download_again(
    tmp_path: Path, host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_shop(tmp_path / "shop.csv", [f"{host.url}/{i}.png" for i in range(120)])
    added, add = [], CatalogWriter.add_product

    def stop_in_the_middle(writer: CatalogWriter, product: Product, split: str) -> None:
        added.append(product.id)
        if len(added) > 60:
            raise KeyboardInterrupt
        add(writer, product, split)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(CatalogWriter, "add_product", stop_in_the_middle)
        run(table, tmp_path / "out")
    requests = dict(host.requests)
    assert len(requests) >= 60
    result = run(table, tmp_path / "out")
    assert result.products == 120
    assert all(product.images == (host.good,) for product in result.catalog.products())
    # Only images that were not finished when the import was stopped are downloaded twice.
    assert sum(host.requests[path] == count for path, count in requests.items()) >= 60
    assert not (tmp_path / ".out.fetched").exists()


def test_cached_images_of_private_hosts_need_the_same_permission(tmp_path: Path, host: ImageHost) -> None:
    with ImageFetcher(allow_private_hosts=True, cache=tmp_path) as fetcher:
        assert fetcher.fetch(f"{host.url}/a.png") == fetcher.fetch(f"{host.url}/a.png") == host.good
    assert host.requests["/a.png"] == 1
    with ImageFetcher(cache=tmp_path) as fetcher, pytest.raises(FetchError, match="not on the public internet"):
        fetcher.fetch(f"{host.url}/a.png")
