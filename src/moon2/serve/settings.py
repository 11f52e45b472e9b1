"""What `moon2 serve` serves, where, and how much of it one request may ask for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from moon2.errors import UserError


class ServeError(UserError):
    """The server cannot start; the message says why, and what to do."""


@dataclass(frozen=True)
class Limits:
    """What one request may ask for; what is beyond is refused before anything is computed."""

    body_bytes: int = 16 * 2**20
    """bytes of a request's body"""
    pixels: int = 50_000_000
    """pixels of an image"""
    items: int = 1024
    """texts, images or products in a request"""
    characters: int = 20_000
    """characters of a text to embed"""
    waiting: int = 4096
    """items that wait for the encoder; more are refused with 429"""
    seconds: int = 30
    """seconds that a request may take, its reading included"""


LIMITS = Limits()
"""Those of a server that is told no others."""


@dataclass(frozen=True)
class ServeSettings:
    """Settings of a server.

    Attributes:
        source: folder or address of an index; or a run, or any encoder, for embeddings alone.
        beside: a second index, to compare with.
        model: where the encoder of `source` is now, if it moved.
        host: address to listen at.
        port: 0 for a free one.
        api_keys: file with a key a line; the variable MOON2_API_KEYS, separated by commas, adds to it.
        query_cache: how many queries' vectors are kept; 0 for none.
        log_queries: write shoppers' words into the log.
        limits: of a request.
    """

    source: str
    beside: str | None = None
    model: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    api_keys: Path | None = None
    query_cache: int = 10_000
    log_queries: bool = False
    limits: Limits = LIMITS

    def __post_init__(self) -> None:
        """Checks what would else fail with the first request.

        Raises:
            ServeError: a setting makes no sense.
        """
        if self.query_cache < 0:
            raise ServeError(f"--query_cache is {self.query_cache}; give the number of queries to keep, 0 for none")
