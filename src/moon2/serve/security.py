"""What may come in: who asks, how much, and what an image may be. All is checked before anything is computed.

No address and no path of a request is ever opened: an image comes in the request, as a data URI or as an uploaded file.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import io
import os
import re
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path

from PIL import Image
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moon2.images import FORMATS
from moon2.search.errors import unknown_word
from moon2.search.table_schema import HIDDEN
from moon2.serve.refusals import Refusal
from moon2.serve.settings import Limits, ServeError

PROTECTED = ("/v1/", "/v2/", "/metrics")
KEYS_VARIABLE = "MOON2_API_KEYS"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
MOST_DEPTH = 32
# A string without an end is one part too: sought anew from each of its quotes, it would take quadratic time.
_JSON_PARTS = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[{\]}]', re.DOTALL)


class ApiKeys:
    """Keys of which a request must bring one, if there are any."""

    def __init__(self, keys: Collection[str]) -> None:
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    @classmethod
    def read(cls, file: Path | None) -> ApiKeys:
        """From a file with a key a line, and from the variable MOON2_API_KEYS, separated by commas.

        Raises:
            ServeError: the file cannot be read, or holds no key.
        """
        keys = [key.strip() for key in os.environ.get(KEYS_VARIABLE, "").split(",") if key.strip()]
        if file is not None:
            try:
                lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
            except (OSError, UnicodeDecodeError) as error:
                raise ServeError(f"{file}: the API keys cannot be read ({error})") from None
            found = [line for line in lines if line and not line.startswith("#")]
            if not found:
                raise ServeError(f"{file}: holds no API key; write one a line")
            keys += found
        return cls(keys)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._digests)

    def accept(self, authorization: str) -> bool:
        """Whether a header "Bearer KEY" has one of them; takes as long for a wrong key as for a right one."""
        scheme, _, key = authorization.partition(" ")
        given = hashlib.sha256(key.strip().encode("utf-8", "surrogatepass")).digest()
        same = [hmac.compare_digest(given, digest) for digest in self._digests]
        return any(same) and scheme.lower() == "bearer"


class Gate:
    """The first thing that a request meets: host, key, size, form and nesting of its body, and its time.

    Args:
        app: what is behind it.
        limits: of a request.
        keys: see `ApiKeys`.
        host: at which the server listens; at one of this machine only its own names are answered, so that no page of
            another site can reach it under that site's name.
    """

    def __init__(self, app: ASGIApp, limits: Limits, keys: ApiKeys, host: str) -> None:
        self._app, self._limits, self._keys, self._local = app, limits, keys, host in LOOPBACK

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI calls it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def remember(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            async with asyncio.timeout(self._limits.seconds):
                headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
                self._check(scope["path"], headers)
                body = await self._body(headers, receive)
                await self._app(scope, _replayed(body, receive), remember)
        except TimeoutError:
            refusal = Refusal(504, f"took more than {self._limits.seconds} seconds", retry_after=5)
        except Refusal as error:
            refusal = error
        else:
            return
        if not started:
            await refusal.response()(scope, receive, send)

    def _check(self, path: str, headers: dict[str, str]) -> None:
        host = headers.get("host", "")
        name = host[: host.find("]") + 1].strip("[]") if host.startswith("[") else host.partition(":")[0]
        if self._local and name not in LOOPBACK:
            raise Refusal(421, f"this server answers at {LOOPBACK[0]} only, not as {name[:100]!r}; see --host", "host")
        if self._keys and path.startswith(PROTECTED) and not self._keys.accept(headers.get("authorization", "")):
            raise Refusal(401, "give a valid API key in the header `Authorization: Bearer KEY`", "authorization")

    async def _body(self, headers: dict[str, str], receive: Receive) -> bytes:
        most = self._limits.body_bytes
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Refusal(415, "send the body as it is, without a content-encoding", "content-encoding")
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > most:
            raise Refusal(413, f"the body has more than {most:,} bytes")
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refusal(400, "the connection ended before the body did")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise Refusal(413, f"the body has more than {most:,} bytes")
            if not message.get("more_body"):
                break
        body = b"".join(parts)
        if "json" in headers.get("content-type", "").lower():
            check_depth(body)
        return body


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Gives the body once more, then what else comes."""
    left: Iterator[Message] = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def again() -> Message:
        return next(left, None) or await receive()

    return again


def check_depth(body: bytes) -> None:
    """Refuses JSON that is nested more deeply than any request here is: parsers of it call themselves."""
    if body.count(b"[") + body.count(b"{") <= MOST_DEPTH:
        return
    depth = 0
    for part in _JSON_PARTS.finditer(body):
        token = body[part.start()]
        depth += (token in b"[{") - (token in b"]}")
        if depth > MOST_DEPTH:
            raise Refusal(422, f"the JSON is nested more than {MOST_DEPTH} deep")


def image_of(value: str, where: str, limits: Limits) -> bytes:
    """The file of an image that a request brings as a data URI.

    Raises:
        Refusal: it is anything else, such as an address; or no image, or one of too many pixels.
    """
    if not value.startswith("data:"):
        kind = "an address" if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:", value) else "no data URI"
        raise Refusal(
            422,
            f"{where}: {value[:60]!r} is {kind}, and this server opens no address and no path; send the image itself, "
            f"as data:image/jpeg;base64,… or as an uploaded file",
            where,
        )
    header, comma, data = value.partition(",")
    if not comma or not re.fullmatch(r"data:image/[\w.+-]{1,40}(;[\w=.+-]{1,40})*;base64", header):
        raise Refusal(422, f"{where}: a data URI must look like data:image/jpeg;base64,…", where)
    try:
        decoded = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(422, f"{where}: the data URI is not valid base64", where) from None
    return checked_image(decoded, where, limits)


def checked_image(data: bytes, where: str, limits: Limits) -> bytes:
    """The same bytes, if they begin as an image of few enough pixels does; nothing is decoded yet.

    Raises:
        Refusal: they do not.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.preinit()
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
    except Image.DecompressionBombError as error:  # Pillow has a limit of its own, and tells the product of the sides
        pixels = int(re.sub(r"\D*(\d+).*", r"\1", str(error)))
        raise Refusal(422, f"{where}: {pixels:,} pixels are more than {limits.pixels:,}", where) from None
    except Exception:  # damaged files take Pillow's readers anywhere
        raise Refusal(422, f"{where}: cannot be read as an image; send {', '.join(FORMATS)}", where) from None
    if width * height > limits.pixels:
        raise Refusal(422, f"{where}: {width} × {height} pixels are more than {limits.pixels:,}", where)
    return data


_FILTER_PARTS = re.compile(
    r"""\s+|'(?:[^']|'')*'|`[^`]+`|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|\w+|<=|>=|<>|!=|[=<>(),\[\]+*/-]"""
)
_FILTER_WORDS = {"and", "or", "not", "in", "like", "ilike", "between", "is", "null", "true", "false"} | {
    *("array_has", "array_has_any", "array_has_all", "array_length"),
    *("lower", "upper", "starts_with", "ends_with", "contains"),
}
_CLOSING = {"(": ")", "[": "]"}
FILTER_DEPTH = 16
FILTER_PARTS = 400


def check_filter(where: str, columns: Collection[str]) -> None:
    """Lets comparisons of columns through, and no other SQL: a function may take all memory, a query may read a file.

    Raises:
        Refusal: there is more in it; names the first such part.
    """
    place, parts, closing = 0, 0, ""
    while place < len(where):
        # A comment would hide the bracket that the filter is put in.
        if where.startswith(("--", "/*"), place):
            raise Refusal(422, f"where: {where[place : place + 2]!r} begins a comment; leave it out", "where")
        found = _FILTER_PARTS.match(where, place)
        if found is None:
            raise Refusal(422, f"where: {where[place : place + 20]!r} cannot be used in a filter", "where")
        part, place = found[0], found.end()
        parts += not part.isspace()
        if part in _CLOSING:
            closing += _CLOSING[part]
        elif part in _CLOSING.values():
            if not closing.endswith(part):
                raise Refusal(422, f"where: the bracket {part!r} closes none that is open", "where")
            closing = closing[:-1]
        if len(closing) > FILTER_DEPTH or parts > FILTER_PARTS:
            raise Refusal(422, "where: the filter is too long or too deeply nested; write a simpler one", "where")
        if not (part[0].isalpha() or part[0] in "_`"):
            continue
        word = part.strip("`")
        if word in HIDDEN or (word not in columns and word.lower() not in _FILTER_WORDS):
            raise Refusal(422, f"where: {unknown_word(word, columns)}", "where")
    if closing:
        raise Refusal(422, f"where: the bracket {closing[-1]!r} is missing", "where")
