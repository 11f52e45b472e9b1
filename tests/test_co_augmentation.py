"""The measurement of augmentations, on a shop of eighty products: each mode once, and a mistaken mode named."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageOps
from support.benchmark_scripts import load_script
from support.small_recipe import write_small_recipe

from moon2 import Product
from moon2.catalog.store import Catalog, write_catalog


def augmented(product: Product) -> Product:
    """Its title with the category after it, and its photo mirrored."""
    if not product.images:
        return product
    file = io.BytesIO()
    ImageOps.mirror(Image.open(io.BytesIO(product.images[0])).convert("RGB")).save(file, "PNG")
    title = f"{product.title}, {' '.join(product.category)}"
    return replace(product, enriched_title=title, expanded_images=(file.getvalue(),))


def test_each_mode_is_trained_and_compared_with_the_first(
    generated_shop: Catalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    products = {split: list(generated_shop.products(split)) for split in ("train", "test")}
    products["train"] = [augmented(product) for product in products["train"]]
    log = {split: generated_shop.interactions(split) for split in ("train", "test")}
    data = write_catalog(tmp_path / "data", products, log, title="Shop").folder
    recipe = write_small_recipe(tmp_path / "small.yaml")
    args = [str(data), "--config", str(recipe), "--steps", "2", "--out", str(tmp_path / "out"), "--seeds", "0"]
    load_script("co_augmentation").main([*args, "--modes", "none", "concatenate:0.5", "--at_once", "2"])
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["runs"]
    assert {row["variant"] for row in rows} == {"none", "concatenate:0.5"}
    assert rows[0]["recall"] != rows[1]["recall"]
    printed = capsys.readouterr().out
    assert "| none less … |" in printed
    assert "| concatenate:0.5 | 1 |" in printed


@pytest.mark.parametrize("mode", ["always", "draw", "draw:2", "concatenate:x", "none:0.5"])
def test_a_mistaken_mode_is_named(mode: str) -> None:
    with pytest.raises(SystemExit, match=rf"no mode '{mode}'|augmentations\.keep_original"):
        load_script("co_augmentation").main(["data", "--modes", mode])
