"""Stages on Ray: which share workers, that data goes through them in order, and that errors end a job in one line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from moon2.catalog.store import Catalog, write_catalog
from moon2.errors import UserError
from moon2.jobs.ray_pools import Stage, connect, plan_pools, run_stages
from moon2.jobs.shards import JobError, JobFolder, shards_of
from moon2.records import Product

CPU, GPU, SERVER, ANY = (Stage(list, needs) for needs in ("cpu", "gpu", "server", "any"))


@pytest.fixture(scope="module", autouse=True)
def ray() -> Iterator[None]:
    with connect(None, 2):
        yield


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    products = [Product(id=str(number), title="shirt") for number in range(300)]
    return write_catalog(tmp_path / "shop", {"train": products}, title="shop")


def test_stages_with_the_same_needs_share_workers() -> None:
    (alone,) = plan_pools([CPU, CPU, ANY], workers=4, cpus=4, gpus=0)
    assert alone.stages == (CPU, CPU, ANY) and alone.workers == 4
    pools = plan_pools([CPU, SERVER, GPU, GPU, ANY], workers=2, cpus=2, gpus=1)
    assert [pool.stages for pool in pools] == [(CPU,), (SERVER,), (GPU, GPU, ANY)]
    assert [pool.gpus for pool in pools] == [0, 0, 1]
    assert [len(pool.stages) for pool in plan_pools([CPU, GPU, ANY], workers=2, cpus=2, gpus=0)] == [3]


def test_pools_ask_for_no_more_than_there_is() -> None:
    pools = plan_pools([CPU, GPU, CPU, GPU, ANY], workers=8, cpus=2, gpus=1)
    assert sum(pool.gpus * pool.workers for pool in pools) <= 1
    assert sum(pool.cpus * pool.workers for pool in pools) <= 2


def test_data_goes_through_all_stages_in_order(catalog: Catalog, tmp_path: Path) -> None:
    stages = [
        Stage(lambda: lambda products: [product.id for product in products]),
        Stage(lambda: lambda ids: [f"id {id}" for id in ids], "server"),
        Stage(lambda: lambda ids: {"ids": pa.table({"id": ids})}),
    ]
    folder = JobFolder(tmp_path / "job")
    folder.begin({})
    shards = shards_of(catalog, "train")
    finished = list(run_stages(shards, stages, folder, address=None, workers=1))
    assert sorted(finished, key=lambda shard: shard.number) == shards
    ids = [id for shard in shards for id in folder.read(shard.number, "ids")["id"].to_pylist()]
    assert ids == [f"id {number}" for number in range(300)]


def _refuse(*_: object) -> None:
    raise UserError("the model\ncannot be opened")


@pytest.mark.parametrize("stage", [Stage(_refuse), Stage(lambda: _refuse)])
def test_an_error_for_the_user_ends_the_job_in_one_line(stage: Stage, catalog: Catalog, tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "job")
    folder.begin({})
    with pytest.raises(JobError, match="the model cannot be opened"):
        list(run_stages(shards_of(catalog, "train"), [stage, CPU], folder, address=None, workers=1))
    assert not folder.finished()
