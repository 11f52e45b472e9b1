"""What the text and the image provider `openai` share: the client, and what its errors mean.

The `openai` package retries 408, 409, 429, 5xx, timeouts and broken connections with exponential backoff, and waits as
long as Retry-After says.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import openai

from moon2.augment.errors import AugmentationError, ProductError, ProviderError
from moon2.errors import UserError, one_line

if TYPE_CHECKING:
    from moon2.augment.settings import ModelSettings

CONNECT_SECONDS = 10.0
_ADVICE = {
    401: "refused the key; set OPENAI_API_KEY",
    402: "wants to be paid; check the account",
    403: "forbids this; check the key's rights",
    404: "does not know this address or model; check {section}.model, and {section}.base_url, which often ends in /v1",
}
"""HTTP statuses that every product would get, and what to do."""
_REFUSALS = ("content_filter", "content_policy_violation", "moderation_blocked")


def open_client(settings: ModelSettings) -> openai.OpenAI:
    """A client for any number of threads; the key is in OPENAI_API_KEY."""
    return openai.OpenAI(
        base_url=settings.base_url,
        api_key=os.environ.get("OPENAI_API_KEY") or "none",
        timeout=openai.Timeout(settings.timeout, connect=min(settings.timeout, CONNECT_SECONDS)),
        max_retries=settings.retries,
    )


def failure_of(error: openai.OpenAIError, section: str, settings: ModelSettings) -> UserError:
    """What to raise for an error that is left after the retries.

    Args:
        error: from the client.
        section: of the settings, for the message: "text" or "images".
        settings: `model` and `base_url` are named in the message.

    Returns:
        An `AugmentationError` where no product can get an answer: the address, the key or the model is wrong. A
        `ProductError`, `refused`, where the content is not wanted. Else a `ProviderError`: `http_NNN`, `timeout`,
        `connection` or `bad_answer`.
    """
    server = f"{section}.model {settings.model!r} at {settings.base_url or 'the default address of the openai package'}"
    cause = error.__cause__
    if isinstance(error, openai.APIStatusError):
        message = _message(error)
        status = 402 if error.code == "insufficient_quota" else error.status_code
        if status in _ADVICE:
            advice = _ADVICE[status].format(section=section)
            return AugmentationError(f"{server}: {advice} (HTTP {error.status_code}: {message})")
        if error.code in _REFUSALS:
            return ProductError(f"refused: {message}")
        return ProviderError(f"http_{status}: {message}")
    if type(cause).__name__ in ("ConnectError", "ConnectTimeout"):
        return AugmentationError(f"{server}: nothing answers there ({one_line(cause)}); start it or correct the URL")
    if isinstance(error, openai.APITimeoutError):
        return ProviderError(f"timeout: no reply within {settings.timeout:g} s")
    if isinstance(error, openai.APIConnectionError):
        return ProviderError(f"connection: {one_line(cause or error)}")
    return ProviderError(f"bad_answer: {_message(error)}")


def _message(error: openai.OpenAIError) -> str:
    body = getattr(error, "body", None)
    return one_line((body.get("message") or body.get("detail") if isinstance(body, dict) else body) or error)
