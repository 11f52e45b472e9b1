"""The measuring scripts, on something small enough to check by hand: they are what the README's figures come from."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from moon2.catalog.synthetic import write_shop
from moon2.recipe import load_recipe

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_prefix_sharing_measures_the_same_vectors_both_ways(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    recipe = load_recipe(
        None,
        ["backbone.tiny.width=32", "backbone.tiny.vision_width=32", "backbone.tiny.layers=2", "training.batch_size=4"],
    )
    script("prefix_sharing").compare(recipe, write_shop(tmp_path / "shop", products=60, queries=20), pairs=1)
    printed = capsys.readouterr().out
    assert "separate / shared: median" in printed
    assert float(printed.rpartition("vectors: ")[2]) <= 1e-5
