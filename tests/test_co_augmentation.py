"""The measurement of augmentations, on a shop of eighty products: each mode once, and a mistaken mode named."""

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
from moon2.catalog.generated_shop.generate import generate_shop
from moon2.catalog.store import write_catalog

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


def test_each_mode_is_trained_and_compared_with_the_first(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = generate_shop(80, 30, 0)
    products = {"train": [with_additions(p) if p.images else p for p in shop.products["train"]]}
    data = write_catalog(
        tmp_path / "data", products | {"test": shop.products["test"]}, shop.interactions, title="Shop"
    ).folder
    (tmp_path / "small.yaml").write_text(SMALL)
    options = [str(data), "--steps", "2", "--config", str(tmp_path / "small.yaml"), "--out", str(tmp_path / "out")]
    script.main([*options, "--seeds", "0", "--modes", "none", "concatenate:0.5", "--at_once", "2"])
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["runs"]
    assert {row["variant"] for row in rows} == {"none", "concatenate:0.5"}
    assert rows[0]["recall"] != rows[1]["recall"]
    told = capsys.readouterr().out
    assert "| none less … |" in told
    assert "| concatenate:0.5 | 1 |" in told


@pytest.mark.parametrize("mode", ["always", "draw", "draw:2", "concatenate:x", "none:0.5"])
def test_a_mistaken_mode_is_named(script: ModuleType, mode: str) -> None:
    with pytest.raises(SystemExit, match=f"'{mode}' is no mode"):
        script.main(["data", "--modes", mode])
