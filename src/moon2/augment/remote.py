"""What asking any OpenAI-compatible server has in common: the client, an address's check, and waiting for an answer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import openai

if TYPE_CHECKING:
    from moon2.augment.settings import ImageSettings, TextSettings

CONNECT_SECONDS = 10.0
NOT_A_ROWS_FAULT = {
    401: "refused the key; set OPENAI_API_KEY",
    402: "wants to be paid; check the account",
    403: "forbids this; check the key's rights",
    404: "does not know this address or model; check {stage}.model, and that {stage}.base_url ends as the server says "
    "(…/v1)",
}
"""HTTP statuses that every product would get, and what to do; `{stage}` is the section of the settings."""

Result = TypeVar("Result")


def open_client(settings: TextSettings | ImageSettings) -> openai.AsyncOpenAI:
    """A client that retries 408, 409, 429, 5xx, timeouts and broken connections; the key is in OPENAI_API_KEY.

    It belongs to the event loop it is first used in.
    """
    return openai.AsyncOpenAI(
        base_url=settings.base_url,
        api_key=os.environ.get("OPENAI_API_KEY") or "none",
        timeout=openai.Timeout(settings.timeout, connect=min(settings.timeout, CONNECT_SECONDS)),
        max_retries=settings.retries,
    )


def wrong_address(stage: str, model: str, base_url: str | None) -> str | None:
    """What is wrong with how a server is named in the settings, in one line; None if nothing."""
    if not model:
        return f"{stage}.model is empty; name the model as the server at {stage}.base_url calls it"
    if base_url and not base_url.startswith(("http://", "https://")):
        return f"{stage}.base_url {base_url!r} is no address; begin it with http:// or https://"
    return None


def place(model: str, base_url: str | None) -> str:
    """How messages name a server."""
    return f"model {model!r} at {base_url or 'the default address of the openai package'}"


def wait_for(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """The result of a coroutine, also where an event loop is running already (a notebook, an async actor)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
