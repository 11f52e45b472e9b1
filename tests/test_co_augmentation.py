"""The measurement of additions, on a shop of eighty products: every mode and seed once, none repeated on a resume."""

from __future__ import annotations

import importlib.util
import io
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image, ImageOps

from moon2 import Product
from moon2.catalog.store import write_catalogue
from moon2.catalog.synthetic import generate_shop

SMALL = """
backbone:
  tiny: {vocabulary: 300, width: 32, layers: 1, heads: 2, feed_forward: 32, vision_width: 32, vision_layers: 1}
input: {max_text_tokens: 16, max_pixels: 1600, max_images: 1}
training: {batch_size: 4, learning_rate: 1.0e-3, warmup_steps: 1, log_every: 1}
"""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "co_augmentation.py"
    spec = importlib.util.spec_from_file_location("co_augmentation", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def with_additions(product: Product) -> Product:
    """Its title with the category added, and its photo mirrored."""
    file = io.BytesIO()
    ImageOps.mirror(Image.open(io.BytesIO(product.images[0])).convert("RGB")).save(file, "PNG")
    title = f"{product.title}, {' '.join(product.category)}"
    return replace(product, enriched_title=title, expanded_images=(file.getvalue(),))


def test_every_mode_and_seed_is_measured_once(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = generate_shop(80, 30, 0)
    products = {"train": [with_additions(p) if p.images else p for p in shop.products["train"]]}
    data = write_catalogue(
        tmp_path / "data", products | {"test": shop.products["test"]}, shop.interactions, title="Shop"
    ).folder
    (tmp_path / "small.yaml").write_text(SMALL)
    out = tmp_path / "out.json"
    options = [str(data), "--steps", "2", "--config", str(tmp_path / "small.yaml"), "--out", str(out)]
    script.main([*options, "--seeds", "0", "--modes", "none", "concatenate:0.5", "--at_once", "2"])
    first = json.loads(out.read_text())["runs"]
    assert {(row["mode"], row["seed"]) for row in first} == {("none", 0), ("concatenate:0.5", 0)}
    assert first[0]["recall"] != first[1]["recall"]
    assert "| concatenate:0.5 − none | 1 |" in capsys.readouterr().out

    script.main([*options, "--seeds", "0", "--modes", "none", "draw:0.5"])
    second = json.loads(out.read_text())["runs"]
    assert second[:2] == first
    assert [row["mode"] for row in second[2:]] == ["draw:0.5"]
    assert capsys.readouterr().out.count("mean R@10") == 1
    with pytest.raises(SystemExit, match="holds runs with steps 2, not 3"):
        script.main([*options, "--steps", "3"])


def test_the_table_has_means_deviations_and_differences_seed_by_seed(script: ModuleType) -> None:
    def row(mode: str, seed: int, recall: float) -> dict:
        by_direction = {direction: {"10": recall} for direction in script.DIRECTIONS}
        return {
            "mode": mode,
            "seed": seed,
            "recall": by_direction,
            "class_accuracy": {"mm": 50.0},
            "triplets_per_second": 10.0,
        }

    rows = [row("none", 0, 40.0), row("none", 1, 44.0), row("draw:0.5", 0, 43.0), row("draw:0.5", 1, 45.0)]
    lines = script.table(rows).splitlines()
    assert lines[2].startswith("| none | 2 | 42.0 ± 2.8 |")
    assert lines[3].startswith("| draw:0.5 | 2 | 44.0 ± 1.4 |")
    assert lines[4].startswith("| draw:0.5 − none | 2 | +2.0 ± 1.4 |")
    assert lines[4].endswith("| +0.0 ± 0.0 | |")


@pytest.mark.parametrize("mode", ["always", "draw", "draw:2", "concatenate:x", "none:0.5"])
def test_a_mistaken_mode_is_named(script: ModuleType, mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        script.parse(["data", "--modes", mode])
    assert repr(mode) in capsys.readouterr().err
