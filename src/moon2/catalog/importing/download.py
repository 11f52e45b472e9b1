"""Downloading pictures that a table names by URL, several at a time, without trusting the table or the servers.

A table is somebody else's text: an address in it, or a redirect on the way, may point into the network of the machine
that imports. So every hop's host is looked up once, checked, and connected to at the very address that was checked. An
environment's proxy is not used: behind it, the check would be of another lookup than the connection's.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import ipaddress
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urljoin, urlsplit

from moon2.catalog.schema import one_line
from moon2.images import ImageError, open_image

WORKERS = 8
MAX_BYTES = 20_000_000
MAX_REDIRECTS = 5
MAX_TRIES = 3
MAX_SECONDS = 60.0
"""For one try at one picture, however steadily it drips in; looking a name up takes what the system takes for it."""
MAX_WAIT = 30.0
"""Seconds that a server may ask us to wait before the next try."""
MAX_ROWS_AHEAD, MAX_PICTURES_AHEAD = 64, 4 * WORKERS

# IPv6 addresses of networks that carry IPv4 inside; what counts is the address inside.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PUNCTUATION = "%/:!$&'()*+,;=@~"

Row = TypeVar("Row")


class FetchError(ImageError):
    """A picture could not be fetched; the message says why, without naming the picture."""


class _TryAgainError(FetchError):
    """It may work on another try, after `wait` seconds if the server named a time."""

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


class PictureFetcher:
    """Fetches pictures in the background; use it as a context, which on leaving gives up what is under way.

    Args:
        allow_private_hosts: also connect to hosts in private networks and on this machine.
        timeout: seconds to wait for a connection or for the next bytes.
        max_bytes: of one encoded picture.
        pause: seconds before the second try; twice that before the third.
        keep: folder in which fetched pictures are kept, a file each, and found again by a later fetcher; its maker
            takes it away. None keeps nothing.
    """

    def __init__(
        self,
        *,
        allow_private_hosts: bool = False,
        timeout: float = 10.0,
        max_bytes: int = MAX_BYTES,
        pause: float = 0.5,
        keep: Path | None = None,
    ) -> None:
        self.keep = keep
        self.allow_private_hosts, self.timeout = allow_private_hosts, timeout
        self.max_bytes, self.pause = max_bytes, pause
        self._context = ssl.create_default_context()
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="fetch")

    def __enter__(self) -> PictureFetcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._pool.shutdown(cancel_futures=True)

    def ahead(
        self, rows: Iterable[Row], urls: Callable[[Row], Iterable[str]]
    ) -> Iterator[tuple[Row, dict[str, Future[bytes]]]]:
        """The rows in their order, each with its pictures, by URL, while those of the next rows are being fetched.

        Args:
            rows: read a little ahead: at most 64 rows, and no further row once 32 pictures are waiting.
            urls: the URLs of one row.

        Yields:
            A row, and per URL a future as of `fetch`.
        """
        waiting: deque[tuple[Row, dict[str, Future[bytes]]]] = deque()
        pictures = 0
        for row in rows:
            found = {url: self._pool.submit(self.fetch, url) for url in dict.fromkeys(urls(row))}
            waiting.append((row, found))
            pictures += len(found)
            while len(waiting) >= MAX_ROWS_AHEAD or (waiting and pictures >= MAX_PICTURES_AHEAD):
                pictures -= len(waiting[0][1])
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()

    def fetch(self, url: str) -> bytes:
        """The bytes of one picture, as the server has them; they have been decoded once to know that they can be.

        One that an earlier fetcher with the same `keep` and the same right to private hosts fetched is not asked for.

        Raises:
            FetchError: the address or a redirect is refused, the server says no, or what it sends is no picture; after
                three tries, too, where a server is busy (429, 5xx), too slow, or breaks off.
        """
        kept = self._kept_at(url)
        if kept is not None and kept.is_file():
            return kept.read_bytes()
        encoded = self._try(url)
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            partial = kept.with_name(f"{kept.name}.{threading.get_ident()}.partial")
            partial.write_bytes(encoded)
            partial.replace(kept)  # there whole or not at all, whenever the import is killed
        return encoded

    def _kept_at(self, url: str) -> Path | None:
        if self.keep is None:
            return None
        # What a fetch with the right to private hosts brought is not for one without it.
        name = hashlib.blake2b(
            f"{self.allow_private_hosts} {url}".encode("utf-8", "replace"), digest_size=20
        ).hexdigest()
        return self.keep / name[:2] / name

    def _try(self, url: str) -> bytes:
        for i in range(1, MAX_TRIES + 1):
            try:
                encoded = self._follow(url)
                open_image(encoded, "what came")
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

    def _follow(self, url: str) -> bytes:
        end = time.monotonic() + MAX_SECONDS
        for _ in range(MAX_REDIRECTS + 1):
            try:
                found = self._get(url, end)
                if isinstance(found, bytes):
                    return found
                url = urljoin(url, found)
            except (TimeoutError, ConnectionResetError, BrokenPipeError, http.client.IncompleteRead) as error:
                slow = isinstance(error, TimeoutError)
                raise _TryAgainError("the server took too long" if slow else "the server broke off") from None
            except socket.gaierror as error:
                kind = _TryAgainError if error.errno == socket.EAI_AGAIN else FetchError
                raise kind(f"its host cannot be found ({one_line(error)})") from None
            except (OSError, http.client.HTTPException) as error:
                raise FetchError(f"no connection ({one_line(error)})") from None
            except FetchError:
                raise
            except ValueError as error:
                raise FetchError(f"the address is not valid ({one_line(error)})") from None
        raise FetchError(f"more than {MAX_REDIRECTS} redirects")

    def _get(self, url: str, end: float) -> bytes | str:
        """One hop: the bytes, or where the server sends us."""
        connection, target = self._connect(url, end)
        with closing(connection), _hung_up_at(end, connection.sock):
            if isinstance(connection.sock, ssl.SSLSocket):
                connection.sock.do_handshake()
            headers = {"Accept": "image/*", "User-Agent": f"moon2/{version('moon2')}", "Connection": "close"}
            connection.request("GET", target, headers=headers)
            response = connection.getresponse()
            location = response.headers.get("Location")
            if response.status in (301, 302, 303, 307, 308) and location:
                return location
            if response.status == 429 or response.status >= 500:
                asked = response.headers.get("Retry-After", "")
                wait = float(asked) if asked.isascii() and asked.isdigit() else None
                raise _TryAgainError(f"the server answered {response.status} {response.reason}".strip(), wait)
            if response.status != 200:
                raise FetchError(f"the server answered {response.status} {response.reason}".strip())
            return self._read(response)

    def _connect(self, url: str, end: float) -> tuple[http.client.HTTPConnection, str]:
        """A connection to a host that was checked, its handshake still to be made, and what to ask it for."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise FetchError("the address, or where it leads, is not one of http:// or https://")
        host = parts.hostname if ":" in parts.hostname else parts.hostname.encode("idna").decode("ascii")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        addresses = [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        private = [] if self.allow_private_hosts else [address for address in addresses if not is_public(address)]
        if private:
            raise FetchError(
                f"host {host} is not on the public internet ({private[0]}); "
                "pictures inside your own network need --allow_private_hosts"
            )
        secure = parts.scheme == "https"
        connection = http.client.HTTPConnection(host, port, timeout=self.timeout)
        connection.default_port = 443 if secure else 80
        # http.client would look the host up again, and might be told another address; it takes a socket as it is.
        plain = _connect_to_first(addresses, port, self.timeout, end)
        try:
            connection.sock = (
                self._context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
                if secure
                else plain
            )
        except BaseException:
            plain.close()
            raise
        query = f"?{quote(parts.query, safe=_PUNCTUATION + '?')}" if parts.query else ""
        return connection, (quote(parts.path, safe=_PUNCTUATION) or "/") + query

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        too_large = FetchError(f"it is larger than {self.max_bytes / 1e6:g} MB")
        if (response.length or 0) > self.max_bytes:
            raise too_large
        encoded = io.BytesIO()
        # read1 returns what there is; read would wait for all of it, and a server that drips would have no end.
        while some := response.read1(65_536):
            encoded.write(some)
            if encoded.tell() > self.max_bytes:
                raise too_large
            if self._stopped.is_set():
                raise FetchError("the import was stopped")
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
        return encoded.getvalue()


@contextmanager
def _hung_up_at(end: float, connected: socket.socket) -> Iterator[None]:
    """Ends the connection at `end`, whatever is waited for then: a limit on each wait is none for a server that drips.

    Raises:
        TimeoutError: it came to that, whatever else seemed to be wrong then.
    """
    over = threading.Event()

    def hang_up() -> None:
        over.set()
        with suppress(OSError):  # the server was quicker
            # As on a plain socket: an SSLSocket's own takes away what another thread may be reading with.
            socket.socket.shutdown(connected, socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, end - time.monotonic()), hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # nothing is shut that was closed, and perhaps opened again as another's, since
        if over.is_set():
            raise TimeoutError from None


def _connect_to_first(addresses: list[str], port: int, timeout: float, end: float) -> socket.socket:
    """A connection to the first address of each family that works: often IPv6 is announced and leads nowhere."""
    by_family: dict[bool, str] = {}
    for address in addresses:
        by_family.setdefault(":" in address, address)
    failure = OSError("the host has no address")
    for address in by_family.values():
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        try:
            return socket.create_connection((address, port), min(timeout, left))
        except OSError as error:
            failure = error
    raise failure
