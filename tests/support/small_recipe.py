"""The smallest recipe that trains: tests with it ask whether the parts fit, not what is learned."""

from __future__ import annotations

from pathlib import Path

from moon2.recipe import Recipe, load_recipe

SMALL = (
    "backbone.tiny.vocabulary=300",
    "backbone.tiny.width=32",
    "backbone.tiny.layers=2",
    "backbone.tiny.heads=2",
    "backbone.tiny.feed_forward=48",
    "backbone.tiny.vision_width=32",
    "backbone.tiny.vision_layers=1",
    "backbone.tiny.patch=8",
    "input.max_pixels=1024",
    "training.batch_size=4",
    "training.warmup_steps=1",
    "training.learning_rate=1e-3",
    "training.log_every=1",
)


def small_recipe(*overrides: str) -> Recipe:
    """The recipe, with overrides such as "training.steps=3"."""
    return load_recipe(None, [*SMALL, *overrides])


def write_small_recipe(path: Path, *overrides: str) -> Path:
    """The same as a file, for `--config`."""
    path.write_text(small_recipe(*overrides).to_yaml(), encoding="utf-8")
    return path
