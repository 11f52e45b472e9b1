"""The provider `openai`: enriched titles by any OpenAI-compatible chat server that takes images (vLLM, Ollama, hosted).

A reply without a title is followed by another request. Parameters that a server refuses are left out from then on.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import openai
from openai.types.chat import ChatCompletion

from moon2.augment.errors import ProductError
from moon2.augment.openai_client import failure_of, open_client
from moon2.augment.prompts import ENRICHMENT_SCHEMA, Prompts
from moon2.augment.text.entities import Entity
from moon2.augment.text.provider import Enrichment, TextProvider
from moon2.augment.text.reply import main_image, title_in
from moon2.augment.text.sanitize import CleanProduct
from moon2.errors import one_line

if TYPE_CHECKING:
    from moon2.augment.settings import TextSettings

BAD_REPLIES = 2
"""How often a request is repeated because the reply held no title."""


class OpenAITextProvider(TextProvider):
    """`settings.concurrency` requests at once, from threads."""

    name = "openai"

    def __init__(self, settings: TextSettings, prompts: Prompts) -> None:
        self.model = settings.model
        self.prompt = prompts.enrich.version
        self.concurrency = settings.concurrency
        self._settings = settings
        self._prompts = prompts
        self._client = open_client(settings)
        self._refused: frozenset[str] = frozenset()

    def enrich(
        self, products: Sequence[CleanProduct], entities: Sequence[tuple[Entity, ...]], seed: int
    ) -> list[Enrichment]:
        """See `TextProvider`. Reasons of products without a text: `bad_json`, `refused`.

        Raises:
            AugmentationError: the server cannot be reached, refuses the key, or does not know the model.
            ProviderError: `http_NNN`, `timeout`, `connection`.
            ProductError: `refused`.
        """
        return [self._enrich(*product, seed) for product in zip(products, entities, strict=True)]

    def _enrich(self, product: CleanProduct, entities: tuple[Entity, ...], seed: int) -> Enrichment:
        content = self._content(product, entities)
        tokens_in = tokens_out = 0
        reason = ""
        for attempt in range(min(BAD_REPLIES, self._settings.retries) + 1):
            try:
                # At temperature 0 the same question would bring the same reply again.
                completion = self._complete(content, seed + attempt, 0.7 if attempt else 0.0)
                if completion.usage:
                    tokens_in += completion.usage.prompt_tokens
                    tokens_out += completion.usage.completion_tokens
                refusal = _refusal(completion)
                if refusal:
                    return Enrichment(None, f"refused: {refusal}", tokens_in, tokens_out)
                return Enrichment(_title(completion), "", tokens_in, tokens_out)
            except ProductError as error:
                reason = str(error)
            except openai.OpenAIError as error:
                raise failure_of(error, "text", self._settings) from None
        return Enrichment(None, reason, tokens_in, tokens_out)

    def _content(self, product: CleanProduct, entities: tuple[Entity, ...]) -> list[dict[str, object]]:
        """One user message; a separate system message is refused by the templates of several open models."""
        content: list[dict[str, object]] = [{"type": "text", "text": self._prompts.for_enrichment(product, entities)}]
        image = main_image(product)
        if image is not None:
            file = io.BytesIO()
            image.save(file, "JPEG", quality=90)
            url = "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
            content.insert(0, {"type": "image_url", "image_url": {"url": url}})
        return content

    def _complete(self, content: list[dict[str, object]], seed: int, temperature: float) -> ChatCompletion:
        """The server's completion. What it refuses is left out, and remembered once it answered without."""
        refused = self._refused
        messages: list[Any] = [{"role": "user", "content": content}]
        while True:
            parameters = self._parameters(refused, seed, temperature)
            try:
                completion = self._client.chat.completions.create(model=self.model, messages=messages, **parameters)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                culprit = _culprit(str(error), refused)
                if culprit is None:
                    raise
                refused |= {culprit}
                continue
            except ValueError as error:
                raise ProductError(f"bad_json: the server's answer is not JSON ({error})") from None
            self._refused |= refused
            # A proxy's page comes back as text, and some routers send an error with status 200.
            if not isinstance(completion, ChatCompletion) or not completion.choices:
                raise ProductError(f"bad_json: the server's answer is no chat completion: {one_line(completion)!r}")
            return completion

    def _parameters(self, refused: frozenset[str], seed: int, temperature: float) -> dict[str, Any]:
        schema = {"name": "enriched_title", "schema": ENRICHMENT_SCHEMA, "strict": True}
        parameters = {
            "max_tokens": self._settings.max_tokens,
            "temperature": temperature,
            "seed": seed,
            "response_format": {"type": "json_schema", "json_schema": schema},
        }
        if "max_tokens" in refused:  # newer hosted models know the same limit under another name
            parameters["max_completion_tokens"] = self._settings.max_tokens
        return {name: value for name, value in parameters.items() if name not in refused}


def _culprit(message: str, refused: frozenset[str]) -> str | None:
    """The parameter to leave out after a refused request; None when there is none left to suspect."""
    for name in ("max_tokens", "temperature", "seed"):
        if name in message and "response_format" not in message and name not in refused:
            return name
    return "response_format" if "response_format" not in refused else None


def _refusal(completion: ChatCompletion) -> str:
    """Why the model declined to answer; "" where it did not."""
    choice = completion.choices[0]
    filtered = "the server's content filter" if choice.finish_reason == "content_filter" else ""
    return " ".join((choice.message.refusal or filtered).split())[:200]


def _title(completion: ChatCompletion) -> str:
    choice = completion.choices[0]
    try:
        return title_in(choice.message.content)
    except ProductError as error:
        cut = ", which was cut off: raise text.max_tokens" if choice.finish_reason == "length" else ""
        raise ProductError(f"{error}{cut}") from None
