"""The provider `openai` against servers that fail on purpose, and against a real one with a tiny model."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.faulty_server import TOKENS_IN, TOKENS_OUT, Answer, FaultyServer, Request, failing, reply, richer
from support.served_model import VISUAL_TOKENS, transformers_serve, write_llava, write_taught_llava

from moon2.augment.errors import AugmentationError, ProductError, ProviderError
from moon2.augment.prompts import load_prompts
from moon2.augment.settings import TextSettings
from moon2.augment.stages import ProviderCalls
from moon2.augment.text.openai import BAD_REPLIES, OpenAITextProvider
from moon2.augment.text.provider import Enrichment, TextProvider, load_text_provider
from moon2.augment.text.reply import IMAGE_SIDE
from moon2.augment.text.sanitize import clean_product
from moon2.records import Product


def shop(count: int) -> list[Product]:
    return [Product(id=str(number), title=f"product {number}") for number in range(count)]


def new_provider(url: str, **more: Any) -> OpenAITextProvider:
    settings = TextSettings(**{"provider": "openai", "model": "m", "base_url": url, "retries": 3} | more)
    return OpenAITextProvider(settings, load_prompts())


def enrich(provider: TextProvider, products: Sequence[Product]) -> list[Any]:
    """As the pipeline does: several requests at once, behind the circuit breaker."""
    cleaned = [clean_product(product) for product in products]

    def call(rows: Sequence[int]) -> list[Enrichment]:
        return provider.enrich([cleaned[row] for row in rows], [()] * len(rows), seed=7)

    return ProviderCalls("text", provider).results(call, len(products))


def jpeg(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(file, "JPEG")
    return file.getvalue()


def test_titles_come_back_in_order_within_the_limit_of_concurrency_and_counts_add_up() -> None:
    # Later products are answered sooner.
    with FaultyServer(lambda request: richer(request, seconds=0.2 - 0.009 * int(request.title.split()[1]))) as server:
        results = enrich(new_provider(server.url, concurrency=3), shop(20))
    assert results == [Enrichment(f"richer product {number}", "", TOKENS_IN, TOKENS_OUT) for number in range(20)]
    assert server.most_at_once == 3 and len(server.requests) == 20


def test_a_request_holds_the_image_the_prompt_and_the_parameters() -> None:
    with_image = Product(id="a", title="product a", attributes={"colour": "navy"}, images=(jpeg(2000, 500),))
    broken = Product(id="b", title="product b", images=(b"not an image",))
    with FaultyServer(richer) as server:
        enrich(new_provider(server.url, max_tokens=55, concurrency=1), [with_image, broken])
    first, second = (request.body for request in server.requests)
    image, text = first["messages"][0]["content"]
    kind, data = image["image_url"]["url"].split(",")
    assert kind == "data:image/jpeg;base64"
    sent = Image.open(io.BytesIO(base64.b64decode(data)))
    assert sent.size == (IMAGE_SIDE, IMAGE_SIDE // 4)
    assert np.abs(np.asarray(sent, dtype=int) - [254, 0, 0]).max() < 8
    assert "navy" in text["text"]
    assert [part["type"] for part in second["messages"][0]["content"]] == ["text"]
    assert (first["temperature"], first["seed"], first["max_tokens"], first["model"]) == (0, 7, 55, "m")
    assert first["response_format"]["json_schema"]["schema"]["required"] == ["title"]


def test_passing_faults_are_retried_and_cost_no_product() -> None:
    def answer(request: Request) -> Answer:
        faults = {
            "product 1": failing(500),
            "product 2": failing(429, retry_after="1"),
            "product 3": richer(request, cut=True),
            "product 4": reply('{"title": "half'),
            "product 5": Answer(b"<html>a proxy's page"),
            "product 6": richer(request, seconds=60),
        }
        return richer(request) if request.before or request.title not in faults else faults[request.title]

    with FaultyServer(answer) as server:
        results = enrich(new_provider(server.url, timeout=5), shop(8))
    assert [result.text for result in results] == [f"richer product {number}" for number in range(8)]
    assert len(server.requests) == 8 + 6
    assert results[4].tokens_in == 2 * TOKENS_IN, "a reply that could not be used was paid for"
    pairs = zip(server.times, server.requests, strict=True)
    times = [time for time, request in pairs if request.title == "product 2"]
    assert times[1] - times[0] >= 1.0, "the package's own first wait is half a second, so Retry-After was ignored"


def test_a_lasting_fault_fails_its_product_with_a_reason_and_no_other() -> None:
    faults = {
        "product 1": lambda _: failing(429, "too many", retry_after="0.01"),
        "product 2": lambda _: failing(500, "broken inside", retry_after="0.01"),
        "product 3": lambda request: richer(request, seconds=60),
        "product 4": lambda request: richer(request, cut=True),
        "product 5": lambda _: reply("I would rather write about titles."),
        "product 6": lambda _: reply(None, refusal="I can't help with that"),
        "product 7": lambda _: failing(400, "image is too large"),
        "product 8": lambda _: reply('{"title": "a very long', finish_reason="length"),
        "product 9": lambda _: failing(400, "filtered", code="content_filter"),
    }
    with FaultyServer(lambda request: faults.get(request.title, richer)(request)) as server:
        results = enrich(new_provider(server.url, retries=1, timeout=4), shop(12))
    assert [results[row].text for row in (0, 10, 11)] == [f"richer product {row}" for row in (0, 10, 11)]
    reasons = [result.reason if isinstance(result, Enrichment) else str(result) for result in results[1:10]]
    assert [reason.split(":")[0] for reason in reasons] == [
        *("http_429", "http_500", "timeout", "connection", "bad_json", "refused", "http_400", "bad_json", "refused")
    ]
    assert "too many" in reasons[0] and "max_tokens" in reasons[7]
    assert not any("\n" in reason for reason in reasons)
    assert [type(results[row]) for row in (1, 7, 9)] == [ProviderError, ProviderError, ProductError]


def test_a_server_without_structured_output_is_asked_without_from_then_on() -> None:
    def answer(request: Request) -> Answer:
        refused = "response_format" in request.body
        return failing(400, "response_format is not supported") if refused else richer(request)

    with FaultyServer(answer) as server:
        provider = new_provider(server.url, concurrency=1)
        results = enrich(provider, shop(5)) + enrich(provider, shop(5))
    assert all(result.text for result in results)
    assert ["response_format" in request.body for request in server.requests] == [True] + [False] * 10


def test_one_product_that_is_refused_anyway_takes_no_parameter_from_the_others() -> None:
    def answer(request: Request) -> Answer:
        return failing(400, "no") if request.title == "product 1" else richer(request)

    with FaultyServer(answer) as server:
        results = enrich(new_provider(server.url, concurrency=1), shop(4))
    assert [isinstance(result, ProviderError) for result in results] == [False, True, False, False]
    assert ["response_format" in request.body for request in server.requests] == [True, True, False, True, True]


def test_a_parameter_refused_by_name_is_left_out() -> None:
    def answer(request: Request) -> Answer:
        for name in ("max_tokens", "temperature"):
            if name in request.body:
                return failing(400, f"Unsupported parameter: '{name}' is not supported with this model")
        return richer(request)

    with FaultyServer(answer) as server:
        results = enrich(new_provider(server.url, max_tokens=55, concurrency=1), shop(3))
    assert [result.text for result in results] == [f"richer product {number}" for number in range(3)]
    assert len(server.requests) == 2 + 3
    last = server.requests[-1].body
    assert last["max_completion_tokens"] == 55 and "response_format" in last and "max_tokens" not in last


def test_a_second_try_has_another_seed_and_temperature() -> None:
    with FaultyServer(lambda _: reply("no")) as server:
        enrich(new_provider(server.url), shop(1))
    assert [request.body["seed"] for request in server.requests] == [7 + row for row in range(BAD_REPLIES + 1)]
    assert [request.body["temperature"] > 0 for request in server.requests] == [False, True, True]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (failing(401, "wrong key"), "OPENAI_API_KEY"),
        (failing(404, "The model `m` does not exist"), "does not exist"),
        (failing(429, "pay first", code="insufficient_quota", retry_after="0.01"), "account"),
    ],
)
def test_what_no_product_can_get_ends_the_run_at_once(answer: Answer, message: str) -> None:
    with FaultyServer(lambda _: answer) as server, pytest.raises(AugmentationError, match=message) as failure:
        enrich(new_provider(server.url, retries=1, concurrency=2), shop(50))
    assert len({request.title for request in server.requests}) < 10
    assert "\n" not in str(failure.value) and server.url in str(failure.value)


def test_a_key_revoked_in_the_middle_ends_the_run() -> None:
    def answer(request: Request) -> Answer:
        return failing(401) if request.title == "product 30" else richer(request)

    with FaultyServer(answer) as server, pytest.raises(AugmentationError, match="OPENAI_API_KEY"):
        enrich(new_provider(server.url, concurrency=2), shop(100))
    assert len(server.requests) < 60


def test_nothing_at_the_address_ends_the_run() -> None:
    with FaultyServer(richer) as server:
        closed = server.url
    with pytest.raises(AugmentationError, match="nothing answers"):
        enrich(new_provider(closed, retries=0), shop(50))


def test_a_server_that_broke_down_ends_the_run_rather_than_failing_a_million_products() -> None:
    def answer(request: Request) -> Answer:
        return richer(request) if request.title == "product 0" else failing(503, "down")

    with FaultyServer(answer) as server, pytest.raises(AugmentationError, match="failed on the last 8 products"):
        enrich(new_provider(server.url, retries=0, concurrency=2), shop(100))
    assert len(server.requests) < 20


def test_against_a_real_server_with_a_real_model(tmp_path: Path) -> None:
    taught = write_taught_llava(tmp_path)
    untaught = str(write_llava(tmp_path / "untaught"))
    with transformers_serve(tmp_path / "log") as url:
        settings = TextSettings(provider="openai", model=taught.model, base_url=url, max_tokens=30, retries=0)
        provider = load_text_provider(settings, load_prompts(taught.prompts))
        results = enrich(provider, taught.products)
        nonsense = enrich(
            load_text_provider(replace(settings, model=untaught, max_tokens=4), load_prompts()), taught.products[1:]
        )
        unknown = enrich(load_text_provider(replace(settings, model=str(tmp_path)), load_prompts()), shop(1))
    # The first two differ only in their image.
    assert [result.text for result in results] == taught.titles
    assert sum(result.tokens_in for result in results) > 3 * VISUAL_TOKENS
    assert provider.prompt.split("+")[0] == "enrich-short"
    # Random weights may by chance write a title; anything else is rejected.
    assert all(result.text or result.reason.startswith("bad_json: ") for result in nonsense)
    assert all(0 < result.tokens_out <= 4 for result in nonsense)
    assert str(unknown[0]).startswith("http_500"), "this server says 500 to a model it cannot open"
