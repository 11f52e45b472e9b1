"""Runs of an experiment on a shop of eighty products: each once, a stopped one goes on, a failed one is named."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from moon2.catalog.noisy_log import read_noise_labels
from moon2.catalog.synthetic import write_shop
from moon2.experiments.running import Experiment, ExperimentError, run_same_seconds, run_same_steps
from moon2.experiments.variants import OURS, Variant
from moon2.recipe import load_recipe

SMALL = """
backbone:
  tiny: {vocabulary: 300, width: 32, layers: 1, heads: 2, feed_forward: 32, vision_width: 32, vision_layers: 1}
input: {max_text_tokens: 16, max_pixels: 1600, max_images: 1}
training: {steps: 2, batch_size: 4, learning_rate: 1.0e-3, warmup_steps: 1, log_every: 1, save_every: 1}
"""
DENSE = Variant("dense", ("experts.count=1", "experts.active=1"))
NOISY = Variant("noisy", (), 0.3)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    folder = tmp_path_factory.mktemp("experiment")
    write_shop(folder / "shop", products=80, queries=40)
    (folder / "small.yaml").write_text(SMALL)
    known = read_noise_labels(folder / "shop" / "noise.parquet")
    recipe = load_recipe(folder / "small.yaml")
    return Experiment(folder / "out", folder / "shop", recipe, (0,), at_once=2, known_noise=known, command="moon2 …")


@pytest.fixture(scope="module")
def rows(experiment: Experiment) -> list[dict[str, object]]:
    return run_same_steps(experiment, [Variant(OURS), DENSE, NOISY])


def test_a_row_says_what_was_run_and_what_came_of_it(rows: list[dict[str, object]], experiment: Experiment) -> None:
    ours, dense, noisy = rows
    assert [row["variant"] for row in rows] == [OURS, "dense", "noisy"]
    assert (ours["steps"], ours["triplets"], ours["seed"], ours["log_noise"]) == (2, 8, 0, None)
    assert int(str(ours["parameters"])) > int(str(dense["parameters"]))
    assert int(str(ours["tokens"])) > 8 * 3 * 5
    assert ours["recall"].keys() == {"t→mm", "i→mm", "mm→mm", "t→i", "i→t"}
    assert noisy["log_noise"] == 0.3
    log = json.loads((experiment.folder / "results.json").read_text())
    assert sorted(row["run"] for row in log["runs"]) == sorted(str(row["run"]) for row in rows)


def test_finished_runs_are_not_repeated_and_missing_ones_are_made(
    rows: list[dict[str, object]], experiment: Experiment, tmp_path: Path
) -> None:
    """Stopped after the first run: its folder may be gone, since its row is kept."""
    folder = tmp_path / "out"
    shutil.copytree(experiment.folder, folder)
    log = json.loads((folder / "results.json").read_text())
    kept = [row for row in log["runs"] if row["variant"] == OURS]
    (folder / "results.json").write_text(json.dumps({**log, "runs": kept}))
    shutil.rmtree(folder / "runs" / kept[0]["run"])
    again = run_same_steps(replace(experiment, folder=folder), [Variant(OURS), DENSE])
    assert not (folder / "runs" / kept[0]["run"]).exists()
    assert again[0] == rows[0]
    assert {**again[1], "seconds": 0} == {**rows[1], "seconds": 0}


def test_equal_seconds_change_the_steps_by_the_speed(
    rows: list[dict[str, object]], experiment: Experiment, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(experiment.folder, folder)
    seconds = {OURS: 10.0, "dense": 5.0}
    told = [{**row, "seconds": seconds[str(row["variant"])]} for row in rows if row["variant"] in seconds]
    ours, dense = run_same_seconds(replace(experiment, folder=folder), [Variant(OURS), DENSE], told)
    assert ours == rows[0], "ours is not run again"
    assert dense["steps"] == 4


def test_a_run_that_fails_is_named_and_the_others_are_kept(
    experiment: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = replace(experiment, folder=tmp_path / "out", at_once=1)
    made = run_same_steps(one, [Variant("wrong", ("no.such=1",)), DENSE])
    assert "moon2: wrong-2-0: moon2 train failed; " in capsys.readouterr().err
    assert [row["variant"] for row in made] == ["dense"]
    assert [row["variant"] for row in json.loads((tmp_path / "out" / "results.json").read_text())["runs"]] == ["dense"]


def test_a_folder_with_another_experiment_is_refused(rows: list[dict[str, object]], experiment: Experiment) -> None:
    longer = load_recipe(None, ["training.steps=3"])
    with pytest.raises(ExperimentError, match="holds an experiment with another recipe; give another --out"):
        run_same_steps(replace(experiment, recipe=longer), [DENSE])
    with pytest.raises(ExperimentError, match="dense-2-0 was run with other settings"):
        run_same_steps(experiment, [Variant("dense", ("experts.count=2",))])
