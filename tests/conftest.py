"""Fixtures that more than one room's tests use."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def fashion_folder() -> Path:
    """The real fashion catalogue beside the repository; tests that need it are skipped where it is absent."""
    folder = (Path(__file__).resolve().parents[1] / "../shared/data/fashion").resolve()
    if not (folder / "products.parquet").exists():
        pytest.skip(f"the fashion data is not at {folder}")
    return folder
