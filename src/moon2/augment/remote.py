"""What asking any OpenAI-compatible server has in common: the client, and how messages name the server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import openai

if TYPE_CHECKING:
    from moon2.augment.settings import ModelSettings

CONNECT_SECONDS = 10.0
NOT_A_ROWS_FAULT = {
    401: "refused the key; set OPENAI_API_KEY",
    402: "wants to be paid; check the account",
    403: "forbids this; check the key's rights",
    404: "does not know this address or model; check {stage}.model, and that {stage}.base_url ends as the server says "
    "(…/v1)",
}
"""HTTP statuses that every product would get, and what to do; `{stage}` is the section of the settings."""


def open_client(settings: ModelSettings) -> openai.AsyncOpenAI:
    """A client that retries 408, 409, 429, 5xx, timeouts and broken connections; the key is in OPENAI_API_KEY.

    It belongs to the event loop it is first used in.
    """
    return openai.AsyncOpenAI(
        base_url=settings.base_url,
        api_key=os.environ.get("OPENAI_API_KEY") or "none",
        timeout=openai.Timeout(settings.timeout, connect=min(settings.timeout, CONNECT_SECONDS)),
        max_retries=settings.retries,
    )


def check_address(stage: str, settings: ModelSettings, refusal: type[ValueError]) -> None:
    """Refuses settings that name no server, before anything is asked.

    Args:
        stage: the section of the settings, for the message.
        settings: `model` and `base_url` are looked at.
        refusal: the kind of error to raise.

    Raises:
        ValueError: of that kind; no model is named, or `base_url` is not an http address.
    """
    if not settings.model:
        raise refusal(f"{stage}.model is empty; name the model as the server at {stage}.base_url calls it")
    if settings.base_url and not settings.base_url.startswith(("http://", "https://")):
        raise refusal(f"{stage}.base_url {settings.base_url!r} is no address; begin it with http:// or https://")


def place(settings: ModelSettings) -> str:
    """How messages name a server."""
    return f"model {settings.model!r} at {settings.base_url or 'the default address of the openai package'}"
