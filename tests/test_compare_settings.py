"""Settings beside the recipe, on a shop of eighty products: each once, and mistaken ones named."""

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


def test_settings_are_trained_and_compared_with_the_recipe(
    generated_shop: Catalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    products = {split: list(generated_shop.products(split)) for split in ("train", "test")}
    products["train"] = [augmented(product) for product in products["train"]]
    log = {split: generated_shop.interactions(split) for split in ("train", "test")}
    data = write_catalog(tmp_path / "data", products, log, title="Shop").folder
    recipe = write_small_recipe(tmp_path / "small.yaml")
    args = [str(data), "--config", str(recipe), "--steps", "2", "--warmup_steps", "1", "--out", str(tmp_path / "out")]
    drawn = "drawn: augmentations.use=draw augmentations.keep_original=0"
    load_script("compare_settings").main([*args, "--beside", "without filtering", "--try", drawn, "--at_once", "2"])
    rows = {row["variant"]: row for row in json.loads((tmp_path / "out" / "results.json").read_text())["runs"]}
    assert set(rows) == {"MOON2.0", "without filtering", "drawn"}
    assert rows["MOON2.0"]["recall"] != rows["drawn"]["recall"]
    printed = capsys.readouterr().out
    assert "| MOON2.0 less … |" in printed
    assert "| drawn | 1 |" in printed


@pytest.mark.parametrize(
    ("option", "mistake", "named"),
    [
        ("--beside", "without everything", "there is no 'without everything'"),
        ("--try", "experts.count=3", "put a name before the settings"),
        ("--try", "more: experts.number=3", "experts.number"),
        ("--try", "none kept: augmentations.keep_original=2", r"augmentations\.keep_original"),
    ],
)
def test_what_is_mistaken_is_named(option: str, mistake: str, named: str) -> None:
    with pytest.raises(SystemExit, match=named):
        load_script("compare_settings").main(["data", option, mistake])
