"""Fixtures that more than one room's tests use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_configure() -> None:
    """One thread, here and in processes that tests start: on a busy machine, threads that wait for each other cost
    minutes, and models this small gain nothing from a second."""
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def fashion_folder() -> Path:
    """The real fashion catalog beside the repository; tests that need it are skipped where it is absent."""
    folder = (Path(__file__).resolve().parents[1] / "../shared/data/fashion").resolve()
    if not (folder / "products.parquet").exists():
        pytest.skip(f"the fashion data is not at {folder}")
    return folder
