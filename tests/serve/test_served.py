"""What a server has open: encoders with their prompts, indexes in whatever version is there."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest

from moon2.catalog.store import Catalog
from moon2.search.commands import build_index
from moon2.search.index import Index
from moon2.serve.encoding import model_names
from moon2.serve.metrics import Metrics
from moon2.serve.searching import query_vector
from moon2.serve.served import Served
from moon2.serve.settings import ServeSettings
from moon2.vectors.embed_catalog import embed


def test_here_is_named_by_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert model_names(".") == [tmp_path.name, "."] and model_names("org/name")[0] == "name"


def test_threads_that_ask_at_once_read_the_words_once(shop_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index, reads = Index.open(shop_index), []
    scan = index.table.scan

    def slowly(columns: list[str]) -> object:
        reads.append(columns)
        time.sleep(0.2)
        return scan(columns)

    monkeypatch.setattr(index.table, "scan", slowly)
    threads = [threading.Thread(target=index.known_words) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reads) == 1


@pytest.fixture
def vectors(dual_checkpoints: dict[str, Path], generated_shop: Catalog, tmp_path: Path) -> dict[str, Path]:
    """Of one encoder, with a prompt and without."""
    folders = {"": tmp_path / "plain", "running shoes ": tmp_path / "prompted"}
    for prompt, folder in folders.items():
        embed(str(dual_checkpoints["clip"]), data=generated_shop.folder, out=folder, what="products", prompt=prompt)
    return folders


def test_each_index_asks_with_the_prompt_that_it_was_made_with(vectors: dict[str, Path], tmp_path: Path) -> None:
    plain, prompted = (str(tmp_path / name) for name in ("index", "beside"))
    build_index(vectors[""], out=plain)
    build_index(vectors["running shoes "], out=prompted)

    async def ask() -> None:
        served = Served(ServeSettings(plain, beside=prompted), Metrics())
        for number, place in enumerate((plain, prompted)):
            await asks_as(served, number, Index.open(place))
        build_index(vectors["running shoes "], out=plain, overwrite=True)
        assert await served.index(0).refresh()
        await asks_as(served, 0, Index.open(prompted))
        await served.close()

    async def asks_as(served: Served, number: int, index: Index) -> None:
        with served.index(number).lease() as opened:
            vector = await query_vector(opened, "navy shirt", None)
        assert np.allclose(vector, index.encode("navy shirt"), atol=1e-5)

    asyncio.run(ask())


def test_an_encoder_that_was_exchanged_goes_with_its_last_request(vectors: dict[str, Path], tmp_path: Path) -> None:
    place = str(tmp_path / "index")
    build_index(vectors[""], out=place)

    async def exchange() -> None:
        served = Served(ServeSettings(place), Metrics())
        encoder = weakref.ref(served.encoders.services()[0].encoder)
        build_index(vectors["running shoes "], out=place, overwrite=True)
        gc.disable()  # what a server has loaded is hidden from the collector
        try:
            assert await served.index(0).refresh()
            for thread in threading.enumerate():
                if thread.name == "moon2-close":
                    thread.join()
            assert encoder() is None
        finally:
            gc.enable()
        await served.close()

    asyncio.run(exchange())


def test_a_request_out_of_time_while_an_index_opens_leaves_no_encoder_behind(
    vectors: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = str(tmp_path / "index")
    build_index(vectors[""], out=place)
    begun, go_on, reopened = threading.Event(), threading.Event(), Index.reopened

    def slowly(index: Index) -> Index:
        begun.set()
        go_on.wait(60)
        return reopened(index)

    async def hurry() -> None:
        served = Served(ServeSettings(place), Metrics())
        index, before = served.index(0), served.index(0).current
        build_index(vectors[""], out=place, overwrite=True)
        monkeypatch.setattr(Index, "reopened", slowly)
        request = asyncio.create_task(index.refresh())
        await asyncio.to_thread(begun.wait, 60)
        request.cancel()  # as a limit of time does
        with pytest.raises(asyncio.CancelledError):
            await request
        go_on.set()
        deadline = time.monotonic() + 60
        while index.current is before and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        assert index.current is not before
        await served.close()
        assert served.encoders.services() == []

    asyncio.run(hurry())
