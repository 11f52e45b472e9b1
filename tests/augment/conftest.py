"""A small generated shop, and one Ray for all tests that stream through it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from moon2.catalog.generated_shop.generate import write_shop
from moon2.catalog.store import Catalog
from moon2.jobs.ray_pools import connected


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Products enough for two parts."""
    return write_shop(out=tmp_path_factory.mktemp("shops") / "shop", products=420, queries=60)


@pytest.fixture(scope="session")
def ray() -> Iterator[None]:
    """Started once; a pipeline that finds a Ray running works on that."""
    with connected(None, 2):
        yield
