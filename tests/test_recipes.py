"""Every recipe trains, and takes what it says on the GPU that it names."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.tiny_checkpoints import CHECKPOINTS, write_checkpoint

from moon2 import Encoder
from moon2.catalog.store import Catalog
from moon2.evaluate.score import score
from moon2.explain.heatmap import heatmap
from moon2.recipe import load_recipe
from moon2.train.dry_step import plan_run
from moon2.train.train import run_training

FOLDER = Path(__file__).resolve().parents[1]
RECIPES = sorted((FOLDER / "recipes").glob("*.yaml"))
PERFORMANCE = (FOLDER / "docs" / "performance.md").read_text(encoding="utf-8")
QUICK = ("small", "smolvlm-256m", "tiny")
"""Recipes whose plan is made in seconds; a large network has many layers."""


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_trains_an_encoder_that_can_be_scored_and_drawn(
    path: Path, generated_shop: Catalog, tmp_path: Path
) -> None:
    written = load_recipe(path)
    overrides = ["training.steps=1", "training.batch_size=2", "training.evaluate_every=0", "input.max_pixels=1024"]
    if written.backbone.name == "tiny":
        overrides += ["backbone.tiny.vocabulary=300", "backbone.tiny.layers=1", "backbone.tiny.vision_layers=1"]
    else:
        # No test reaches the hub: a tiny checkpoint of the same family stands in for the named one.
        plain = written.backbone.name.lower().replace(".", "_").replace("-", "_")
        kind = next(kind for kind in CHECKPOINTS if plain.rpartition("/")[2].startswith(kind.removesuffix("_vl")))
        overrides.append(f"backbone.name={write_checkpoint(kind, tmp_path / kind)}")
    if written.experts.layers is not None:
        overrides.append("experts.layers=[0]")
    if written.training.shard_weights:
        overrides.append("training.shard_weights=false")  # tests/train/test_train_together.py has two processes
    run = run_training(load_recipe(path, overrides), generated_shop, tmp_path / "run").folder
    encoder = Encoder.from_pretrained(run, device="cpu")
    assert np.isfinite(encoder.encode(["navy shirt", "red shoes"])).all()
    evaluation, _ = score(encoder, generated_shop, limit=8)
    assert sum(evaluation.expert_use["mm"]) == pytest.approx(1, abs=1e-3)
    Image.new("RGB", (32, 32), "navy").save(tmp_path / "shirt.png")
    drawing = heatmap(run, out=tmp_path / "heat.png", image=(tmp_path / "shirt.png",), text="navy shirt")
    assert drawing.read_bytes().startswith(b"\x89PNG")


def row(name: str) -> str:
    """Of a recipe, in the table of docs/performance.md."""
    return next(line for line in PERFORMANCE.splitlines() if line.startswith(f"| `{name}` |"))


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=() if path.stem in QUICK else pytest.mark.long) for path in RECIPES],
    ids=lambda path: path.stem,
)
def test_a_recipe_takes_what_it_says(path: Path) -> None:
    """The figure in the recipe's own words, and in the table of docs/performance.md, is what `--plan` gives."""
    claim = re.search(r"^# Plan: ([\d.]+) GiB on (\d+) × (\d+) GB\.$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert claim is not None, "say what it takes, as the other recipes do"
    peak, devices, size = float(claim[1]), int(claim[2]), int(claim[3])
    found = plan_run(load_recipe(path), devices)
    assert found.peak / 2**30 == pytest.approx(peak, abs=0.1)
    assert peak < 0.9 * size
    assert re.search(
        rf"^\| `{re.escape(path.name)}` .*\| {devices} × {size} GB \| {claim[1]} \|", PERFORMANCE, re.MULTILINE
    )
