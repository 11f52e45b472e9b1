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
from typing import Any

import psutil
import pytest
from support.small_recipe import small_recipe, write_small_recipe

import moon2
from moon2.catalog.store import Catalog
from moon2.experiments import runner
from moon2.experiments.noisy_log import read_noise_labels
from moon2.experiments.runner import Experiment, ExperimentError, Job, _data, run_same_budget, run_same_steps
from moon2.experiments.variants import OURS, Variant
from moon2.files import FolderInUseError, exclusive_lock
from moon2.views import DIRECTIONS

TWO_STEPS = ("training.steps=2", "training.save_every=1")
DENSE = Variant("dense", ("experts.count=1", "experts.active=1"))
NOISY = Variant("noisy", log_noise=0.3)


@pytest.fixture(scope="module")
def experiment(generated_shop: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    known = read_noise_labels(generated_shop.folder / "noise.parquet")
    folder = tmp_path_factory.mktemp("experiment") / "out"
    return Experiment(folder, generated_shop.folder, small_recipe(*TWO_STEPS), (0,), 2, known, "moon2 …")


@pytest.fixture(scope="module")
def rows(experiment: Experiment) -> list[dict[str, Any]]:
    """Of three runs; `experiment` holds them too."""
    return run_same_steps(experiment, [Variant(OURS), DENSE, NOISY])


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def test_a_row_says_what_was_run_and_what_came_of_it(rows: list[dict[str, Any]], experiment: Experiment) -> None:
    ours, dense, noisy = rows
    assert [row["variant"] for row in rows] == [OURS, "dense", "noisy"]
    assert (ours["steps"], ours["triplets"], ours["seed"], ours["log_noise"]) == (2, 8, 0, None)
    assert (ours["trainer"], dense["settings"], noisy["log_noise"]) == ("train", list(DENSE.settings), 0.3)
    assert ours["parameters"] > dense["parameters"]
    assert ours["tokens"] > 8 * 3 * 5
    assert list(ours["recall"]) == [str(direction) for direction in DIRECTIONS]
    assert sorted(row["run"] for row in results(experiment.folder)["runs"]) == sorted(row["run"] for row in rows)


def test_finished_runs_are_not_repeated_and_missing_ones_are_made(
    rows: list[dict[str, Any]], experiment: Experiment, tmp_path: Path
) -> None:
    """As if it was stopped after the first run: the folder of that may be gone, since its row is there."""
    folder = tmp_path / "out"
    shutil.copytree(experiment.folder, folder)
    first = [row for row in rows if row["variant"] == OURS]
    (folder / "results.json").write_text(json.dumps({**results(folder), "runs": first}))
    shutil.rmtree(folder / "runs" / first[0]["run"])
    ours, dense = run_same_steps(replace(experiment, folder=folder), [Variant(OURS), DENSE])
    assert not (folder / "runs" / first[0]["run"]).exists()
    assert ours == rows[0]
    assert {**dense, "seconds": 0} == {**rows[1], "seconds": 0}


def test_an_equal_budget_changes_the_steps_by_what_a_step_took(
    rows: list[dict[str, Any]], experiment: Experiment, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(experiment.folder, folder)
    here, variants = replace(experiment, folder=folder), [Variant(OURS), DENSE]
    taken = [{**rows[0], "tokens": 10.0}, {**rows[1], "tokens": 5.0}]
    ours, dense = run_same_budget(here, variants, taken, "tokens")
    assert ours == rows[0], "ours is not run again"
    assert (dense["run"], dense["steps"]) == ("dense-4-0", 4)
    near = [{**rows[0], "seconds": 10.0}, {**rows[1], "seconds": 9.5}]
    assert run_same_budget(here, variants, near, "seconds") == rows[:2], "what is near enough is not run again"


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
    recipe = write_small_recipe(out.with_name("small.yaml"), *TWO_STEPS)
    command = [sys.executable, "-c", SCRIPT, str(out), str(experiment.data), str(recipe)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
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
        if "moon2.experiments.processes" in words and any(word.startswith(str(out)) for word in words)
    ]


def test_killed_its_runs_end_too_and_the_same_command_goes_on(experiment: Experiment, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with under_way(experiment, out) as process:
        process.kill()
        process.wait()
        deadline = time.monotonic() + 60
        while runs_in(out) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not runs_in(out)
    assert not (out / "results.json").exists()
    rows = run_same_steps(replace(experiment, folder=out, at_once=1), [DENSE])
    assert [row["run"] for row in rows] == ["dense-2-0"]


def test_interrupted_it_ends_at_once_and_starts_no_other_run(experiment: Experiment, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with under_way(experiment, out) as process:
        assert "first-2-0" in runs_in(out)[0]
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(timeout=120) != 0
        assert not runs_in(out)
    assert not (out / "runs" / "second-2-0.log").exists()


def test_two_experiments_cannot_share_a_folder(experiment: Experiment, tmp_path: Path) -> None:
    """They would lose each other's rows."""
    with (
        exclusive_lock(tmp_path / "out", "experiment"),
        pytest.raises(FolderInUseError, match="another experiment is writing it"),
    ):
        run_same_steps(replace(experiment, folder=tmp_path / "out"), [DENSE])


def test_other_shares_and_other_labels_make_other_logs(experiment: Experiment) -> None:
    def log_of(share: float, known: frozenset[str]) -> str:
        job = Job(Variant("noisy", log_noise=share), 0, 2)
        return _data(replace(experiment, known_noise=known), job).name

    names = {log_of(share, known) for share in (0.12, 0.125) for known in (experiment.known_noise, frozenset())}
    assert len(names) == 4


def test_a_run_that_fails_is_named_and_the_others_are_kept(
    rows: list[dict[str, Any]], experiment: Experiment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(experiment.folder, folder)
    variants = [Variant("wrong", ("training.dimensions=[99]",)), DENSE]
    assert run_same_steps(replace(experiment, folder=folder), variants) == [rows[1]]
    log = folder / "runs" / "wrong-2-0.log"
    assert f"wrong-2-0: ended with code 2; {log} says why" in caplog.text
    assert "training.dimensions is [99]; it must be at most 32 each" in log.read_text()
    assert results(folder) == results(experiment.folder)


def test_settings_that_cannot_be_used_are_refused_before_the_first_run(experiment: Experiment, tmp_path: Path) -> None:
    here = replace(experiment, folder=tmp_path / "out")
    for setting, reason in (("no.such=1", r".*no\.such"), ("experts.active=9", r"experts\.active is 9; it must be")):
        with pytest.raises(ExperimentError, match=f"variant 'wrong': {reason}"):
            run_same_steps(here, [DENSE, Variant("wrong", (setting,))])
    assert not here.folder.exists()


@pytest.mark.parametrize(("steps", "mine_every"), [(2, 1), (3, 1), (6, 3), (12, 6)])
def test_negatives_are_mined_as_often_in_however_many_steps_fit(steps: int, mine_every: int) -> None:
    mining = ("training.steps=6", "training.hard_negatives=2", "training.mine_every=3")
    training = small_recipe(*mining, *Job(DENSE, 0, steps).settings(small_recipe(*mining))).training
    assert (training.steps, training.mine_every, training.hard_negatives) == (steps, mine_every, 2)
    one_step = small_recipe(*mining, *Job(DENSE, 0, 1).settings(small_recipe(*mining))).training
    assert one_step.hard_negatives == 0, "nothing could be mined before its end"


def test_a_folder_with_another_experiment_is_refused(
    rows: list[dict[str, Any]], experiment: Experiment, tmp_path: Path
) -> None:
    with pytest.raises(ExperimentError, match=r"with another recipe \(training.steps was 2, is 3; "):
        run_same_steps(replace(experiment, recipe=small_recipe("training.steps=3")), [DENSE])
    with pytest.raises(ExperimentError, match=f"holds runs on {experiment.data}, not {tmp_path}; give another --out"):
        run_same_steps(replace(experiment, data=tmp_path), [DENSE])
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    (run / "recipe.yaml").write_text("a trained run's own")
    with pytest.raises(ExperimentError, match=r"run: holds something else than an experiment \(model\)"):
        run_same_steps(replace(experiment, folder=run), [DENSE])
    assert (run / "recipe.yaml").read_text() == "a trained run's own"
    again = tmp_path / "again"
    shutil.copytree(experiment.folder, again)
    (again / "results.json").write_text(json.dumps({**results(again), "catalog": "of yesterday"}))
    with pytest.raises(ExperimentError, match="was changed since the runs in"):
        run_same_steps(replace(experiment, folder=again), [DENSE])
    for content in ("{}", "[1]", '{"data": ', '{"data": "", "catalog": "", "runs": 1}'):
        (again / "results.json").write_text(content)
        with pytest.raises(ExperimentError, match=r"results.json: is no table of runs; give another --out"):
            run_same_steps(replace(experiment, folder=again), [DENSE])
    with pytest.raises(ExperimentError, match="two runs would be called dense-2-0; give each variant its own name"):
        run_same_steps(experiment, [DENSE, Variant("Dense!")])
    for variant in (Variant("dense", ("experts.count=2",)), replace(DENSE, trainer="moon2.train.train:train")):
        with pytest.raises(ExperimentError, match="dense-2-0 was run with other settings or on another log"):
            run_same_steps(experiment, [variant])
    with pytest.raises(ExperimentError, match="noisy-2-0 was run with other settings or on another log"):
        run_same_steps(replace(experiment, known_noise=frozenset()), [NOISY])


def test_the_commit_tells_of_changes_anywhere_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "src" / "moon2"
    shutil.copytree(Path(moon2.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(runner, "__file__", str(package / "experiments" / "runner.py"))
    assert len(runner.source_commit()) >= 7
    assert not runner.source_commit().endswith("+")
    (package / "train" / "step.py").write_text("changed")
    assert runner.source_commit().endswith("+")
