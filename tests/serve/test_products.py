"""Search and products over HTTP: what the library finds, and changes that are there when they are acknowledged."""

from __future__ import annotations

import io
import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest
from PIL import Image
from support.running_server import RunningServer, running_server

from moon2 import Encoder, Product
from moon2.catalog.store import Catalog, write_catalog
from moon2.search.commands import build_index, upsert
from moon2.search.index import Index
from moon2.vectors.embed_catalog import embed


def found(answer: dict) -> list[tuple[str, float, int | None, int | None, str]]:
    return [
        (hit["id"], round(hit["score"], 4), hit["vector_rank"], hit["word_rank"], hit["exact"])
        for hit in answer["hits"]
    ]


def test_search_finds_what_the_library_finds(
    server: RunningServer, shop_index: Path, generated_shop: Catalog, photo: Callable[..., bytes], uri: Callable
) -> None:
    index = Index.open(shop_index)
    title, navy = next(generated_shop.products()).title, photo("navy")
    dear = {"where": "price > 30"}
    requests = (
        ({"text": "navy shirt"}, {"text": "navy shirt"}),
        ({"text": title, "hybrid": False, "limit": 3}, {"text": title, "hybrid": False, "limit": 3}),
        ({"image": uri(navy)}, {"image": navy}),
        (
            {"text": "in red", "image": uri(navy), **dear},
            {"text": "in red", "image": navy, **dear},
        ),
    )
    for asked, options in requests:
        hits = index.search(**{"limit": 20, **options})
        answer = server.ask("/v1/search", **asked)
        assert found(answer) == [
            (hit.id, round(hit.score, 4), hit.vector_rank, hit.word_rank, hit.exact) for hit in hits
        ], asked
    assert (answer["index"]["name"], answer["index"]["products"]) == ("shop", len(index)) and answer["took_ms"] > 0
    form = server.client.post("/v1/search", data={"text": "in red", "limit": "20", **dear}, files={"image": navy})
    assert found(form.json()) == found(answer)
    like = generated_shop.ids()[2]
    similar = server.ask("/v1/search", like=like, limit=5)
    assert [hit["id"] for hit in similar["hits"]] == [hit.id for hit in index.search(like=like, limit=5)]
    assert found(server.get(f"/v1/products/{like}/similar?limit=5")) == found(similar)
    photos = [hit["photo"] for hit in similar["hits"]]
    assert Image.open(io.BytesIO(server.client.get(photos[0]).content)).format == "JPEG"


def test_pages_put_together_are_one_long_list(server: RunningServer, generated_shop: Catalog) -> None:
    like, shirt = generated_shop.ids()[2], {"text": "navy shirt"}
    for asked in (shirt, {**shirt, "hybrid": False, "where": "price > 40"}, {"like": like}):
        whole = found(server.ask("/v1/search", **asked, limit=200))
        pages = [found(server.ask("/v1/search", **asked, limit=9, offset=at)) for at in range(0, len(whole) + 9, 9)]
        assert len(whole) > 20 and not pages[-1] and [hit for page in pages for hit in page] == whole
    assert found(server.get(f"/v1/products/{like}/similar?limit=5&offset=5")) == whole[5:10]
    assert server.client.post("/v1/search", json={"text": "a", "offset": 1001}).json()["error"]["param"] == "offset"


def test_threads_search_one_index_at_once(server: RunningServer) -> None:
    words = ("navy shirt", "red bag", "boots", "lamp for the table")
    alone = {text: found(server.ask("/v1/search", text=text)) for text in words}
    wrong: list[str] = []

    def search(text: str) -> None:
        for _ in range(5):
            if found(server.ask("/v1/search", text=text)) != alone[text]:
                wrong.append(text)

    threads = [threading.Thread(target=search, args=(text,)) for text in words * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_facets_count_what_passes_the_filter(server: RunningServer, generated_shop: Catalog) -> None:
    products = list(generated_shop.products())
    cheap = [product for product in products if product.price is not None and product.price < 60]
    facets = server.get("/v1/facets?where=price < 60")
    assert facets == server.ask("/v1/search", text="shirt", where="price < 60", facets=True)["facets"]
    counts = {value["value"]: value["count"] for value in facets["columns"][0]["values"]}
    assert facets["columns"][0]["name"] == "category" and sum(counts.values()) == len(cheap)
    assert counts[cheap[0].category[-1]] == sum(product.category[-1] == cheap[0].category[-1] for product in cheap)
    assert facets["price"]["max"] == max(product.price for product in cheap)
    assert [column["name"] for column in facets["columns"]][1:3] == ["brand", "colour"]


def test_a_product_tells_all_that_is_known_of_it(server: RunningServer, generated_shop: Catalog) -> None:
    product = next(generated_shop.products())
    told = server.get(f"/v1/products/{product.id}?predict=1")
    assert (told["title"], told["category"], told["price"]) == (product.title, list(product.category), product.price)
    assert told["attributes"] == dict(product.attributes) and len(told["images"]) == len(product.images)
    shares = told["predicted"]["category"]
    assert shares == sorted(shares, key=lambda each: -each["probability"]) and 0 < shares[0]["probability"] <= 1
    image = server.client.get(told["images"][0])
    assert image.headers["content-type"] == "image/jpeg" and Image.open(io.BytesIO(image.content)).width > 10
    for path in (f"/v1/products/{product.id}/images/99", "/v1/products/none", "/v1/products/none/photo"):
        assert server.client.get(path).status_code == 404


def test_labels_are_predicted_and_heatmaps_drawn(
    server: RunningServer, small_encoder: Encoder, photo: Callable[..., bytes], uri: Callable, generated_shop: Catalog
) -> None:
    item = {"text": "navy shirt", "image": uri(photo("navy"))}
    labels = server.ask("/v1/predict", **item, labels=["shirt", "lamp", "bag"])["labels"]
    query = small_encoder.encode({"text": "navy shirt", "image": photo("navy")})[0]
    cosines = {label: float(small_encoder.encode(label)[0] @ query) for label in ("shirt", "lamp", "bag")}
    assert [each["value"] for each in labels] == sorted(cosines, key=lambda label: -cosines[label])
    assert labels[0]["cosine"] == pytest.approx(max(cosines.values()), abs=1e-5)
    assert set(server.ask("/v1/predict", text="navy shirt")["predicted"]) >= {"category", "brand", "colour"}
    for asked in ({**item, "query": "red"}, {"product": generated_shop.ids()[0], "query": ""}):
        drawn = server.client.post("/v1/heatmap", json=asked)
        assert drawn.headers["content-type"] == "image/png" and Image.open(io.BytesIO(drawn.content)).width == 720
    assert server.client.post("/v1/heatmap", json={"text": "a", "layer": 99}).status_code == 422


def test_a_form_holds_numbers_and_lists_as_json_and_texts_as_they_are(
    server: RunningServer, photo: Callable[..., bytes], uri: Callable
) -> None:
    def sent(path: str, **fields: str) -> httpx2.Response:
        parts = {name: (None, value) for name, value in fields.items()}
        return server.client.post(path, files={**parts, "image": ("navy.png", photo("navy"))})

    names = ["shirt", "lamp", "bag"]
    labels = server.ask("/v1/predict", text="navy shirt", image=uri(photo("navy")), labels=names)
    assert sent("/v1/predict", text="navy shirt", labels=json.dumps(names)).json() == labels
    assert sent("/v1/heatmap", text="17", query="true", layer="0").status_code == 200
    refused = sent("/v1/predict", text="navy shirt", labels="shirt, lamp")
    assert refused.status_code == 422 and refused.json()["error"]["param"] == "labels"
    assert sent("/v1/search", where="17").json()["error"]["param"] == "where"


def test_photos_are_those_that_the_catalog_has_now(
    small_encoder_folder: Path, photo: Callable[..., bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moon2.serve.served.WATCH_SECONDS", 0.2)

    def write_shop(colours: dict[str, str]) -> None:
        products = [Product(id, f"{colour} {id}", images=(photo(colour),)) for id, colour in colours.items()]
        write_catalog(tmp_path / "shop", {"train": products}, title="shop", overwrite=True)

    write_shop({"shirt": "navy"})
    embed(str(small_encoder_folder), data=tmp_path / "shop", out=tmp_path / "vectors", what="products")
    index = str(build_index(tmp_path / "vectors", out=str(tmp_path / "index")).place)
    with running_server(index) as server:

        def shown(id: str) -> tuple[int, ...]:
            image = Image.open(io.BytesIO(server.client.get(f"/v1/products/{id}/images/0").content))
            return image.getpixel((4, 28))

        assert shown("shirt")[0] < 50
        write_shop({"shirt": "white", "dress": "red"})
        assert server.get("/v1/products/shirt")["images"] == []  # the index has the navy one still
        upsert(index, tmp_path / "shop")
        assert _until(lambda: server.client.get("/v1/products/dress").is_success)
        assert min(shown("shirt")) > 200 and shown("dress")[0] > 200 > shown("dress")[1]
        assert server.client.post("/v1/heatmap", json={"product": "dress"}).status_code == 200
        maps = Path("/proc/self/maps").read_text().splitlines()
        assert not [line for line in maps if str(tmp_path) in line and "(deleted)" in line], "the old files are closed"
        shutil.rmtree(tmp_path / "shop")
        assert server.client.get("/v1/products/shirt/images/0").status_code == 404


def test_a_product_that_was_put_is_shown_and_explained_as_it_is_now(
    own_index: Path, generated_shop: Catalog, photo: Callable[..., bytes], uri: Callable
) -> None:
    first, second, third = [product for product in generated_shop.products() if product.images and product.title][:3]
    body = [
        {"id": first.id, "title": "Only words now"},
        {"id": second.id, "title": second.title, "images": [uri(photo("red"))] * len(second.images)},
        {"id": "new", "images": [uri(photo("red"))]},
    ]
    with running_server(own_index) as server:

        def drawn(**asked: str) -> bytes:
            return server.client.post("/v1/heatmap", json=asked).content

        assert server.client.put("/v1/products", json=body).json()["written"] == 3
        told = [server.get(f"/v1/products/{id}") for id in (first.id, second.id, "new", third.id)]
        assert [len(each["images"]) for each in told] == [0, 0, 0, len(third.images)]
        assert told[0]["photo"] is None
        assert server.client.get(f"/v1/products/{second.id}/images/0").status_code == 404
        small = server.client.get(told[1]["photo"]).content
        assert drawn(product=first.id) == drawn(text="Only words now")
        assert drawn(product=second.id) == drawn(text=second.title, image=uri(small))
        assert drawn(product="new") == drawn(image=uri(small))
        assert server.client.delete(f"/v1/products/{third.id}").is_success
        assert server.client.post("/v1/heatmap", json={"product": third.id}).status_code == 404


def test_changes_are_on_disk_and_found_when_they_are_acknowledged(
    own_index: Path, photo: Callable[..., bytes], uri: Callable
) -> None:
    with running_server(own_index) as server:
        before = server.ask("/v1/search", text="gramophone")["index"]
        body = [
            {"id": "new/1", "title": "Ultramarine gramophone", "price": 9.5, "images": [uri(photo("navy"))]},
            {"id": "bad", "title": "x", "prise": 3},
            {"id": "broken", "images": ["data:image/png;base64,AAAA"]},
            {"id": "path", "images": ["/etc/passwd"]},
        ]
        put = server.client.put("/v1/products", json=body).json()
        assert (put["written"], put["refused"]) == (1, 3)
        assert [problem["index"] for problem in put["problems"]] == [1, 2, 3]
        assert "there is no key 'prise'" in put["problems"][0]["message"]
        on_disk = Index.open(own_index)
        assert on_disk.table.fetch(["new/1"], ["price"])["new/1"]["price"] == 9.5
        answer = server.ask("/v1/search", text="gramophone", limit=1)
        assert answer["hits"][0]["id"] == "new/1" and answer["index"]["products"] == before["products"] + 1
        assert server.client.get(answer["hits"][0]["photo"]).status_code == 200
        assert server.client.put("/v1/products", json=body[:1]).json()["unchanged"] == 1
        assert server.client.put("/v1/products", json=body[1:]).status_code == 422
        assert server.client.delete("/v1/products/new%2F1").json() == {"deleted": "new/1"}
        assert server.client.delete("/v1/products/new%2F1").status_code == 404
        assert "new/1" not in Index.open(own_index).table.fetch(["new/1"], ["id"])
        assert server.ask("/v1/search", text="gramophone")["index"]["products"] == before["products"]
        assert server.metric("moon2_products_written_total") == 1


def test_what_is_empty_is_no_label_and_an_attribute_is_no_class(own_index: Path) -> None:
    attributes = {"category": "wrong", "brand": " "}
    body = [
        {"id": f"g{n}", "title": "Gramophone", "category": ["", "Music"], "attributes": attributes} for n in range(21)
    ]
    with running_server(own_index) as server:
        assert server.client.put("/v1/products", json=body).json()["written"] == 21
        told = server.get("/v1/products/g0?predict=1")
        assert told["category"] == ["Music"] and told["attributes"] == {"category": "wrong"}
        assert told["predicted"]["category"][0]["value"] == "Music"


def test_any_id_can_be_asked_for(own_index: Path) -> None:
    ids = ["set", "set/photo", "set/similar", "set/images/0", "50% off?", "a%2Fb", "été #1"]
    with running_server(own_index) as server:
        server.client.put("/v1/products", json=[{"id": id, "title": id} for id in ids])
        for id in ids:
            place = f"/v1/products/{quote(id, safe='')}"
            assert server.client.get(place).json()["id"] == id
            assert id not in [hit["id"] for hit in server.client.get(f"{place}/similar").json()["hits"]]
        assert server.client.get("/v1/products/set/photo").status_code == 404
        assert server.client.get("/v1/facets/", follow_redirects=True).status_code == 200
        assert server.client.head("/v1/products/set%2Fphoto").status_code == 200
        for id in ids:
            assert server.client.delete(f"/v1/products/{quote(id, safe='')}").json() == {"deleted": id}


def test_searches_go_on_while_products_are_written_and_deleted(own_index: Path) -> None:
    with running_server(own_index) as server:
        ended, bad = threading.Event(), []

        def search() -> None:
            while not ended.is_set():
                answer = server.client.post("/v1/search", json={"text": "gramophone shirt", "limit": 50})
                if answer.status_code != 200:
                    bad.append(answer.text)

        threads = [threading.Thread(target=search) for _ in range(2)]
        for thread in threads:
            thread.start()
        for number in range(6):
            assert server.client.put("/v1/products", json=[{"id": "n", "title": f"gramophone {number}"}]).is_success
            assert server.client.delete("/v1/products/n").is_success
        ended.set()
        for thread in threads:
            thread.join()
        assert not bad


def test_an_index_that_cannot_be_written_is_not_said_to_be_written_by_another(own_index: Path) -> None:
    own_index.with_name(f".{own_index.name}.lock").mkdir()  # no lock can be had there
    with running_server(own_index) as server:
        answer = server.client.put("/v1/products", json=[{"id": "n", "title": "gramophone"}])
        assert answer.status_code == 503 and "cannot be written" in answer.json()["error"]["message"]
        assert "retry-after" not in answer.headers


def test_what_another_process_writes_is_served_and_the_old_version_ends(
    own_index: Path,
    shop_vectors: Path,
    small_encoder: Encoder,
    generated_shop: Catalog,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("moon2.serve.served.WATCH_SECONDS", 0.2)
    with running_server(own_index) as server:
        served = server.app.state.moon2.served.indexes[0]
        first = served.current
        Index.open(own_index).upsert([Product("new", "Ultramarine gramophone")])
        assert _until(lambda: server.ask("/v1/search", text="gramophone", limit=1)["hits"][0]["id"] == "new")
        assert first.is_retired and served.current.encoding is first.encoding
        build_index(shop_vectors, out=str(own_index), overwrite=True)
        assert _until(lambda: server.ask("/v1/search", text="gramophone", limit=1)["hits"][0]["id"] != "new")
        # By another encoder, which is loaded while the old one goes on, and then alone.
        other = Encoder(small_encoder.model, small_encoder.processor, dimensions=[8, small_encoder.dimension])
        other.save_pretrained(tmp_path / "other")
        embed(str(tmp_path / "other"), data=generated_shop.folder, out=tmp_path / "vectors", what="products")
        build_index(tmp_path / "vectors", out=str(own_index), overwrite=True)
        services = server.app.state.moon2.served.encoders.services
        assert _until(lambda: [service.names[0] for service in services()] == ["other"])
        assert server.client.post("/v1/search", json={"text": "gramophone"}).status_code == 200
        own_index.rename(tmp_path / "gone")  # in one step: the watcher opens what is there
        assert server.client.post("/v1/search", json={"text": "shirt"}).status_code == 503
        assert server.client.get("/healthz").status_code == 200


def test_two_indexes_side_by_side_share_their_encoder(shop_index: Path, own_index: Path) -> None:
    Index.open(own_index).delete([first := Index.open(own_index).search("shirt", limit=1)[0].id])
    with running_server(shop_index, beside=str(own_index)) as server:
        ids = [[hit["id"] for hit in server.ask("/v1/search", text="shirt", index=n)["hits"]] for n in (0, 1)]
        assert ids[0][0] == first and first not in ids[1]
        assert len(server.app.state.moon2.served.encoders.services()) == 1
        beside = server.ask("/v1/search", text="shirt", index=1)["hits"][0]["photo"]
        assert beside.endswith("?index=1") and server.client.get(beside).status_code == 200


def test_the_cache_of_queries_changes_no_vector(shop_index: Path, server: RunningServer) -> None:
    hits = server.metric("moon2_query_cache_hits_total")
    first, second = (server.ask("/v1/search", text="a query of its own") for _ in range(2))
    assert found(first) == found(second) and server.metric("moon2_query_cache_hits_total") == hits + 1
    with running_server(shop_index, query_cache=0) as without:
        assert found(without.ask("/v1/search", text="a query of its own")) == found(first)
        without.ask("/v1/search", text="a query of its own")
        assert without.metric("moon2_query_cache_hits_total") == 0


def _until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
