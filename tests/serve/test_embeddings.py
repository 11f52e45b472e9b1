"""Embeddings as other people's own clients ask for them, against the vectors of the library."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import cohere
import numpy as np
import openai
import pytest
from support.running_server import RunningServer, running_server

from moon2 import Encoder, Query
from moon2.encoders.load import load_encoder

TEXTS = ["navy casual shirt", "red leather handbag", "шарф, 日本の傘", "a" * 3000]


@pytest.fixture(scope="module")
def matryoshka(small_encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder with a shorter length too, under the name that requests call it by."""
    folder = tmp_path_factory.mktemp("runs") / "shop"
    length = small_encoder.dimension
    Encoder(small_encoder.model, small_encoder.processor, dimensions=[8, length]).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server(matryoshka: Path) -> Iterator[RunningServer]:
    with running_server(matryoshka) as running:
        yield running


@pytest.fixture(scope="module")
def openai_client(server: RunningServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def cohere_client(server: RunningServer) -> cohere.ClientV2:
    return cohere.ClientV2(base_url=server.address, api_key="none")


def test_openai_client_gets_the_vectors_of_the_library(openai_client: openai.OpenAI, small_encoder: Encoder) -> None:
    truth = small_encoder.encode(TEXTS)
    for form in ("float", "base64"):
        answer = openai_client.embeddings.create(model="shop", input=TEXTS, encoding_format=form)
        vectors = [
            np.frombuffer(base64.b64decode(one.embedding), "<f4") if isinstance(one.embedding, str) else one.embedding
            for one in answer.data
        ]
        assert np.abs(np.array(vectors) - truth).max() < 1e-5
        assert [one.index for one in answer.data] == [0, 1, 2, 3]
    # The client's own default, and a single text.
    alone = openai_client.embeddings.create(model="shop", input=TEXTS[0])
    assert np.abs(np.array(alone.data[0].embedding) - truth[0]).max() < 1e-5
    tokens = len(small_encoder.processor.text_offsets(TEXTS[0]))
    assert (alone.usage.prompt_tokens, alone.usage.total_tokens, alone.model) == (tokens, tokens, "shop")


def test_lengths_are_those_that_were_trained(openai_client: openai.OpenAI, small_encoder: Encoder) -> None:
    short = openai_client.embeddings.create(model="shop", input=TEXTS[0], dimensions=8)
    assert np.abs(np.array(short.data[0].embedding) - small_encoder.encode(TEXTS[0], dimension=8)[0]).max() < 1e-5
    with pytest.raises(openai.UnprocessableEntityError, match=r"dimensions is 7; this encoder was trained for 8, 32"):
        openai_client.embeddings.create(model="shop", input=TEXTS[0], dimensions=7)


def test_chat_form_embeds_words_and_images_as_one_item(
    server: RunningServer, small_encoder: Encoder, photo: Callable[..., bytes], uri: Callable[[bytes], str]
) -> None:
    image = {"type": "image_url", "image_url": {"url": uri(photo("red"))}}
    content = [image, {"type": "text", "text": "in navy"}]
    answer = server.ask("/v1/embeddings", model="shop", messages=[{"role": "user", "content": content}])
    truth = small_encoder.encode({"text": "in navy", "image": photo("red")})[0]
    assert np.abs(np.array(answer["data"][0]["embedding"]) - truth).max() < 1e-5
    alone = server.ask("/v1/embeddings", model="shop", messages=[{"content": [image]}])
    assert (
        np.abs(np.array(alone["data"][0]["embedding"]) - small_encoder.encode({"image": photo("red")})[0]).max() < 1e-5
    )
    assert alone["usage"]["prompt_tokens"] > 0


def test_cohere_client_gets_texts_images_and_mixed_items(
    cohere_client: cohere.ClientV2, small_encoder: Encoder, photo: Callable[..., bytes], uri: Callable[[bytes], str]
) -> None:
    texts = cohere_client.embed(model="shop", input_type="search_query", texts=TEXTS[:2], embedding_types=["float"])
    assert np.abs(np.array(texts.embeddings.float_) - small_encoder.encode(TEXTS[:2])).max() < 1e-5
    assert texts.texts == TEXTS[:2] and texts.meta.billed_units.input_tokens > 0
    images = cohere_client.embed(
        model="shop", input_type="image", images=[uri(photo("red"))], embedding_types=["float"]
    )
    assert np.abs(np.array(images.embeddings.float_) - small_encoder.encode({"image": photo("red")})).max() < 1e-5
    url = {"type": "image_url", "image_url": {"url": uri(photo("green"))}}
    inputs = [{"content": [{"type": "text", "text": "a bag"}, url]}, {"content": [{"type": "text", "text": "a hat"}]}]
    mixed = cohere_client.embed(
        model="shop", input_type="search_document", inputs=inputs, embedding_types=["float"], output_dimension=8
    )
    truth = small_encoder.encode([{"text": "a bag", "image": photo("green")}, "a hat"], dimension=8)
    assert np.abs(np.array(mixed.embeddings.float_) - truth).max() < 1e-5


def test_cohere_types_hold_the_same_vector(cohere_client: cohere.ClientV2, small_encoder: Encoder) -> None:
    truth = small_encoder.encode(TEXTS[0])[0]
    kinds = ["float", "int8", "uint8", "binary", "ubinary", "base64"]
    found = cohere_client.embed(
        model="shop", input_type="search_document", texts=TEXTS[:1], embedding_types=kinds
    ).embeddings
    eight = np.array(found.int8[0])
    assert np.abs(eight).max() == 127 and eight @ truth / np.linalg.norm(eight) > 0.999
    assert (np.array(found.uint8[0]) - 128 == eight).all()
    assert (np.unpackbits(np.array(found.ubinary[0], np.uint8)) == (truth > 0)).all()
    assert (np.array(found.binary[0]) + 128 == found.ubinary[0]).all()
    assert np.abs(np.frombuffer(base64.b64decode(found.base64[0]), "<f4") - truth).max() < 1e-5


def test_a_bad_item_is_named_and_its_neighbours_requests_are_answered(
    server: RunningServer, photo: Callable[..., bytes], uri: Callable[[bytes], str]
) -> None:
    def refused(path: str, **json: object) -> tuple[int, str | None, str]:
        answer = server.client.post(path, json={"model": "shop", **json})
        error = answer.json()["error"]
        return answer.status_code, error["param"], error["message"]

    status, param, message = refused("/v1/embeddings", input=["a", " ", "b"])
    assert (status, param) == (422, "input[1]") and "neither text" in message
    broken = photo("red")[:90]
    status, param, message = refused("/v2/embed", images=[uri(photo("red")), uri(broken)])
    assert (status, param) == (422, "images[1]") and "cannot be read" in message
    status, param, message = refused("/v1/embeddings", input=[[1, 2, 3]])
    assert (status, param) == (422, "input") and "token ids" in message
    assert refused("/v1/embeddings", input="a", dimension=8)[1:] == (
        "dimension",
        "dimension: there is no key 'dimension' here; did you mean 'dimensions'?",
    )
    # Pydantic's own places name the kinds of a union, too, such as "input.str".
    assert refused("/v1/embeddings", input=["a", None])[1:] == ("input[1]", "input[1]: Input should be a valid string")
    content = [{"type": "text", "text": "a"}, {"type": "text", "text": 5}]
    assert refused("/v1/embeddings", messages=[{"content": content}])[1] == "messages[0].content[1].text"
    assert refused("/v2/embed", inputs=[{"content": content[:1]}, {"content": [{"type": "text"}]}])[1] == (
        "inputs[1].content[0].text"
    )
    status, param, message = refused("/v2/embed", texts=["x" * 9000], truncate="NONE")
    assert (status, param) == (422, "texts[0]")
    answer = server.client.post("/v1/embeddings", json={"model": "other", "input": "a"})
    assert (
        answer.status_code == 404
        and answer.json()["error"]["message"] == "model 'other' is not served here; there is shop"
    )
    server.ask("/v1/embeddings", model="shop", input="a")


def test_a_long_text_is_refused_before_it_is_tokenized_and_others_hold_nobody_up(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = server.app.state.moon2.served.encoders.services()[0].encoder.processor
    count, threads = processor.token_count, []

    def counted(text: str) -> int:
        threads.append(threading.current_thread().name)
        return count(text)

    monkeypatch.setattr(processor, "token_count", counted)
    asked = {"model": "shop", "truncate": "NONE"}
    long = server.client.post("/v2/embed", json={**asked, "texts": ["a", "x" * 20_001]}).json()["error"]
    assert (long["param"], long["message"]) == ("texts[1]", "texts[1]: 20,001 characters are more than 20,000")
    assert not threads
    cut = server.client.post("/v2/embed", json={**asked, "texts": ["a", "x" * 9000]}).json()["error"]
    assert (cut["param"], cut["message"]) == ("texts[1]", "texts[1]: is longer than the encoder reads")
    server.ask("/v2/embed", **asked, texts=["a"])
    assert len(threads) == 3 and all(name.startswith("moon2-images") for name in threads)


def test_a_run_alone_has_no_search(server: RunningServer) -> None:
    answer = server.client.post("/v1/search", json={"text": "shirt"})
    assert answer.status_code == 404 and "moon2 serve INDEX" in answer.json()["error"]["message"]
    assert [model["dimensions"] for model in server.get("/v1/models")["data"]] == [[8, 32]]
    assert server.get("/readyz") == {"status": "ready"}


def test_another_librarys_encoder_is_served_too(
    dual_checkpoints: dict[str, Path], photo: Callable[..., bytes], uri: Callable[[bytes], str]
) -> None:
    encoder = load_encoder(dual_checkpoints["clip"])
    url = {"type": "image_url", "image_url": {"url": uri(photo("green", (300, 300)))}}
    inputs = [{"content": [{"type": "text", "text": "a bag"}, url]}, {"content": [url]}]
    inputs.append({"content": [{"type": "text", "text": "a hat"}]})
    with running_server(dual_checkpoints["clip"]) as server:
        name = server.get("/v1/models")["data"][0]["id"]
        found = server.ask("/v2/embed", model=name, inputs=inputs, input_type="search_query")["embeddings"]["float"]
        assert server.get("/readyz") == {"status": "ready"}
    image = photo("green", (300, 300))
    truth = encoder.encode([Query("1", "a bag", image), Query("2", image=image), Query("3", "a hat")])
    assert np.abs(np.array(found) - truth).max() < 1e-5
