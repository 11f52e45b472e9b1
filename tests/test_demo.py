"""The demo, made small: its folder, what it leaves there, and how it goes on after a kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from moon2 import demo
from moon2.demo import demo_recipe, run_demo
from moon2.recipe import BackboneSettings, InputSettings, Recipe, TinySettings, TrainingSettings, load_recipe
from moon2.runs import RunError


def small_recipe() -> Recipe:
    sizes = TinySettings(vocabulary=400, width=32, layers=1, heads=2, feed_forward=32, vision_width=32, vision_layers=1)
    return Recipe(
        backbone=BackboneSettings(tiny=sizes),
        input=InputSettings(max_text_tokens=16, max_pixels=3600, max_images=1),
        training=TrainingSettings(steps=2, batch_size=4, learning_rate=1e-3, warmup_steps=1, log_every=1, save_every=1),
    )


def test_the_demos_recipe_is_one(tmp_path: Path):
    (tmp_path / "recipe.yaml").write_text(demo_recipe().to_yaml())
    assert load_recipe(tmp_path / "recipe.yaml") == demo_recipe()


def test_demo_goes_on_after_a_kill_and_starts_over_when_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "demo"

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(demo, "train_run", killed)
        run_demo(folder, small_recipe(), products=60)
    baseline = (folder / "baseline.json").read_bytes()
    assert not (folder / "model").exists()

    report = run_demo(folder, small_recipe(), products=60)
    printed = capsys.readouterr().out
    assert "continued" in printed and "t→mm" in printed and str(report) in printed
    assert (folder / "baseline.json").read_bytes() == baseline  # not scored again
    assert {"shop", "model", "recipe.yaml", "evaluation.json"} <= {path.name for path in folder.iterdir()}
    assert report.read_text().startswith("<!doctype html>")

    (folder / "notes.txt").write_text("mine")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(demo, "train_run", killed)
        run_demo(folder, small_recipe(), products=60)
    assert not (folder / "model").exists()
    assert (folder / "notes.txt").read_text() == "mine"


def test_demo_leaves_other_folders_alone(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="something else than a demo"):
        run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
