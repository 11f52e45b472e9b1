"""Untrained encoders of the smallest recipe."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.drawn_shop import TITLES

from moon2 import Encoder
from moon2.recipe import Recipe


@pytest.fixture(scope="session")
def new_encoder(small_recipe: Callable[..., Recipe]) -> Callable[..., Encoder]:
    """An untrained encoder of the smallest recipe with overrides; the same recipe gives the same weights."""
    return lambda *overrides: Encoder.from_recipe(small_recipe(*overrides), TITLES)
