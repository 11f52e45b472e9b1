"""Downloading the images that a table names by URL, several at a time, without trusting the table or the servers.

The table is foreign text: a URL in it, or a redirect, may lead into the network of the machine that imports. So each
host is looked up once, its addresses are checked, and the connection is made to a checked address. Proxies from the
environment are not used, because a proxy would look the host up again.
"""

from __future__ import annotations

import hashlib
import ipaddress
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import httpcore2
import httpx2

from moon2.errors import one_line
from moon2.images import ImageError, open_image

WORKERS = 8
MAX_BYTES = 20_000_000
MAX_REDIRECTS = 5
MAX_TRIES = 3
MAX_SECONDS = 60.0
"""For one try at one image, however slowly the server sends it. The lookup of a name is not counted."""
MAX_WAIT = 30.0
"""Seconds that a server may ask us to wait before the next try."""
MAX_ROWS_AHEAD, MAX_IMAGES_AHEAD = 64, 4 * WORKERS

# Networks of IPv6 addresses that contain an IPv4 address; the one inside decides.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_HEADERS = [("Accept", "image/*"), ("Accept-Encoding", "identity"), ("User-Agent", f"moon2/{version('moon2')}")]

Row = TypeVar("Row")


class FetchError(ImageError):
    """An image could not be downloaded; the message says why, without naming the image."""


class _TryAgainError(FetchError):
    """Another try may work, after `wait` seconds if the server named a time."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


def is_public(address: str) -> bool:
    """Whether an IP address is on the public internet: not private, loopback, link-local, multicast or reserved."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inside = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inside = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inside is not None:
            return is_public(str(inside))
        if ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


class ImageFetcher:
    """Downloads images in background threads; leaving its context cancels what is not finished.

    Args:
        allow_private_hosts: connect to hosts in private networks and on this machine too.
        timeout: seconds to wait for a connection or for the next bytes.
        max_bytes: of one encoded image.
        pause: seconds before the second try; twice that before the third.
        cache: folder for downloaded images, one file each, which a later fetcher reads; the caller deletes it.
    """

    def __init__(
        self,
        *,
        allow_private_hosts: bool = False,
        timeout: float = 10.0,
        max_bytes: int = MAX_BYTES,
        pause: float = 0.5,
        cache: Path | None = None,
    ) -> None:
        self.allow_private_hosts, self.timeout = allow_private_hosts, timeout
        self.max_bytes, self.pause, self.cache = max_bytes, pause, cache
        self._context = ssl.create_default_context()
        self._stopped = threading.Event()
        self._threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="fetch")

    def __enter__(self) -> ImageFetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._threads.shutdown(cancel_futures=True)

    def ahead(
        self, rows: Iterable[Row], urls: Callable[[Row], Iterable[str]]
    ) -> Iterator[tuple[Row, dict[str, Future[bytes]]]]:
        """The rows in their order, each with its images by URL, while the images of the next rows are downloaded.

        Args:
            rows: read a little ahead: at most 64 rows, and no further row once 32 images are waiting.
            urls: the URLs of one row.

        Yields:
            A row, and for each URL a future of the result of `fetch`.
        """
        waiting: deque[tuple[Row, dict[str, Future[bytes]]]] = deque()
        images = 0
        for row in rows:
            futures = {url: self._threads.submit(self.fetch, url) for url in dict.fromkeys(urls(row))}
            waiting.append((row, futures))
            images += len(futures)
            while len(waiting) >= MAX_ROWS_AHEAD or (waiting and images >= MAX_IMAGES_AHEAD):
                images -= len(waiting[0][1])
                yield waiting.popleft()
        yield from waiting

    def fetch(self, url: str) -> bytes:
        """The bytes of one image as the server has them, or from the cache; they can be decoded.

        Raises:
            FetchError: an address is refused, the server refuses, or it sends no image; also after three tries, if a
                server is busy (429, 5xx), too slow, or breaks off.
        """
        cached = self._cache_file(url)
        if cached is not None and cached.is_file():
            return cached.read_bytes()
        encoded = self._try(url)
        if cached is not None:
            cached.parent.mkdir(parents=True, exist_ok=True)
            fresh = cached.with_name(f"{cached.name}.{threading.get_ident()}.new")
            fresh.write_bytes(encoded)
            fresh.replace(cached)  # a killed import leaves no partial file
        return encoded

    def _cache_file(self, url: str) -> Path | None:
        if self.cache is None:
            return None
        # An image from a private host must not serve a fetcher that may not connect there.
        key = f"{self.allow_private_hosts} {url}".encode("utf-8", "replace")
        name = hashlib.blake2b(key, digest_size=20).hexdigest()
        return self.cache / name[:2] / name

    def _try(self, url: str) -> bytes:
        for i in range(1, MAX_TRIES + 1):
            try:
                encoded = self._follow(url)
                open_image(encoded, "the server's answer")
                return encoded
            except _TryAgainError as error:
                wait = self.pause * 2 ** (i - 1) if error.wait is None else min(error.wait, MAX_WAIT)
                if i == MAX_TRIES:
                    raise FetchError(f"{error}, {MAX_TRIES} times") from None
                if self._stopped.wait(wait):
                    raise FetchError("the import was stopped") from None
            except FetchError:
                raise
            except ImageError as error:
                raise FetchError(str(error)) from None
        raise AssertionError("the last try returns or raises")

    def _follow(self, address: str) -> bytes:
        """The bytes at a URL, through its redirects; every error becomes a FetchError."""
        backend = _CheckingBackend(self.allow_private_hosts, time.monotonic() + MAX_SECONDS)
        try:
            with httpcore2.ConnectionPool(ssl_context=self._context, network_backend=backend) as pool:
                url = httpx2.URL(address)
                for _ in range(MAX_REDIRECTS + 1):
                    answer = self._get(pool, url)
                    if isinstance(answer, bytes):
                        return answer
                    url = url.join(answer)
        except FetchError:
            raise
        except httpcore2.TimeoutException:
            raise _TryAgainError("the server took too long") from None
        except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
            if isinstance(error, httpcore2.ConnectError) and not isinstance(error.args[0], ConnectionResetError):
                raise FetchError(f"no connection ({one_line(error)})") from None
            raise _TryAgainError(f"the server broke off ({one_line(error)})") from None
        except (httpx2.InvalidURL, UnicodeError) as error:
            raise FetchError(f"the address is not valid ({one_line(error)})") from None
        raise FetchError(f"more than {MAX_REDIRECTS} redirects")

    def _get(self, pool: httpcore2.ConnectionPool, url: httpx2.URL) -> bytes | str:
        """One request: the bytes, or the address of a redirect."""
        if url.scheme not in ("http", "https") or not url.host:
            raise FetchError("the address, or a redirect of it, is not one of http:// or https://")
        if (url.port or 0) > 65_535:
            raise httpx2.InvalidURL(f"there is no port {url.port}")
        target = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        timeouts = dict.fromkeys(("connect", "read", "write"), self.timeout)
        headers = [("Host", url.netloc.decode("ascii")), *_HEADERS]
        with pool.stream("GET", target, headers=headers, extensions={"timeout": timeouts}) as response:
            answer = httpx2.Headers(response.headers)
            if response.status in (301, 302, 303, 307, 308) and "Location" in answer:
                return answer["Location"]
            if response.status != 200:
                phrase = response.extensions["reason_phrase"].decode("ascii", "replace")
                message = f"the server answered {response.status} {phrase}".strip()
                if response.status != 429 and response.status < 500:
                    raise FetchError(message)
                seconds = answer.get("Retry-After", "")
                raise _TryAgainError(message, float(seconds) if seconds.isascii() and seconds.isdigit() else None)
            encoded = bytearray()
            for chunk in response.iter_stream():
                encoded += chunk
                if len(encoded) > self.max_bytes:
                    raise FetchError(f"it is larger than {self.max_bytes / 1e6:g} MB")
                if self._stopped.is_set():
                    raise FetchError("the import was stopped")
            return bytes(encoded)


class _CheckingBackend(httpcore2.SyncBackend):
    """Looks a host up once, checks its addresses, and connects to one of them until the time `end`."""

    def __init__(self, allow_private_hosts: bool, end: float) -> None:
        self.allow_private_hosts, self.end = allow_private_hosts, end

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *args: Any, **kwargs: Any
    ) -> httpcore2.NetworkStream:
        try:
            addresses = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except socket.gaierror as error:
            kind = _TryAgainError if error.errno == socket.EAI_AGAIN else FetchError
            raise kind(f"its host cannot be found ({one_line(error)})") from None
        private = [] if self.allow_private_hosts else [address for address in addresses if not is_public(address)]
        if private:
            raise FetchError(
                f"host {host} is not on the public internet ({private[0]}); "
                "images in your own network need --allow_private_hosts"
            )
        by_family: dict[bool, str] = {}
        for address in addresses:
            by_family.setdefault(":" in address, address)
        # Many hosts have an IPv6 address that cannot be reached, so one address of each family is tried.
        failure: Exception = httpcore2.ConnectError("the host has no address")
        for address in by_family.values():
            try:
                stream = super().connect_tcp(address, port, _left(self.end, timeout), socket_options=())
                return _EndingStream(stream, self.end)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure


class _EndingStream(httpcore2.NetworkStream):
    """A connection whose every wait ends at the time `end`; a timeout for each wait never stops a server that drips."""

    def __init__(self, stream: httpcore2.NetworkStream, end: float) -> None:
        self.stream, self.end = stream, end

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.stream.read(max_bytes, _left(self.end, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.stream.write(buffer, _left(self.end, timeout))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        secured = self.stream.start_tls(ssl_context, server_hostname, _left(self.end, timeout))
        return _EndingStream(secured, self.end)

    def close(self) -> None:
        self.stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self.stream.get_extra_info(info)


def _left(end: float, timeout: float | None) -> float:
    """The seconds of one wait."""
    left = end - time.monotonic()
    if left <= 0:
        raise httpcore2.ReadTimeout
    return left if timeout is None else min(left, timeout)
