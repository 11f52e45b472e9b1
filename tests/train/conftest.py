"""Untrained encoders of the smallest recipe, and a mesh of one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch.distributed as dist
from support.drawn_shop import TITLES
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from moon2 import Encoder
from moon2.recipe import Recipe


@pytest.fixture(scope="session")
def new_encoder(small_recipe: Callable[..., Recipe]) -> Callable[..., Encoder]:
    """An untrained encoder of the smallest recipe with overrides; the same recipe gives the same weights."""
    return lambda *overrides: Encoder.from_recipe(small_recipe(*overrides), TITLES)


@pytest.fixture
def mesh() -> Iterator[DeviceMesh]:
    """One process as a mesh, for parameters that are sharded over it."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()
