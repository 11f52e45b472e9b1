"""The method learns: half a minute on the generated shop, and every direction is far above where it began."""

from __future__ import annotations

from pathlib import Path

from moon2 import Encoder
from moon2.catalog.generated_shop.generate import write_shop
from moon2.evaluate.score import score
from moon2.recipe import load_recipe
from moon2.train.prepare import untrained_encoder
from moon2.train.train import run_training

SETTINGS = [
    "backbone.tiny.vocabulary=1000",
    "backbone.tiny.width=64",
    "backbone.tiny.layers=2",
    "backbone.tiny.feed_forward=96",
    "backbone.tiny.vision_width=64",
    "backbone.tiny.vision_layers=2",
    "experts.noise=0.5",
    "input.max_text_tokens=32",
    "input.max_pixels=6400",
    "input.max_images=1",
    "alignment.temperature_inter=0.07",
    "alignment.temperature_intra=0.07",
    "training.steps=40",
    "training.batch_size=32",
    "training.optimizer=muon",
    "training.learning_rate=1e-2",
    "training.warmup_steps=10",
]


def test_training_beats_the_untrained_encoder_in_every_direction(tmp_path: Path) -> None:
    recipe = load_recipe(None, SETTINGS)
    shop = write_shop(out=tmp_path / "shop", products=300, queries=400)
    before, _ = score(untrained_encoder(recipe, shop), shop)
    run = run_training(recipe, shop, tmp_path / "run")
    after, _ = score(Encoder.from_pretrained(run.folder), shop)
    gains = {direction: after.recalls[direction][5] - recalls[5] for direction, recalls in before.recalls.items()}
    assert len(gains) == 5
    assert min(gains.values()) > 12, gains
    assert sum(gains.values()) / len(gains) > 20, gains
