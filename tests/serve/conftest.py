"""An index of the generated shop, and a server of it."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from support.running_server import RunningServer, running_server

from moon2.catalog.store import Catalog
from moon2.search.commands import build_index
from moon2.vectors.embed_catalog import embed


@pytest.fixture(scope="session")
def shop_vectors(small_encoder_folder: Path, generated_shop: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the products alone."""
    out = tmp_path_factory.mktemp("served") / "vectors"
    embed(str(small_encoder_folder), data=generated_shop.folder, out=out, what="products")
    return out


@pytest.fixture(scope="session")
def shop_index(shop_vectors: Path) -> Path:
    """An index that no test changes."""
    return Path(build_index(shop_vectors, out=str(shop_vectors.with_name("shop"))).place)


@pytest.fixture
def own_index(shop_vectors: Path, tmp_path: Path) -> Path:
    """One that a test may change."""
    return Path(build_index(shop_vectors, out=str(tmp_path / "own")).place)


@pytest.fixture(scope="module")
def server(shop_index: Path) -> Iterator[RunningServer]:
    """Serves the index."""
    with running_server(shop_index) as running:
        yield running


@pytest.fixture(scope="session")
def photo(image: Callable[..., Image.Image]) -> Callable[..., bytes]:
    """The file of an image, as `image` draws it."""

    def encode(colour: str = "navy", size: tuple[int, int] = (32, 32), kind: str = "PNG") -> bytes:
        written = io.BytesIO()
        image(colour, size).save(written, kind)
        return written.getvalue()

    return encode


@pytest.fixture(scope="session")
def uri() -> Callable[[bytes], str]:
    """A file as a data URI."""
    return lambda data: f"data:image/png;base64,{base64.b64encode(data).decode()}"
