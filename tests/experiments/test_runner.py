"""Runs of an experiment on a shop of eighty products: each once, a stopped one goes on, a failed one is named."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

import moon2
from moon2.catalog.generated_shop.generate import write_shop
from moon2.experiments import runner as running
from moon2.experiments.noisy_log import read_noise_labels
from moon2.experiments.runner import Experiment, ExperimentError, Job, _data, run_same_budget, run_same_steps
from moon2.experiments.variants import OURS, Variant
from moon2.files import FolderInUseError, exclusive_lock
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
    write_shop(out=folder / "shop", products=80, queries=40)
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


@pytest.mark.parametrize("budget", ["seconds", "tokens"])
def test_an_equal_budget_changes_the_steps_by_what_a_step_took(
    budget: str, rows: list[dict[str, object]], experiment: Experiment, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(experiment.folder, folder)
    taken = {OURS: 10.0, "dense": 5.0}
    told = [{**row, budget: taken[str(row["variant"])]} for row in rows if row["variant"] in taken]
    ours, dense = run_same_budget(replace(experiment, folder=folder), [Variant(OURS), DENSE], told, budget)
    assert ours == rows[0], "ours is not run again"
    assert dense["steps"] == 4


SCRIPT = """
import sys
from pathlib import Path
from moon2.experiments.runner import Experiment, run_same_steps
from moon2.experiments.variants import Variant
from moon2.recipe import load_recipe
out, shop, recipe = map(Path, sys.argv[1:])
variants = [Variant("first", ("experts.count=1", "experts.active=1")), Variant("second")]
run_same_steps(Experiment(out, shop, load_recipe(recipe), (0,)), variants)
"""


@contextmanager
def under_way(experiment: Experiment, out: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An experiment in a process of its own, whose first run has begun."""
    recipe = experiment.data.parent / "small.yaml"
    command = [sys.executable, "-c", SCRIPT, str(out), str(experiment.data), str(recipe)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not runs_in(out) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert runs_in(out)
        yield process
    finally:
        process.kill()
        process.wait()


def runs_in(out: Path) -> list[str]:
    """The command lines of the processes that train or score a run there."""
    lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [
        " ".join(words)
        for words in lines
        if "moon2.experiments.child" in words and any(word.startswith(str(out)) for word in words)
    ]


def wait_for_none(out: Path, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while runs_in(out) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not runs_in(out)


def test_killed_its_runs_end_too_and_the_same_command_goes_on(experiment: Experiment, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with under_way(experiment, out) as process:
        process.kill()
        process.wait()
        wait_for_none(out)
    assert not (out / "results.json").exists()
    made = run_same_steps(replace(experiment, folder=out, at_once=1), [DENSE])
    assert [row["run"] for row in made] == ["dense-2-0"]


def test_interrupted_it_ends_at_once_and_starts_no_other_run(experiment: Experiment, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with under_way(experiment, out) as process:
        assert "first-2-0" in runs_in(out)[0]
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(timeout=20) != 0
        assert not runs_in(out)
    assert not (out / "runs" / "second-2-0.log").exists()


def test_two_experiments_in_one_folder_would_lose_each_others_rows(experiment: Experiment, tmp_path: Path) -> None:
    here = replace(experiment, folder=tmp_path / "out")
    with (
        exclusive_lock(tmp_path / "out", "experiment"),
        pytest.raises(FolderInUseError, match="another experiment is writing it"),
    ):
        run_same_steps(here, [DENSE])


def test_other_shares_and_other_labels_make_other_logs(experiment: Experiment) -> None:
    def log_of(share: float, known: frozenset[str]) -> str:
        job = Job(Variant("noisy", (), share), 0, 2)
        return _data(replace(experiment, known_noise=known), job).name

    names = {log_of(share, known) for share in (0.12, 0.125) for known in (experiment.known_noise, frozenset())}
    assert len(names) == 4


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
    with pytest.raises(ExperimentError, match="dense-2-0 was run with other settings or on another log"):
        run_same_steps(experiment, [Variant("dense", ("experts.count=2",))])
    with pytest.raises(ExperimentError, match="noisy-2-0 was run with other settings or on another log"):
        run_same_steps(replace(experiment, known_noise=frozenset()), [NOISY])


def test_the_commit_tells_of_changes_anywhere_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "src" / "moon2"
    shutil.copytree(Path(moon2.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(running, "__file__", str(package / "experiments" / "running.py"))
    assert len(running.commit()) >= 7
    assert not running.commit().endswith("+")
    (package / "train" / "step.py").write_text("changed")
    assert running.commit().endswith("+")
