"""A run: killed and resumed it ends as if never killed, it never overwrites another."""

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
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from moon2 import Encoder, Interaction, Product, Query
from moon2.catalog.store import Catalog, write_catalog
from moon2.catalog.triplets import mined_triplets, training_triplets
from moon2.files import FolderInUseError, exclusive_lock
from moon2.model.reference import REFERENCE
from moon2.recipe import Recipe, RecipeError, load_recipe
from moon2.run_folder import RunFolder
from moon2.train import validation
from moon2.train.prepare import prepare_run, untrained_encoder
from moon2.train.processes import STATE_FILE
from moon2.train.train import run_training, train
from moon2.vectors.fusion import Fusion, read_fusions

WORDS = ["navy shirt", "red shoes", "black"]


@pytest.fixture(scope="session")
def recipe(small_recipe: Callable[..., Recipe]) -> Recipe:
    """Six steps, saved every two."""
    drawn = ("image_transforms.flip=true", "experts.noise=0.1", "training.mined_share=0.25")
    return small_recipe("training.steps=6", "training.save_every=2", *drawn)


@pytest.fixture(scope="session")
def finished(recipe: Recipe, shop: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run; not to be changed."""
    return run_training(recipe, shop, tmp_path_factory.mktemp("run") / "finished").folder


def losses(folder: Path) -> list[dict[str, Any]]:
    """What was logged of each step, without clocks."""
    lines = [line for line in RunFolder(folder).read_history() if "loss" in line]
    return [
        {name: value for name, value in line.items() if not name.endswith("_per_second") and name != "loader/waiting"}
        for line in lines
    ]


def evaluations(folder: Path) -> list[tuple[float, float]]:
    """Step and score of each evaluation during training."""
    lines = [line for line in RunFolder(folder).read_history() if "eval/score" in line]
    return [(line["step"], line["eval/score"]) for line in lines]


def vectors(folder: Path) -> np.ndarray:
    return Encoder.from_pretrained(folder, device="cpu").encode(WORDS)


def assert_same_run(folder: Path, other: Path) -> None:
    assert losses(folder) == losses(other)
    assert np.array_equal(vectors(folder), vectors(other))


def test_a_run_leaves_what_it_promises(finished: Path, recipe: Recipe) -> None:
    assert load_recipe(finished / "recipe.yaml") == recipe
    assert [line["step"] for line in losses(finished)] == [1, 2, 3, 4, 5, 6]
    wanted = {"loss/t→mm", "weight/i→t", "expert_load/0", "filter/phi", "filter/share", "learning_rate", "tokens"}
    assert wanted <= losses(finished)[0].keys()
    assert all(line["triplets_per_second"] > 0 for line in RunFolder(finished).read_history() if "loss" in line)
    assert sorted(path.name for path in (finished / "checkpoints").iterdir()) == ["step-00000004", "step-00000006"]
    assert list((finished / "tensorboard").rglob("events*"))
    assert "Trained for 6 steps of 4 triplets" in (finished / "model" / "README.md").read_text()
    assert (finished / "model" / REFERENCE).is_file()


def test_resumed_from_a_checkpoint_cut_short_it_is_the_same_run(
    finished: Path, recipe: Recipe, shop: Catalog, tmp_path: Path
) -> None:
    """As a kill leaves it: the newest checkpoint not yet under its own name, a line of the log half written."""
    run = RunFolder(tmp_path / "run")
    shutil.copytree(finished, run.path)
    shutil.rmtree(run.model)
    (run.checkpoints / "step-00000006").rename(run.checkpoints / "step-00000006.new")
    (run.checkpoints / "step-00000006.new" / STATE_FILE).unlink()
    assert run.newest_checkpoint() == (run.checkpoints / "step-00000004", 4)
    with run.history.open("a") as file:
        file.write('{"step": 7, "loss')
    run_training(recipe, shop, run.path, resume=True)
    assert_same_run(run.path, finished)
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step-00000004", "step-00000006"]
    curves = EventAccumulator(str(run.tensorboard)).Reload()
    assert [event.step for event in curves.Scalars("loss")] == [1, 2, 3, 4, 5, 6], "no step is drawn twice"


KILLED = """
import os, signal, sys
from pathlib import Path
from moon2.catalog.store import Catalog
from moon2.recipe import load_recipe
from moon2.train.train import run_training

class Deadly(Catalog):
    read = 0
    def product(self, id):
        Deadly.read += 1
        if Deadly.read == int(sys.argv[4]):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().product(id)

run_training(load_recipe(sys.argv[1]), Deadly(sys.argv[2]), Path(sys.argv[3]), resume=True)
"""


def run_and_kill(finished: Path, shop: Catalog, run: Path, reads: int) -> None:
    """Goes on with a run in another process, and kills that when it reads its product number `reads`."""
    command = [sys.executable, "-c", KILLED, finished / "recipe.yaml", shop.folder, run, str(reads)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (run / "model").exists()


def test_killed_in_the_middle_and_resumed_it_is_the_same_run(
    finished: Path, recipe: Recipe, shop: Catalog, tmp_path: Path
) -> None:
    """The process is killed while it reads the fifth batch of four."""
    run = tmp_path / "run"
    run_and_kill(finished, shop, run, reads=37)
    done = [line["step"] for line in losses(run)]
    assert done and done[-1] < 6
    run_training(recipe, shop, run, resume=True)
    assert_same_run(run, finished)


@pytest.mark.long
def test_killed_twelve_times_it_is_the_same_run(finished: Path, recipe: Recipe, shop: Catalog, tmp_path: Path) -> None:
    """Before the first step, between steps and checkpoints, and once more at each place after it was resumed."""
    run = tmp_path / "run"
    for reads in (1, 5, 12, 20, 25, 1, 7, 11, 2, 9, 12, 5):
        run_and_kill(finished, shop, run, reads)
    run_training(recipe, shop, run, resume=True)
    assert_same_run(run, finished)


def test_a_finished_run_can_be_resumed(finished: Path, recipe: Recipe, shop: Catalog, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    assert run_training(recipe, shop, run, resume=True).steps == 6
    assert_same_run(run, finished)


def test_another_run_is_never_overwritten(
    finished: Path, recipe: Recipe, small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="already holds a run; add --resume"):
        run_training(recipe, shop, finished)
    with pytest.raises(RecipeError, match="was begun with another recipe"):
        run_training(small_recipe("training.steps=7"), shop, finished, resume=True)
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(RecipeError, match="is not empty and holds no run"):
        run_training(recipe, shop, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_run_stopped_between_lines_of_its_log_leaves_the_same_log(
    small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the optimizer that keeps momentum, evaluations, and log lines that do not fall on checkpoints."""
    recipe = small_recipe(
        "training.steps=6",
        "training.optimizer=muon",
        "training.save_every=2",
        "training.log_every=5",
        "training.evaluate_every=3",
        "training.validation_queries=2",
    )
    whole = run_training(recipe, shop, tmp_path / "whole").folder
    calls: list[int] = []

    def stopping(*arguments: Any) -> dict[str, float]:
        calls.append(len(calls))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return validate(*arguments)

    validate = validation.validate
    monkeypatch.setattr(validation, "validate", stopping)
    with pytest.raises(KeyboardInterrupt):
        run_training(recipe, shop, tmp_path / "stopped")
    run_training(recipe, shop, tmp_path / "stopped", resume=True)
    assert_same_run(tmp_path / "stopped", whole)
    assert evaluations(tmp_path / "stopped") == evaluations(whole)
    assert [step for step, _ in evaluations(whole)] == [3, 6]


def test_a_run_does_not_go_on_with_other_data(finished: Path, recipe: Recipe, shop: Catalog, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    log = {"train": shop.interactions("train")[:-1]}
    fewer = write_catalog(tmp_path / "data", {"train": shop.products("train")}, log, title="Shop")
    with pytest.raises(RecipeError, match="was begun on other data"):
        run_training(recipe, fewer, tmp_path / "run", resume=True)


def test_mixed_precision_leaves_the_saved_weights_in_float32(
    small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path
) -> None:
    """Weights are float32, and bfloat16 arithmetic gives nearly the same ones as float32."""
    for folder, setting in (("half", "training.bf16=true"), ("whole", "training.bf16=false")):
        run_training(small_recipe("training.steps=2", setting), shop, tmp_path / folder)
    config = json.loads((tmp_path / "half" / "model" / "config.json").read_text())
    assert config["dtype"] == "float32"
    assert np.abs(vectors(tmp_path / "half") - vectors(tmp_path / "whole")).max() < 0.02


def test_the_best_weights_are_kept(
    small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ["training.evaluate_every=1", "training.validation_queries=2", "training.save_every=3"]
    recipe = small_recipe("training.steps=3", *settings)
    seen: list[np.ndarray] = []

    def score(encoder: Encoder, *_: Any) -> tuple[dict[str, float], dict[str, dict[str, Fusion]]]:
        seen.append(encoder.encode(WORDS))
        return {"score": [0.1, 0.9, 0.5][len(seen) - 1]}, {"title": {"t": Fusion(0.0, 1.0, float(len(seen)))}}

    monkeypatch.setattr(validation, "validate", score)
    run = RunFolder(run_training(recipe, shop, tmp_path / "run").folder)
    assert len(seen) == 3 and not np.array_equal(seen[1], seen[2])
    assert np.array_equal(vectors(run.path), seen[1])
    assert evaluations(run.path) == [(1, 0.1), (2, 0.9), (3, 0.5)]
    assert run.best_weights() == (run.best / "step-00000002", 0.9)
    assert read_fusions(run.model / "fusion.json")["title"]["t"].weight == 2, "of the weights that were kept"


def test_held_out_queries_are_scored_in_every_direction(
    small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path
) -> None:
    held_out = validation.hold_out(training_triplets(shop), shop.ids("train"), queries=2, seed=0)
    scores, fusions = validation.validate(untrained_encoder(small_recipe(), shop), shop, held_out)
    recalls = [value for name, value in scores.items() if name != "score"]
    assert scores["score"] == pytest.approx(sum(recalls) / len(recalls))
    assert fusions.keys() == {"title", "all"} and fusions["title"].keys() <= {"t", "mm"}
    assert "t→mm R@10" in scores and all(0 <= value <= 100 for value in recalls)


def test_what_no_batch_had_is_not_logged_as_a_perfect_loss(
    small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path
) -> None:
    one = small_recipe('alignment.objectives={"t→mm": 1}', "training.steps=2")
    lines = losses(run_training(one, shop, tmp_path / "run").folder)
    assert [name for name in lines[0] if name.startswith("loss/")] == ["loss/t→mm"]
    assert lines[0]["weight/i→t"] == 0


def test_mined_triplets_come_beside_a_log_and_where_there_is_none_all_are_mined(
    small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path
) -> None:
    recipe = small_recipe("training.mined_share=0.5")
    stream = prepare_run(recipe, shop, RunFolder(tmp_path / "run")).stream
    assert stream.triplets == [*training_triplets(shop), *mined_triplets(shop)]
    products = {"train": list(shop.products("train"))}
    no_log = write_catalog(tmp_path / "no log", products, title="A shop without a log")
    assert prepare_run(recipe, no_log, RunFolder(tmp_path / "other")).stream.triplets == mined_triplets(no_log)


def test_where_nothing_can_be_mined_the_log_alone_is_learned_from(
    small_recipe: Callable[..., Recipe], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    products = [Product("1", "Shirt"), Product("2", "Lamp")]
    log = [Interaction(Query("q", "a shirt"), ("1",), ("2",))]
    catalog = write_catalog(tmp_path / "shop", {"train": products}, {"train": log}, title="A shop")
    stream = prepare_run(small_recipe("training.mined_share=0.5"), catalog, RunFolder(tmp_path / "run")).stream
    assert stream.triplets == training_triplets(catalog)
    assert "no query can be mined" in caplog.text


def test_a_run_that_only_warms_up_is_warned_of(
    small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepare_run(small_recipe("training.steps=7", "training.warmup_steps=5"), shop, RunFolder(tmp_path / "long"))
    assert not caplog.text
    prepare_run(small_recipe("training.steps=6", "training.warmup_steps=5"), shop, RunFolder(tmp_path / "short"))
    assert "training.warmup_steps is 5 and training.steps is 6: the learning rate only rises" in caplog.text


def test_two_trainers_do_not_share_a_folder(recipe: Recipe, shop: Catalog, tmp_path: Path) -> None:
    with (
        exclusive_lock(tmp_path / "run", "`moon2 train`"),
        pytest.raises(FolderInUseError, match="another `moon2 train` is writing"),
    ):
        run_training(recipe, shop, tmp_path / "run")


def test_the_command_says_where_the_encoder_is_and_how_to_score_it(
    small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path
) -> None:
    message = str(train(data=shop.folder, out=tmp_path / "run", recipe=small_recipe("training.steps=1")))
    assert f"the encoder is in {tmp_path / 'run' / 'model'}" in message
    assert f"score it with `moon2 evaluate {tmp_path / 'run'} --data {shop.folder}`" in message
