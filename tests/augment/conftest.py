"""A small generated shop, and one Ray for all tests that stream through it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from moon2.catalog.generated_shop.generate import write_shop
from moon2.catalog.store import Catalog
from moon2.jobs.ray_pools import connect


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Enough products for two shards."""
    return write_shop(out=tmp_path_factory.mktemp("shops") / "shop", products=420, queries=60)


@pytest.fixture(scope="session")
def ray() -> Iterator[None]:
    """Started once; a job joins a Ray that runs already."""
    with connect(None, 2):
        yield
