"""A shard is there whole or not at all, and a job goes on only with what it was begun with."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from moon2.catalog.store import write_catalog
from moon2.jobs.shards import JobError, JobFolder, shards_of
from moon2.records import Product

TABLE = pa.table({"id": ["a", "b"]})


def test_the_shards_of_a_catalog_are_its_row_groups_in_order(tmp_path: Path) -> None:
    products = [Product(id=str(number), title=f"shirt {number}") for number in range(600)]
    catalog = write_catalog(tmp_path / "shop", {"train": products, "test": [Product("t", "bag")]}, title="shop")
    shards = shards_of(catalog, "train")
    assert [shard.number for shard in shards] == [0, 1, 2]
    assert sum(shard.rows for shard in shards) == 600
    assert [product for shard in shards for product in shard.read()] == products


def test_a_shard_is_finished_when_all_its_tables_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = JobFolder(tmp_path / "job")
    folder.begin({"settings": "a"})
    folder.write(3, {"products": TABLE, "rejected": TABLE})
    assert folder.finished() == {3}
    assert folder.read(3, "rejected") == TABLE
    folder.write(3, {"products": TABLE, "rejected": TABLE})  # by another worker
    with pytest.raises(AttributeError):
        folder.write(4, {"products": TABLE, "rejected": None})
    assert folder.finished() == {3}


def test_a_job_is_not_mixed_with_another(tmp_path: Path) -> None:
    JobFolder(tmp_path / "job").begin({"settings": "a", "products": "b"})
    folder = JobFolder(tmp_path / "job")
    folder.begin({"settings": "a", "products": "b"})
    with pytest.raises(JobError, match="interrupted run with other settings; go on with the same command"):
        folder.begin({"settings": "changed", "products": "b"})
    folder.remove()
    assert not folder.path.exists()
