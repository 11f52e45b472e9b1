"""Alive and ready, counted, logged without a shopper's words, stopped without losing a request; killed without losing
a product."""

from __future__ import annotations

import base64
import html
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import numpy as np
import pytest
from support.running_server import RunningServer, running_server

from moon2 import Encoder
from moon2.encoders.identity import encoder_identity
from moon2.model.reference import REFERENCE, read_reference
from moon2.search.index import Index
from moon2.serve.page.page import STATIC
from moon2.serve.settings import Limits, ServeError, ServeSettings


def test_it_is_ready_when_it_computes_what_was_saved_with_the_model(small_encoder: Encoder, tmp_path: Path) -> None:
    small_encoder.save_pretrained(tmp_path / "shop")
    identity = encoder_identity(tmp_path / "shop")
    saved = read_reference(tmp_path / "shop")
    assert saved is not None and np.allclose(np.linalg.norm(saved, axis=1), 1, atol=1e-5)
    with running_server(tmp_path / "shop") as server:
        assert server.get("/readyz") == {"status": "ready"} and server.get("/healthz") == {"status": "alive"}
    turned = [base64.b64encode((-row).tobytes()).decode() for row in saved]
    (tmp_path / "shop" / REFERENCE).write_text(json.dumps({"format": 1, "vectors": turned}))
    assert encoder_identity(tmp_path / "shop") == identity
    with running_server(tmp_path / "shop") as server:
        answer = server.client.get("/readyz")
        assert answer.status_code == 503 and "are not those saved with it" in answer.json()["error"]["message"]
        assert server.client.get("/healthz").status_code == 200
    (tmp_path / "shop" / REFERENCE).unlink()
    with running_server(tmp_path / "shop") as server:
        assert server.get("/readyz") == {"status": "ready"}


def test_an_encoder_that_does_not_see_is_not_ready(
    small_encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_encoder.save_pretrained(tmp_path / "shop")
    (tmp_path / "shop" / REFERENCE).unlink()
    with running_server(tmp_path / "shop") as server:
        service = server.app.state.moon2.served.encoders.services()[0]
        one = small_encoder.encode("the same for all")
        monkeypatch.setattr(service.batcher, "_compute", lambda works: np.repeat(one, len(works), axis=0))
        answer = server.client.get("/readyz")
        assert answer.status_code == 503 and "two different items the same vector" in answer.text


def test_metrics_tell_of_requests_batches_and_the_index(server: RunningServer) -> None:
    for _ in range(2):
        server.ask("/v1/search", text="a lamp of its own")
    server.client.get("/v1/products/none")
    text = server.client.get("/metrics").text
    assert 'moon2_request_seconds_count{method="POST",route="/v1/search",status="200"} 2.0' in text
    assert 'route="/v1/products/{id}",status="404"' in text
    assert 'moon2_rejected_requests_total{status="404"} 1.0' in text
    assert 'moon2_index_products{index="shop"} 80.0' in text and "moon2_queue_items 0.0" in text
    assert "moon2_query_cache_hits_total 1.0" in text and "moon2_batch_tokens_bucket" in text
    assert server.metric("moon2_batch_items_count") == 1


def test_head_is_answered_as_get_without_a_body(server: RunningServer) -> None:
    for path in ("/healthz", "/readyz", "/", "/v1/products/p00001/photo", "/docs"):
        head, whole = server.client.head(path), server.client.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(whole.content))
    assert server.client.head("/v1/products/none").status_code == 404
    assert 'moon2_request_seconds_count{method="HEAD",route="/healthz",status="200"} 1.0' in (
        server.client.get("/metrics").text
    )


def test_a_wrong_method_is_told_the_right_one(server: RunningServer) -> None:
    answer = server.client.put("/healthz")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")
    assert answer.json()["error"]["message"] == "Method Not Allowed"


@pytest.mark.parametrize("asked", [False, True])
def test_the_log_has_shoppers_words_only_where_that_is_asked_for(
    shop_index: Path, asked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    from moon2.serve.logs import JsonLines

    with caplog.at_level(logging.INFO, "moon2"), running_server(shop_index, log_queries=asked) as server:
        server.ask("/v1/search", text="secret garden", where="title LIKE '%hidden%'")
        server.client.get("/v1/products/secret")
        server.client.get("/secret?where=hidden")
        server.client.post("/v1/search", json={"text": "a", "secret": 1})
    lines = [JsonLines().format(record) for record in caplog.records]
    assert bool(re.search("secret|hidden", "\n".join(lines))) is asked
    search = next(json.loads(line) for line in lines if '"/v1/search"' in line)
    assert (search["status"], search["method"], search["level"]) == (200, "POST", "info") and search["ms"] > 0
    assert search.get("text") == ("secret garden" if asked else None)


def test_too_much_at_once_is_turned_away_with_a_time_to_come_back(shop_index: Path) -> None:
    with running_server(shop_index, limits=Limits(waiting=3)) as server:
        name = server.get("/v1/models")["data"][0]["id"]
        answer = server.client.post("/v1/embeddings", json={"model": name, "input": ["a", "b", "c", "d"]})
        assert answer.status_code == 429 and answer.headers["retry-after"] == "1"
        assert answer.json()["error"]["type"] == "rate_limit_error"
        server.ask("/v1/embeddings", model=name, input=["a", "b"])


def test_a_request_that_takes_too_long_ends_and_the_others_go_on(
    shop_index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    with running_server(shop_index, limits=Limits(seconds=3)) as server:
        monkeypatch.setattr(Index, "photos", lambda index, ids: go_on.wait(60))
        try:
            answer = server.client.get("/v1/products/p00001/photo")
            assert answer.status_code == 504 and answer.headers["retry-after"]
            assert server.ask("/v1/search", text="shirt")["hits"]
        finally:
            go_on.set()


def test_one_explanation_is_made_at_a_time_also_when_requests_do_not_wait_for_it(
    shop_index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times, begun, go_on = [], threading.Event(), threading.Event()

    def slow(*asked: object) -> bytes:
        times.append(asked)
        begun.set()
        go_on.wait(60)
        return b""

    monkeypatch.setattr("moon2.serve.products._drawn", slow)
    with running_server(shop_index, limits=Limits(seconds=1)) as server:
        try:
            assert server.client.post("/v1/heatmap", json={"text": "shirt"}).status_code == 504
            assert begun.wait(60)
            codes = [server.client.post("/v1/heatmap", json={"text": "shirt"}).status_code for _ in range(2)]
            assert codes == [504] * 2 and len(times) == 1
        finally:
            go_on.set()


def test_requests_under_way_are_answered_when_it_stops(shop_index: Path) -> None:
    codes: list[int] = []
    with running_server(shop_index) as server:
        name = server.get("/v1/models")["data"][0]["id"]

        def ask(number: int) -> None:
            body = {"model": name, "input": [f"{number} {place}" for place in range(200)]}
            codes.append(httpx2.post(f"{server.address}/v1/embeddings", json=body, timeout=60).status_code)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        # All have arrived when more items wait or are done than three requests have.
        while server.metric("moon2_queue_items") + server.metric("moon2_batch_items_sum") <= 3 * 200:
            time.sleep(0.01)
    for thread in threads:
        thread.join()
    assert codes == [200] * 4


def test_openapi_describes_every_route_with_examples(server: RunningServer) -> None:
    described = server.get("/openapi.json")
    for path in ("/v1/search", "/v1/predict", "/v1/heatmap"):
        content = described["paths"][path]["post"]["requestBody"]["content"]
        assert set(content) == {"application/json", "multipart/form-data"} and content["application/json"]["examples"]
    assert described["components"]["schemas"]["EmbeddingRequest"]["examples"]
    page = html.unescape(server.client.get("/docs").text)
    for path, methods in described["paths"].items():
        for method, told in methods.items():
            assert f"{method.upper()} {path}" in page and told["description"].replace("`", "") in page
    assert "navy casual shirt" in page and "SKU-17" in page and "layer" not in page


def test_no_answer_names_an_address_elsewhere(server: RunningServer) -> None:
    paths = ["/", "/docs", "/redoc", "/openapi.json", "/v1/models", "/v1/facets", "/metrics", "/readyz", "/nothing"]
    paths += [f"/static/{file.name}" for file in STATIC.iterdir()]
    answers = [server.client.get(path) for path in paths]
    answers.append(server.client.post("/v1/search", json={"text": "shirt", "facets": True}))
    answers.append(server.client.get("/v1/products/p00001?predict=1"))
    for answer in answers:
        # What an SVG calls its language is no address that is opened.
        text = answer.text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|[\"'(]//\w", text), answer.url


def test_what_cannot_be_served_is_a_line(tmp_path: Path, shop_index: Path) -> None:
    from moon2.serve.command import serve

    (tmp_path / "empty").mkdir()
    with pytest.raises(ServeError, match="neither an index nor an encoder"):
        serve(str(tmp_path / "empty"), port=0)
    with pytest.raises(ServeError, match="--query_cache is -1; give the number of queries to keep, 0 for none"):
        ServeSettings(str(shop_index), query_cache=-1)
    with running_server(shop_index) as server, pytest.raises(ServeError, match="choose another --port"):
        serve(str(shop_index), port=int(server.address.rpartition(":")[2]))


@contextmanager
def served_process(index: Path) -> Iterator[tuple[subprocess.Popen[str], httpx2.Client]]:
    """`moon2 serve` in a process of its own, which the block may kill."""
    command = [sys.executable, "-m", "moon2", "serve", str(index), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = next(line for line in process.stderr if "serving" in line)
    drain = threading.Thread(target=process.stderr.read)
    drain.start()
    try:
        found = re.search(r"http://[\d.:]+", line)
        assert found is not None
        with httpx2.Client(base_url=found[0], timeout=60) as client:
            yield process, client
    finally:
        process.kill()
        process.wait()
        drain.join()


def _kill_in_the_middle(index: Path, kills: int) -> None:
    before, acknowledged = Index.open(index).ids(), {}
    random = np.random.default_rng(0)
    for kill in range(kills):
        with served_process(index) as (process, client):
            timer = threading.Timer(float(random.uniform(0.1, 0.8)), os.kill, (process.pid, signal.SIGKILL))
            try:
                for number in range(10_000):
                    batch = {f"new-{kill}-{number}": f"red lamp {kill}", f"again-{number % 3}": f"lamp {kill} {number}"}
                    products = [{"id": id, "title": title} for id, title in batch.items()]
                    client.put("/v1/products", json=products).raise_for_status()
                    acknowledged |= batch
                    if number == 0:
                        timer.start()
            except httpx2.HTTPError:
                pass
            timer.join()
        opened = Index.open(index)
        rows = Counter(opened.table.scan(["id"])["id"].to_pylist())
        assert not [id for id, count in rows.items() if count != 1]
        assert set(rows) >= {*before, *acknowledged}
        titles = opened.table.fetch([id for id in acknowledged if id.startswith("new")], ["title"])
        assert {id: row["title"] for id, row in titles.items()} == {
            id: title for id, title in acknowledged.items() if id.startswith("new")
        }
    assert len(acknowledged) > kills


def test_nothing_that_was_acknowledged_is_lost_by_a_kill(own_index: Path) -> None:
    _kill_in_the_middle(own_index, kills=1)


@pytest.mark.long
def test_nothing_that_was_acknowledged_is_lost_by_ten_kills(own_index: Path) -> None:
    _kill_in_the_middle(own_index, kills=10)
