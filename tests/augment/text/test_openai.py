import asyncio
import base64
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from support.faulty_server import TOKENS_IN, TOKENS_OUT, Answer, FaultyServer, failing, richer, saying
from support.served_model import VISUAL_TOKENS, transformers_serve, write_llava, write_taught_llava

from moon2.augment.providers import text_provider
from moon2.augment.settings import TextSettings
from moon2.augment.text.openai import BAD_REPLIES, ROWS_WITHOUT_ANSWER, ChatProvider
from moon2.augment.text.provider import EnrichmentError
from moon2.augment.text.reply import PICTURE_SIDE, ReplyError, main_picture, title_in
from moon2.records import Product


def shop(count):
    return [Product(id=str(number), title=f"product {number}") for number in range(count)]


def provider(url, **more):
    return ChatProvider(TextSettings(**{"provider": "openai", "model": "m", "base_url": url, "retries": 3} | more))


def enrich(asked, products):
    return asked.enrich(products, [()] * len(products), seed=7)


def jpeg(width, height, colour="red"):
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, "JPEG")
    return file.getvalue()


def test_titles_come_back_in_order_within_the_limit_of_concurrency_and_counts_add_up():
    # Later products are answered sooner, so that order would be lost if replies were taken as they come.
    with FaultyServer(lambda asked: richer(asked, seconds=0.2 - 0.009 * int(asked.title.split()[1]))) as server:
        chat = provider(server.url, concurrency=3)
        results = enrich(chat, shop(20))
    assert [result.text for result in results] == [f"richer product {number}" for number in range(20)]
    assert server.most_at_once == 3
    assert (results[0].model, results[0].tokens_in, results[0].tokens_out) == ("m", TOKENS_IN, TOKENS_OUT)
    assert len(server.requests) == 20


def test_what_is_sent():
    picture = Product(id="a", title="product a", attributes={"colour": "navy"}, images=(jpeg(2000, 500),))
    broken = Product(id="b", title="product b", images=(b"not a picture",))
    with FaultyServer(richer) as server:
        enrich(provider(server.url, max_tokens=55), [picture, broken])
    first, second = (asked.body for asked in server.requests)
    image, text = first["messages"][0]["content"]
    kind, data = image["image_url"]["url"].split(",")
    assert kind == "data:image/jpeg;base64"
    seen = Image.open(io.BytesIO(base64.b64decode(data)))
    assert seen.size == (PICTURE_SIDE, PICTURE_SIDE // 4)
    assert np.abs(np.asarray(seen, dtype=int) - [254, 0, 0]).max() < 8
    assert "navy" in text["text"]
    assert [part["type"] for part in second["messages"][0]["content"]] == ["text"]
    assert (first["temperature"], first["seed"], first["max_tokens"], first["model"]) == (0, 7, 55, "m")
    assert first["response_format"]["json_schema"]["schema"]["required"] == ["title"]


def test_passing_faults_are_retried_and_cost_no_row():
    def answer(asked):
        faults = {
            "product 1": failing(500),
            "product 2": failing(429, retry_after="1"),
            "product 3": richer(asked, cut=True),
            "product 4": saying('{"title": "half'),
            "product 5": Answer(b"<html>a proxy's page"),
            "product 6": richer(asked, seconds=4),
        }
        return richer(asked) if asked.before or asked.title not in faults else faults[asked.title]

    with FaultyServer(answer) as server:
        chat = provider(server.url, timeout=2)
        results = enrich(chat, shop(8))
    assert [result.text for result in results] == [f"richer product {number}" for number in range(8)]
    assert len(server.requests) == 8 + 6
    assert results[4].tokens_in == 2 * TOKENS_IN, "a reply that could not be used was paid for"
    times = [time for time, asked in zip(server.times, server.requests, strict=True) if asked.title == "product 2"]
    assert times[1] - times[0] >= 1.0, "Retry-After was not waited for: the package's own first wait is half a second"


def test_a_lasting_fault_fails_its_row_with_a_reason_and_no_other():
    faults = {
        "product 1": lambda asked: failing(429, "too many", retry_after="0.01"),
        "product 2": lambda asked: failing(500, "broken inside", retry_after="0.01"),
        "product 3": lambda asked: richer(asked, seconds=4),
        "product 4": lambda asked: richer(asked, cut=True),
        "product 5": lambda asked: saying("I would rather tell you about titles."),
        "product 6": lambda asked: saying(None, refusal="I can't help with that"),
        "product 7": lambda asked: failing(400, "picture is too large"),
        "product 8": lambda asked: saying('{"title": "a very long', finish_reason="length"),
        "product 9": lambda asked: failing(400, "filtered", code="content_filter"),
    }
    with FaultyServer(lambda asked: faults.get(asked.title, richer)(asked)) as server:
        chat = provider(server.url, retries=1, timeout=1.5)
        results = enrich(chat, shop(12))
    kept = [number for number, result in enumerate(results) if result.text is not None]
    assert kept == [0, 10, 11]
    assert all(results[number].text == f"richer product {number}" for number in kept)
    codes = [result.reason.split(":")[0] for result in results[1:10]]
    answered = [
        "http_429",
        "http_500",
        "timeout",
        "connection",
        "bad_json",
        "refused",
        "http_400",
        "bad_json",
        "refused",
    ]
    assert codes == answered
    assert "too many" in results[1].reason and "max_tokens" in results[8].reason
    assert all("\n" not in result.reason for result in results)


def test_a_server_without_structured_output_is_asked_without_from_then_on():
    def answer(asked):
        return failing(400, "response_format is not supported") if "response_format" in asked.body else richer(asked)

    with FaultyServer(answer) as server:
        chat = provider(server.url)
        results = enrich(chat, shop(5)) + enrich(chat, shop(5))
    assert all(result.text for result in results)
    assert ["response_format" in asked.body for asked in server.requests] == [True] + [False] * 10


def test_one_row_that_is_refused_whatever_is_left_out_takes_nothing_from_the_others():
    with FaultyServer(lambda asked: failing(400, "no") if asked.title == "product 1" else richer(asked)) as server:
        results = enrich(provider(server.url, concurrency=1), shop(4))
    assert [result.text is None for result in results] == [False, True, False, False]
    assert ["response_format" in asked.body for asked in server.requests] == [True, True, False, True, True]


def test_a_parameter_refused_by_name_is_left_out():
    def answer(asked):
        for name in ("max_tokens", "temperature"):
            if name in asked.body:
                return failing(400, f"Unsupported parameter: '{name}' is not supported with this model")
        return richer(asked)

    with FaultyServer(answer) as server:
        results = enrich(provider(server.url, max_tokens=55), shop(3))
    assert [result.text for result in results] == [f"richer product {number}" for number in range(3)]
    assert len(server.requests) == 2 + 3
    last = server.requests[-1].body
    assert last["max_completion_tokens"] == 55 and "response_format" in last and "max_tokens" not in last


def test_asking_again_changes_seed_and_temperature():
    with FaultyServer(lambda asked: saying("no")) as server:
        enrich(provider(server.url), shop(1))
    assert [asked.body["seed"] for asked in server.requests] == [7 + attempt for attempt in range(BAD_REPLIES + 1)]
    assert [asked.body["temperature"] > 0 for asked in server.requests] == [False, True, True]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (failing(401, "wrong key"), "OPENAI_API_KEY"),
        (failing(404, "The model `m` does not exist"), "does not exist"),
        (failing(429, "pay first", code="insufficient_quota", retry_after="0.01"), "account"),
    ],
)
def test_what_fails_every_row_ends_the_run_at_the_first(answer, said):
    with FaultyServer(lambda asked: answer) as server, pytest.raises(EnrichmentError, match=said) as failure:
        enrich(provider(server.url, retries=1), shop(50))
    assert len({asked.title for asked in server.requests}) == 1
    assert "\n" not in str(failure.value) and server.url in str(failure.value)


def test_a_key_revoked_in_the_middle_ends_the_run():
    def answer(asked):
        return failing(401) if asked.title == "product 30" else richer(asked)

    with FaultyServer(answer) as server, pytest.raises(EnrichmentError, match="OPENAI_API_KEY"):
        enrich(provider(server.url, concurrency=2), shop(50))
    assert len(server.requests) < 40


def test_nothing_at_the_address():
    with FaultyServer(richer) as server:
        closed = server.url
    with pytest.raises(EnrichmentError, match="nothing answers"):
        enrich(provider(closed, retries=0), shop(50))


def test_a_server_that_broke_down_ends_the_run_rather_than_failing_a_million_rows():
    with FaultyServer(lambda asked: richer(asked) if asked.title == "product 0" else failing(503, "down")) as server:
        chat = provider(server.url, retries=0, concurrency=2)
        with pytest.raises(EnrichmentError, match="mend the server"):
            enrich(chat, shop(100))
    assert len(server.requests) < 1 + 2 * ROWS_WITHOUT_ANSWER * 2


@pytest.mark.parametrize(
    ("settings", "said"), [({"model": ""}, "text.model is empty"), ({"base_url": "localhost:8000/v1"}, "http://")]
)
def test_settings_that_cannot_work_are_refused_before_anything_is_asked(settings, said):
    with pytest.raises(EnrichmentError, match=said):
        provider(**{"url": "http://127.0.0.1:1/v1", **settings})


def test_works_where_an_event_loop_is_running():
    async def notebook(chat):
        return enrich(chat, shop(2))

    with FaultyServer(richer) as server:
        results = asyncio.run(notebook(provider(server.url)))
    assert [result.text for result in results] == ["richer product 0", "richer product 1"]
    assert enrich(provider(server.url), []) == []


@pytest.mark.parametrize(
    ("reply", "title"),
    [
        ('{"title": "Nike red shoe"}', "Nike red shoe"),
        ('```json\n{"title": "Nike red shoe"}\n```', "Nike red shoe"),
        ('Sure! {"title": "Nike red shoe"} Hope it helps {smile}.', "Nike red shoe"),
        ('<think>{"title": "no"} or {</think>{"title": "Nike red shoe"}', "Nike red shoe"),
        ('First {"title": "draft"}, better: {"title": "Nike red shoe"}', "Nike red shoe"),
        ('{"product": {"title": "Nike\\n red \\u0000shoe\\ud800"}}', "Nike red shoe"),
        ('{"title": "Nike\nred shoe"}', "Nike red shoe"),
    ],
)
def test_titles_are_found_in_replies(reply, title):
    assert title_in(reply) == title


@pytest.mark.parametrize(
    "reply",
    [
        *("", None, "Nike red shoe", '{"title": 3}', '{"title": " "}', '{"title": "cut', '{"a":' * 9000, '["title"]'),
        json.dumps({"title": "a" * 3000}),
    ],
)
def test_replies_without_a_title_are_refused(reply):
    with pytest.raises(ReplyError) as failure:
        title_in(reply)
    assert "\n" not in str(failure.value) and len(str(failure.value)) < 200


def test_slivers_and_single_pixels_become_pictures_that_servers_take():
    sizes = [main_picture(Product(id="a", images=(jpeg(*size),))).size for size in ((1, 1), (3000, 2), (90, 60))]
    assert sizes == [(32, 32), (PICTURE_SIDE, 32), (90, 60)]


def test_against_a_real_server_with_a_real_model(tmp_path):
    taught = write_taught_llava(tmp_path)
    untaught = str(write_llava(tmp_path / "untaught"))
    with transformers_serve(tmp_path / "log") as url:
        settings = TextSettings(provider="openai", model=taught.model, base_url=url, max_tokens=30, retries=0)
        chat = text_provider(settings, taught.prompts)
        results = enrich(chat, taught.products)
        nonsense = enrich(text_provider(replace(settings, model=untaught, max_tokens=4)), taught.products[1:])
        unknown = enrich(text_provider(replace(settings, model=str(tmp_path))), taught.products[:1])
    # The first two differ in nothing but their picture.
    assert [result.text for result in results] == taught.titles
    assert sum(result.tokens_in for result in results) > 3 * VISUAL_TOKENS
    assert chat.prompt.split("+")[0] == "enrich-short"
    # Random weights may by chance write a title; what they otherwise write is put aside, not taken for one.
    assert all(result.text or result.reason.startswith("bad_json: ") for result in nonsense)
    assert all(0 < result.tokens_out <= 4 for result in nonsense)
    assert unknown[0].reason.startswith("http_500"), "this server says 500 to a model it cannot open"
