"""Fixtures that tests of several folders use. They are shared, so no test changes what they give."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw
from support.drawn_shop import TITLES, write_drawn_shop
from support.dual_checkpoints import KINDS, write_dual_checkpoint
from support.small_recipe import small_recipe as make_small_recipe
from support.tiny_checkpoints import CHECKPOINTS, write_checkpoint

from moon2 import Encoder
from moon2.catalog.generated_shop.generate import write_shop
from moon2.catalog.store import Catalog
from moon2.recipe import Recipe


def pytest_configure() -> None:
    """One thread, here and in processes that tests start: models this small gain nothing from a second one."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def fashion_folder() -> Path:
    """The real fashion catalog beside the repository; tests that need it are skipped where it is absent."""
    folder = (Path(__file__).resolve().parents[1] / "../shared/data/fashion").resolve()
    if not (folder / "products.parquet").exists():
        pytest.skip(f"the fashion data is not at {folder}")
    return folder


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Backbone family to the folder of a tiny checkpoint."""
    return {kind: write_checkpoint(kind, tmp_path_factory.mktemp(kind)) for kind in CHECKPOINTS}


@pytest.fixture(scope="session")
def dual_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Kind of dual encoder, "clip" or "siglip", to the folder of a tiny checkpoint."""
    return {kind: write_dual_checkpoint(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


@pytest.fixture(scope="session")
def image() -> Callable[..., Image.Image]:
    """An image of some colour and size with a line through it, so that no two parts of it are the same."""

    def draw(colour: str = "navy", size: tuple[int, int] = (32, 32)) -> Image.Image:
        image = Image.new("RGB", size, colour)
        ImageDraw.Draw(image).line((0, 0, *size), fill="yellow", width=3)
        return image

    return draw


@pytest.fixture(scope="session")
def small_recipe() -> Callable[..., Recipe]:
    """The smallest recipe that trains, with overrides such as "training.steps=3"."""
    return make_small_recipe


@pytest.fixture(scope="session")
def small_encoder() -> Encoder:
    """An untrained encoder of the smallest recipe, with experts that differ."""
    return Encoder.from_recipe(make_small_recipe("experts.noise=0.5"), TITLES)


@pytest.fixture(scope="session")
def small_encoder_folder(small_encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where it is saved."""
    folder = tmp_path_factory.mktemp("encoder")
    small_encoder.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Twelve drawn products, all in the training split, with a search log."""
    return write_drawn_shop(tmp_path_factory.mktemp("drawn") / "shop")


@pytest.fixture(scope="session")
def generated_shop(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """A generated shop of both splits, with test queries and noise.parquet."""
    return write_shop(out=tmp_path_factory.mktemp("generated") / "shop", products=80, queries=40)


@pytest.fixture(scope="session")
def data_folder(generated_shop: Catalog) -> Path:
    """The folder of the generated shop."""
    return generated_shop.folder
