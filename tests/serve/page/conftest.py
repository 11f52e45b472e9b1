"""One server of two indexes and one browser, for all tests of the page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from support.running_server import running_server
from support.served_page import browsers, hostile_products, opened

from moon2.catalog.store import Catalog, write_catalog
from moon2.search.commands import build_index
from moon2.vectors.embed_catalog import embed


@pytest.fixture(scope="module")
def page_shop(generated_shop: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """A generated shop, and products that are hostile or augmented; one has an attribute that is no name in SQL."""
    hostile, augmented = hostile_products()
    products = [*generated_shop.products(), hostile, replace(augmented, attributes={"3d": "yes"})]
    return write_catalog(tmp_path_factory.mktemp("page") / "shop", {"train": products}, {"train": []}, title="Shop")


@pytest.fixture(scope="module")
def page_indexes(page_shop: Catalog, small_encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two indexes of it: keyword search in the second reads titles only."""
    folder = tmp_path_factory.mktemp("indexes")
    embed(str(small_encoder_folder), data=page_shop.folder, out=folder / "vectors")
    names = {"shop": "all", "titles": "title"}
    return [build_index(folder / "vectors", out=str(folder / name), text=text).place for name, text in names.items()]


@pytest.fixture(scope="module")
def address(page_indexes: list[str]) -> Iterator[str]:
    """Of a server of both."""
    with running_server(page_indexes[0], beside=page_indexes[1]) as server:
        yield server.address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of all tests."""
    yield from browsers()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page, open; a test fails if a script does, or if something is loaded against the policy."""
    yield from opened(browser, address)
