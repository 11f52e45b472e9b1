"""Textual enrichment by any OpenAI-compatible chat server that takes pictures: vLLM, SGLang, Ollama, a hosted one.

The `openai` package retries 408, 409, 429, 5xx, timeouts and broken connections with exponential backoff and jitter,
and waits as long as Retry-After says, up to two minutes; here stands what it does not do. A reply without the JSON
asked for is asked again. Parameters that a server refuses are left out from then on. What would fail every row alike
(a wrong URL, a wrong key, an unknown model) ends the run with one line instead of failing a million rows one by one.
"""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import openai
from openai.types.chat import ChatCompletion

from moon2.augment import remote
from moon2.augment.prompts import ENRICHMENT_SCHEMA, load_prompts
from moon2.augment.text.provider import Enrichment, EnrichmentError, TextProvider
from moon2.augment.text.reply import ReplyError, main_picture, title_in
from moon2.augment.waiting import all_of, wait_for
from moon2.records import Product

if TYPE_CHECKING:
    from moon2.augment.settings import TextSettings
    from moon2.augment.text.entities import Entity

BAD_REPLIES = 2
"""How often a row is asked again because the reply held no title."""

ROWS_WITHOUT_ANSWER = 4
"""Times `concurrency`: after so many rows in a row without an answer, the server and not the rows is at fault."""

_OPTIONAL = ("max_tokens", "temperature", "seed")
_NO_ANSWER = ("http_", "timeout", "connection")


class ChatProvider(TextProvider):
    """The provider `openai`. Not for use by several threads at once."""

    name = "openai"

    def __init__(self, settings: TextSettings, prompts: str | None = None) -> None:
        """Asks nothing yet.

        Raises:
            EnrichmentError: no model is named, or `base_url` is not an http address.
            PromptError: a changed prompt cannot be used.
        """
        remote.check_address("text", settings, EnrichmentError)
        self.model = settings.model
        self._settings = settings
        self._prompts = load_prompts(prompts)
        self.prompt = self._prompts.enrich.version
        self._refused: set[str] = set()
        self._reached = False
        self._rows_without_answer = 0

    def enrich(
        self, products: Sequence[Product], entities: Sequence[tuple[Entity, ...]], seed: int
    ) -> list[Enrichment]:
        """One `Enrichment` a product, in the same order; at most `concurrency` requests are under way at once.

        Reasons of rows without text: `http_429`, `http_500` …, `timeout`, `connection`, `bad_json`, `refused`.

        Raises:
            EnrichmentError: the server cannot be reached, refuses the key, does not know the model, or has
                answered none of the last rows.
        """
        rows = list(zip(products, entities, strict=True))
        return wait_for(self._enrich(rows, seed)) if rows else []

    async def _enrich(self, rows: list[tuple[Product, tuple[Entity, ...]]], seed: int) -> list[Enrichment]:
        limit = asyncio.Semaphore(self._settings.concurrency)
        # A client belongs to the event loop it was first used in, hence one a call.
        async with remote.open_client(self._settings) as client:
            alone = 0 if self._reached else 1
            done = [await self._row(client, limit, *row, seed) for row in rows[:alone]]
            return done + await all_of(self._row(client, limit, *row, seed) for row in rows[alone:])

    async def _row(
        self,
        client: openai.AsyncOpenAI,
        limit: asyncio.Semaphore,
        product: Product,
        entities: tuple[Entity, ...],
        seed: int,
    ) -> Enrichment:
        async with limit:
            # In a thread: decoding a picture would hold up the replies to the other rows.
            content = await asyncio.to_thread(self._content, product, entities)
            result = await self._until_title(client, content, seed)
        self._check_server(result.reason)
        return result

    def _content(self, product: Product, entities: tuple[Entity, ...]) -> list[dict[str, Any]]:
        """One user message; a separate system message is refused by the templates of several open models."""
        content: list[dict[str, Any]] = []
        picture = main_picture(product)
        if picture is not None:
            file = io.BytesIO()
            picture.save(file, "JPEG", quality=90)
            url = "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
            content.append({"type": "image_url", "image_url": {"url": url}})
        content.append({"type": "text", "text": self._prompts.for_enrichment(product, entities)})
        return content

    async def _until_title(self, client: openai.AsyncOpenAI, content: list[dict[str, Any]], seed: int) -> Enrichment:
        read = written = 0
        text, reason = None, ""
        for attempt in range(min(BAD_REPLIES, self._settings.retries) + 1):
            try:
                # At temperature 0 the same question would bring the same reply again.
                completion = await self._ask(client, content, seed + attempt, 0.0 if attempt == 0 else 0.7)
                usage = completion.usage
                read += usage.prompt_tokens if usage else 0
                written += usage.completion_tokens if usage else 0
                text, reason = title_in(_words(completion)), ""
            except ReplyError as error:
                reason = f"bad_json: {error}"
                continue
            except openai.OpenAIError as error:
                reason = self._reason(error)
            break
        return Enrichment(text, reason, self.model, read, written)

    async def _ask(
        self, client: openai.AsyncOpenAI, content: list[dict[str, Any]], seed: int, temperature: float
    ) -> ChatCompletion:
        """The server's completion; what it refuses is left out, and remembered once it answered without."""
        refused = set(self._refused)
        messages: list[Any] = [{"role": "user", "content": content}]
        while True:
            parameters = self._parameters(refused, seed, temperature)
            try:
                raw = await client.chat.completions.with_raw_response.create(
                    model=self.model, messages=messages, **parameters
                )
            except openai.OpenAIError as error:
                culprit = _culprit(error, refused)
                if culprit is None:
                    raise
                refused.add(culprit)
            else:
                self._refused |= refused
                return _completion(raw)

    def _parameters(self, refused: set[str], seed: int, temperature: float) -> dict[str, Any]:
        schema = {"name": "enriched_title", "schema": ENRICHMENT_SCHEMA, "strict": True}
        parameters = {
            "max_tokens": self._settings.max_tokens,
            "temperature": temperature,
            "seed": seed,
            "response_format": {"type": "json_schema", "json_schema": schema},
        }
        kept = {name: value for name, value in parameters.items() if name not in refused}
        # Newer hosted models know the same limit under another name.
        return kept if "max_tokens" in kept else {**kept, "max_completion_tokens": self._settings.max_tokens}

    def _reason(self, error: openai.OpenAIError) -> str:
        """Why a row has no title.

        Raises:
            EnrichmentError: because no row could have one.
        """
        if isinstance(error, _Refusal):
            return f"refused: {error}"
        if isinstance(error, openai.APIStatusError):
            said = _one_line(error)
            advice = remote.NOT_A_ROWS_FAULT.get(error.status_code)
            if error.code == "insufficient_quota":
                advice = remote.NOT_A_ROWS_FAULT[402]
            if advice:
                raise EnrichmentError(
                    f"{self._where()}: {advice.format(stage='text')} (HTTP {error.status_code}: {said})"
                ) from error
            return f"refused: {said}" if error.code == "content_filter" else f"http_{error.status_code}: {said}"
        if isinstance(error, openai.APITimeoutError) and type(error.__cause__).__name__ != "ConnectTimeout":
            return f"timeout: no reply within {self._settings.timeout:g} s"
        if isinstance(error, openai.APIConnectionError):
            cause = " ".join(str(error.__cause__ or error).split())[:200]
            return f"connection: {cause or type(error.__cause__).__name__}"
        return f"bad_json: {_one_line(error)}"

    def _check_server(self, reason: str) -> None:
        """Ends the run when the server rather than the row is at fault."""
        if not reason.startswith(_NO_ANSWER):
            self._reached = True
            self._rows_without_answer = 0
            return
        if reason.startswith("connection") and not self._reached:
            raise EnrichmentError(
                f"{self._where()}: nothing answers there ({reason}); start the server or mend the URL"
            )
        self._reached = self._reached or reason.startswith("http_")
        self._rows_without_answer += 1
        if self._rows_without_answer >= ROWS_WITHOUT_ANSWER * self._settings.concurrency:
            many = self._rows_without_answer
            raise EnrichmentError(f"{self._where()}: no answer to the last {many} products ({reason}); mend the server")

    def _where(self) -> str:
        return remote.place(self._settings)


class _Refusal(openai.OpenAIError):
    """The model itself declines to answer."""


def _completion(raw: Any) -> ChatCompletion:
    try:
        completion = raw.parse()
    except ValueError as error:
        raise ReplyError(f"the server's answer is not JSON ({error})") from None
    # A proxy's page comes back as text, and some routers send an error with status 200.
    if not isinstance(completion, ChatCompletion) or not completion.choices:
        raise ReplyError(f"the server's answer is no chat completion: {' '.join(raw.text.split())[:120]!r}")
    return completion


def _words(completion: ChatCompletion) -> str | None:
    """What the model said; raises when it declined, or was cut off before the title ended."""
    choice = completion.choices[0]
    if choice.finish_reason == "content_filter" or choice.message.refusal:
        said = " ".join((choice.message.refusal or "the server's content filter").split())
        raise _Refusal(said[:200])
    if choice.finish_reason == "length":
        try:
            title_in(choice.message.content)
        except ReplyError as error:
            raise ReplyError(f"cut off before the end of the JSON; raise text.max_tokens ({error})") from None
    return choice.message.content


def _culprit(error: openai.OpenAIError, refused: set[str]) -> str | None:
    """The parameter to leave out after a refused request; None when there is none left to suspect."""
    if not isinstance(error, (openai.BadRequestError, openai.UnprocessableEntityError)):
        return None
    said = str(error)
    named = [name for name in _OPTIONAL if name in said and name not in refused]
    if named and "response_format" not in said:
        return named[0]
    return "response_format" if "response_format" not in refused else None


def _one_line(error: openai.OpenAIError) -> str:
    body = getattr(error, "body", None)
    said = body.get("message") or body.get("detail") if isinstance(body, dict) else body
    return " ".join(str(said or error).split())[:200]
