"""The measuring scripts, on something small enough to check by hand: they are what the README's figures come from."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from random import Random
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from moon2 import Product
from moon2.catalog.generated_shop.generate import write_shop
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
    script("prefix_sharing").compare(recipe, write_shop(out=tmp_path / "shop", products=60, queries=20), pairs=1)
    printed = capsys.readouterr().out
    assert "separate / shared: median" in printed
    assert float(printed.rpartition("vectors: ")[2]) <= 1e-5


def test_the_memory_of_an_evaluation_is_told_with_what_was_evaluated(capsys: pytest.CaptureFixture[str]) -> None:
    script("evaluation_memory").main(["--rows", "200", "--queries", "20", "--dimension", "16"])
    told = json.loads(capsys.readouterr().out)
    assert (told["rows"], told["queries"], told["dimension"]) == (200, 20, 16)
    assert told["peak_growth_gb"] >= 0 and told["seconds"] >= 0


def test_the_mask_of_a_photo_on_paper_is_the_product_and_stays_it_in_a_room() -> None:
    """A dark square with a white window: paper is what is white and connected to the edge, so the window is product."""
    focus = script("heatmap_focus")
    photo = Image.new("RGB", (60, 80), "white")
    photo.paste((20, 20, 20), (10, 20, 50, 60))
    photo.paste("white", (25, 35, 35, 45))
    mask = focus.product_mask(photo)
    assert mask.sum() == 40 * 40
    assert mask[20:60, 10:50].all()
    image, pasted = focus.paste(photo, mask, Random(0))
    assert image.size == photo.size
    assert 0.5 * 0.55**2 < pasted.sum() / mask.sum() < 1.3 * 0.8**2
    assert np.asarray(image)[pasted].mean() < np.asarray(image)[~pasted].mean()


def test_lift_is_share_over_even_share() -> None:
    found = script("heatmap_focus").lift(np.array([0.6, 0.2]), np.array([0.3, 0.1]))
    assert found["lift"] == pytest.approx(2)
    assert found["interval"] == pytest.approx([2, 2])


def test_title_words_get_their_roles_and_true_words_are_no_filler() -> None:
    focus = script("heatmap_focus")
    known = {"brand": "Nike", "base_colour": "Red", "gender": "Women"}
    product = Product("1", "Nike Women Red Shoes", category=("Footwear", "Shoes"), attributes=known)
    changed, roles = focus.with_filler(product, "appended")
    assert changed.title == "Nike Women Red Shoes high quality best new arrival"
    assert roles == ["brand", "other", "colour", "type", *["filler"] * 5]
    assert focus.by_role(np.array([1.0, 0, 1, 2, 0, 0, 0, 0, 0]), roles) == [0.25, 0.5, 0.25, 0, 0]
