"""A run: killed and resumed it ends as if never killed, it never overwrites another, and every recipe runs."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tiny_checkpoints import CHECKPOINTS, write_checkpoint
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from moon2 import Encoder
from moon2.catalog.store import Catalog
from moon2.catalog.triplets import training_triplets
from moon2.files import FolderInUseError, exclusive_lock
from moon2.recipe import Recipe, RecipeError, load_recipe
from moon2.train.history import read_history
from moon2.train.train import newest_checkpoint, train

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
TIMES = ("triplets_per_second", "train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss")
WORDS = ["navy shirt", "red shoes", "black"]


@pytest.fixture(scope="session")
def recipe(small_recipe: Callable[..., Recipe]) -> Recipe:
    """Six steps, saved every two."""
    return small_recipe("training.steps=6", "training.save_every=2", "image_transforms.flip=true", "experts.noise=0.1")


@pytest.fixture(scope="session")
def finished(recipe: Recipe, shop: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run; not to be changed."""
    return train(recipe, shop, tmp_path_factory.mktemp("run") / "finished").folder


def losses(folder: Path) -> list[dict[str, Any]]:
    """What was logged of each step, without clocks."""
    lines = [line for line in read_history(folder / "history.jsonl") if "loss" in line]
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines]


def vectors(folder: Path) -> np.ndarray:
    return Encoder.from_pretrained(folder, device="cpu").encode(WORDS)


def assert_same_run(folder: Path, other: Path) -> None:
    assert losses(folder) == losses(other)
    assert np.array_equal(vectors(folder), vectors(other))


def test_a_run_leaves_what_it_promises(finished: Path, recipe: Recipe) -> None:
    assert load_recipe(finished / "recipe.yaml") == recipe
    assert [line["step"] for line in losses(finished)] == [1, 2, 3, 4, 5, 6]
    wanted = {"loss/t→mm", "weight/i→t", "expert_load/0", "filter/phi", "filter/share", "learning_rate"}
    assert wanted <= losses(finished)[0].keys()
    assert all(line["triplets_per_second"] > 0 for line in read_history(finished / "history.jsonl") if "loss" in line)
    assert sorted(path.name for path in (finished / "checkpoints").iterdir()) == ["checkpoint-4", "checkpoint-6"]
    assert list((finished / "tensorboard").rglob("events*"))
    assert "Trained for 6 steps of 4 triplets" in (finished / "model" / "README.md").read_text()


def test_resumed_from_a_checkpoint_cut_short_it_is_the_same_run(
    finished: Path, recipe: Recipe, shop: Catalog, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    shutil.rmtree(run / "model")
    state = run / "checkpoints" / "checkpoint-6" / "trainer_state.json"
    state.write_text(state.read_text()[:40])
    assert newest_checkpoint(run / "checkpoints") == run / "checkpoints" / "checkpoint-4"
    with (run / "history.jsonl").open("a") as file:
        file.write('{"step": 7, "loss')
    train(recipe, shop, run, resume=True)
    assert_same_run(run, finished)
    curves = EventAccumulator(str(run / "tensorboard")).Reload()
    assert [event.step for event in curves.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6], "no step is drawn twice"


KILLED = """
import os, signal, sys
from moon2.catalog.store import Catalog
from moon2.catalog.triplets import training_triplets
from moon2.recipe import load_recipe
from moon2.train.train import train

class Deadly(Catalog):
    read = 0
    def product(self, id):
        Deadly.read += 1
        if Deadly.read == 37:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().product(id)

train(load_recipe(sys.argv[1]), Deadly(sys.argv[2]), sys.argv[3])
"""


def test_killed_in_the_middle_and_resumed_it_is_the_same_run(
    finished: Path, recipe: Recipe, shop: Catalog, tmp_path: Path
) -> None:
    """The process is killed while it reads the fifth batch of four."""
    run = tmp_path / "run"
    command = [sys.executable, "-c", KILLED, str(finished / "recipe.yaml"), str(shop.folder), str(run)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (run / "model").exists()
    done = [line["step"] for line in losses(run)]
    assert done and done[-1] < 6
    train(recipe, shop, run, resume=True)
    assert_same_run(run, finished)


def test_a_finished_run_can_be_resumed(finished: Path, recipe: Recipe, shop: Catalog, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    assert train(recipe, shop, run, resume=True).steps == 6
    assert_same_run(run, finished)


def test_another_run_is_never_overwritten(
    finished: Path, recipe: Recipe, small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="already holds a run; add --resume"):
        train(recipe, shop, finished)
    with pytest.raises(RecipeError, match="was begun with another recipe"):
        train(small_recipe("training.steps=7"), shop, finished, resume=True)
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(RecipeError, match="is not empty and holds no run"):
        train(recipe, shop, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_run_stopped_between_lines_of_its_log_leaves_the_same_log(
    small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path
) -> None:
    """With the optimiser that keeps momentum, evaluations, and log lines that do not fall on checkpoints."""
    recipe = small_recipe(
        "training.steps=6",
        "training.optimizer=muon",
        "training.save_every=2",
        "training.log_every=5",
        "training.evaluate_every=3",
    )

    def score(encoder: Encoder) -> dict[str, float]:
        return {"score": float(encoder.encode(WORDS).sum())}

    calls: list[float] = []

    def stopping(encoder: Encoder) -> dict[str, float]:
        calls.append(score(encoder)["score"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return {"score": calls[-1]}

    whole = train(recipe, shop, tmp_path / "whole", score=score).folder
    with pytest.raises(KeyboardInterrupt):
        train(recipe, shop, tmp_path / "stopped", score=stopping)
    train(recipe, shop, tmp_path / "stopped", score=score, resume=True)
    assert_same_run(tmp_path / "stopped", whole)
    scores = [
        [(line["step"], line["eval/score"]) for line in read_history(folder / "history.jsonl") if "eval/score" in line]
        for folder in (whole, tmp_path / "stopped")
    ]
    assert scores[0] == scores[1]
    assert len(scores[0]) == 2


def test_a_run_does_not_go_on_with_other_data(finished: Path, recipe: Recipe, shop: Catalog, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    fewer = training_triplets(shop)[:-1]
    with pytest.raises(RecipeError, match="was begun on other data"):
        train(recipe, shop, tmp_path / "run", resume=True, triplets=fewer)


def test_in_mixed_precision_the_encoder_returned_is_the_one_saved(
    small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path
) -> None:
    result = train(small_recipe("training.steps=2", "training.bf16=true"), shop, tmp_path / "run")
    assert np.array_equal(result.encoder.encode(WORDS), vectors(tmp_path / "run"))


def test_the_best_weights_are_kept(small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path) -> None:
    recipe = small_recipe("training.steps=3", "training.evaluate_every=1", "training.save_every=3")
    seen: list[np.ndarray] = []

    def score(encoder: Encoder) -> dict[str, float]:
        seen.append(encoder.encode(WORDS))
        return {"score": [0.1, 0.9, 0.5][len(seen) - 1], "R@1": 0.2}

    result = train(recipe, shop, tmp_path / "run", score=score)
    assert len(seen) == 3
    assert np.array_equal(result.encoder.encode(WORDS), seen[1])
    assert np.array_equal(vectors(tmp_path / "run"), seen[1])
    evaluations = [line for line in read_history(tmp_path / "run" / "history.jsonl") if "eval/score" in line]
    assert [(line["step"], line["eval/score"], line["eval/R@1"]) for line in evaluations] == [
        (1, 0.1, 0.2),
        (2, 0.9, 0.2),
        (3, 0.5, 0.2),
    ]


def test_the_history_survives_a_line_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(json.dumps({"step": 1, "loss": 2.0}) + '\n{"step": 2, "lo')
    assert read_history(path) == [{"step": 1, "loss": 2.0}]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_runs(path: Path, shop: Catalog, tmp_path: Path) -> None:
    written = load_recipe(path)
    overrides = ["training.steps=1", "training.batch_size=2", "input.max_pixels=1024"]
    if written.backbone.name == "tiny":
        overrides += ["backbone.tiny.vocabulary=300", "backbone.tiny.layers=1", "backbone.tiny.vision_layers=1"]
    else:
        # No test reaches the hub: a tiny checkpoint of the same family stands in for the named one.
        plain = written.backbone.name.lower().replace(".", "_").replace("-", "_")
        kind = next(kind for kind in CHECKPOINTS if plain.rpartition("/")[2].startswith(kind.removesuffix("_vl")))
        overrides.append(f"backbone.name={write_checkpoint(kind, tmp_path / kind)}")
    if written.experts.layers is not None:
        overrides.append("experts.layers=[0]")
    result = train(load_recipe(path, overrides), shop, tmp_path / "run")
    assert np.isfinite(result.encoder.encode(WORDS)).all()


def test_what_no_batch_had_is_not_logged_as_a_perfect_loss(
    small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path
) -> None:
    one = small_recipe('alignment.objectives={"t→mm": 1}', "training.steps=2")
    lines = losses(train(one, shop, tmp_path / "run").folder)
    assert [name for name in lines[0] if name.startswith("loss/")] == ["loss/t→mm"]
    assert lines[0]["weight/i→t"] == 0


def test_two_trainers_do_not_share_a_folder(recipe: Recipe, shop: Catalog, tmp_path: Path) -> None:
    with (
        exclusive_lock(tmp_path / "run", "`moon2 train`"),
        pytest.raises(FolderInUseError, match="another `moon2 train` is writing"),
    ):
        train(recipe, shop, tmp_path / "run")
