"""Many runs: each variant with each seed, trained and scored as a user would do it, some side by side.

A run is a folder and a row. Rows are kept in one file that is rewritten after every run. So a comparison that was
stopped goes on with the runs that are missing, and a run that was cut short goes on from its last checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import platform
import re
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import StatisticsError, mean, median
from typing import Any, Literal

from moon2.catalog.fingerprint import catalog_fingerprint
from moon2.catalog.store import Catalog
from moon2.errors import UserError
from moon2.evaluate.result import Evaluation
from moon2.experiments.noisy_log import training_log, write_noisy_catalog
from moon2.experiments.processes import Processes
from moon2.experiments.variants import OURS, SAME_BUDGET, Variant
from moon2.files import exclusive_lock, write_text_atomic
from moon2.progress import progress_bar
from moon2.recipe import Recipe, RecipeError, load_recipe
from moon2.run_folder import RunFolder, changed_settings

logger = logging.getLogger(__name__)
Row = dict[str, Any]


class ExperimentError(UserError):
    """An experiment cannot be made or goes wrong; one line with what, where and what to do."""


@dataclass(frozen=True)
class Experiment:
    """What all runs have in common.

    Attributes:
        folder: gets `results.json`, and a folder a run under `runs/`.
        data: the catalog.
        recipe: the whole method; its own steps are the budget of a run.
        seeds: each variant is trained once with each.
        at_once: runs side by side; where more than one, each computes with one thread.
        known_noise: ids of queries whose purchase is known to be false, for variants with a share of noise.
        command: how it was started, for the record.
    """

    folder: Path
    data: Path
    recipe: Recipe
    seeds: Sequence[int]
    at_once: int = 1
    known_noise: frozenset[str] = frozenset()
    command: str = ""


@dataclass(frozen=True)
class Job:
    """One run: a variant, a seed, and how long."""

    variant: Variant
    seed: int
    steps: int

    @property
    def name(self) -> str:
        """Of its folder."""
        words = re.sub(r"\W+", "-", self.variant.name.casefold()).strip("-")
        return f"{words}-{self.steps}-{self.seed}"

    def settings(self, recipe: Recipe) -> list[str]:
        """What it changes of the experiment's recipe."""
        # Held-out queries would choose among checkpoints differently for each variant: here the last weights count.
        settings = [f"training.steps={self.steps}", f"training.seed={self.seed}", "training.evaluate_every=0"]
        if recipe.training.hard_negatives:
            # However many steps fit, negatives are mined as often; a single step ends before they would be used.
            every = recipe.training.mine_every * self.steps // recipe.training.steps
            settings.append(f"training.mine_every={max(1, every)}" if self.steps > 1 else "training.hard_negatives=0")
        return [*settings, *self.variant.settings]


def run_same_steps(experiment: Experiment, variants: Sequence[Variant]) -> list[Row]:
    """Every variant for as many steps, and so on the same triplets.

    Returns:
        The rows of the runs that did not fail.

    Raises:
        ExperimentError: the folder holds another experiment, or the settings of a variant cannot be used.
    """
    steps = experiment.recipe.training.steps
    # Seed after seed, so that an experiment that is stopped has compared all variants on the seeds it did.
    return _run(experiment, [Job(variant, seed, steps) for seed in experiment.seeds for variant in variants])


def run_same_budget(
    experiment: Experiment, variants: Sequence[Variant], rows: Sequence[Row], budget: Literal["tokens", "seconds"]
) -> list[Row]:
    """Every variant of `rows` for as many tokens, or as many seconds, as MOON2.0 took there.

    The steps are those that fit by what a step of the variant took in `rows`, and the cosine of the learning rate spans
    them. A variant within a tenth of MOON2.0's budget is not run again.

    Returns:
        The rows of the runs that did not fail.

    Raises:
        ExperimentError: as `run_same_steps`.
    """
    steps = experiment.recipe.training.steps
    spent = {v.name: [row[budget] for row in rows if row["variant"] == v.name and row[budget]] for v in variants}
    variants = [variant for variant in variants if spent[variant.name]]
    fitting = {v.name: round(steps * median(spent[OURS]) / median(spent[v.name])) for v in variants}
    fitting = {name: steps if abs(fit / steps - 1) < SAME_BUDGET else max(1, fit) for name, fit in fitting.items()}
    return _run(experiment, [Job(v, seed, fitting[v.name]) for seed in experiment.seeds for v in variants])


def source_commit() -> str:
    """The commit of moon2's own source tree, with "+" where it was changed since; "" where it has none."""
    source = Path(__file__).parent.parent

    def git(*words: str) -> str:
        result = subprocess.run(["git", "-C", str(source), *words], capture_output=True, text=True, check=False)
        return result.stdout.strip()

    try:
        head = git("rev-parse", "--short", "HEAD")
        return head + ("+" if head and git("status", "--porcelain", "--", ".") else "")
    except OSError:  # there is no git
        return ""


def _run(experiment: Experiment, jobs: Sequence[Job]) -> list[Row]:
    """The rows of the jobs, in their order; those that the folder has are not run again, a failure is logged."""
    names = [job.name for job in jobs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ExperimentError(f"two runs would be called {twice[0]}; give each variant its own name, each seed once")
    _require_settings(experiment, jobs)
    with exclusive_lock(experiment.folder, "experiment"):
        rows = {row["run"]: row for row in _known_rows(experiment)}
        catalog = catalog_fingerprint(Catalog.open(experiment.data))
        for job in jobs:
            known = rows.get(job.name)
            wanted = (job.variant.trainer, list(job.variant.settings), _log_hash(experiment, job))
            if known and (known["trainer"], known["settings"], known["log"]) != wanted:
                raise ExperimentError(
                    f"{experiment.folder}: {job.name} was run with other settings or on another log; give another --out"
                )
        missing = [job for job in jobs if job.name not in rows]
        for job in missing:
            _data(experiment, job)  # before any runs side by side, which may share it
        lock, processes = threading.Lock(), Processes(experiment.at_once)
        with progress_bar(total=len(jobs), initial=len(jobs) - len(missing), unit="runs", desc="experiment") as bar:

            def measure(job: Job) -> None:
                try:
                    row = _train_and_score(experiment, job, processes)
                except (UserError, OSError, KeyError, StatisticsError) as error:
                    if not processes.stopped:
                        logger.warning("%s", " ".join(str(error).split()))
                    return
                with lock:
                    rows[job.name] = row
                    _write_rows(experiment, catalog, list(rows.values()))
                recall = mean(by_k["10"] for by_k in row["recall"].values())
                logger.info("%s, seed %d, %d steps: mean R@10 %.1f", job.variant.name, job.seed, job.steps, recall)
                bar.update()

            processes.for_each(missing, measure)
        return [rows[job.name] for job in jobs if job.name in rows]


def _require_settings(experiment: Experiment, jobs: Sequence[Job]) -> None:
    """Refuses a variant whose settings are no recipe, before the first run."""
    whole = [f"{name}={json.dumps(section)}" for name, section in asdict(experiment.recipe).items()]
    for job in {job.variant: job for job in jobs}.values():
        try:
            load_recipe(None, [*whole, *job.settings(experiment.recipe)])
        except RecipeError as error:
            raise ExperimentError(f"variant {job.variant.name!r}: {error}") from None


def _train_and_score(experiment: Experiment, job: Job, processes: Processes) -> Row:
    """One run in its own folder by moon2's own commands, and what came of it."""
    run = RunFolder(experiment.folder / "runs" / job.name)
    run.path.parent.mkdir(parents=True, exist_ok=True)
    options = [f"--{setting}" for setting in job.settings(experiment.recipe)]
    where = ["--data", str(_data(experiment, job)), "--out", str(run.path), "--resume"]
    train = [job.variant.trainer, "--config", str(experiment.folder / "recipe.yaml"), *where, *options]
    evaluate = ["evaluate", str(run.path), "--data", str(experiment.data)]
    commits = _commits(run)
    log = run.path.with_suffix(".log")
    if code := processes.moon2([train, evaluate], log):
        raise ExperimentError(f"{job.name}: ended with code {code}; {log} says why")
    evaluation = Evaluation.read(run.evaluation)
    history = run.read_history()
    speed = median(line["triplets_per_second"] for line in history if "triplets_per_second" in line)
    trained = load_recipe(run.recipe).training  # a variant may have steps and batches of its own
    triplets = trained.steps * trained.batch_size
    return {
        "run": job.name,
        "variant": job.variant.name,
        "trainer": job.variant.trainer,
        "settings": list(job.variant.settings),
        "log_noise": job.variant.log_noise,
        "log": _log_hash(experiment, job),
        "seed": job.seed,
        "steps": trained.steps,
        "triplets": triplets,
        "tokens": round(trained.steps * mean(line["tokens"] for line in history if "tokens" in line)),
        "seconds": round(triplets / speed, 1),
        "at_once": experiment.at_once,
        "parameters": _parameters(run.model),
        "recall": {name: {str(k): recall for k, recall in by_k.items()} for name, by_k in evaluation.recalls.items()},
        "keywords": {
            name: {str(k): recall for k, recall in by_k.items()} for name, by_k in evaluation.keywords.items()
        },
        "accuracy": {task: views["mm"]["accuracy"] for task, views in evaluation.zero_shot.items() if "mm" in views},
        "queries": evaluation.queries,
        "gallery": evaluation.gallery,
        "commit": commits,
        "command": experiment.command,
    }


def _log_hash(experiment: Experiment, job: Job) -> str:
    """What tells one training log from another: "" for the catalog's own, else a hash of what it is made from."""
    if job.variant.log_noise is None:
        return ""
    digest = hashlib.sha256(training_log(Catalog.open(experiment.data)).read_bytes())
    digest.update(repr((job.variant.log_noise, sorted(experiment.known_noise))).encode())
    return digest.hexdigest()[:12]


def _data(experiment: Experiment, job: Job) -> Path:
    """The catalog that a run learns from; one with a chosen share of noise is written where it is missing."""
    share = job.variant.log_noise
    if share is None:
        return experiment.data
    folder = experiment.folder / "data" / f"noise-{share:g}-{_log_hash(experiment, job)}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_noisy_catalog(Catalog.open(experiment.data), folder, share, known=experiment.known_noise)
    return folder


def _commits(run: RunFolder) -> str:
    """The commit by which a run was begun, and any by which it went on after a stop."""
    record = run.path.with_suffix(".commit")
    known = record.read_text().split() if record.exists() else []
    commits = list(dict.fromkeys([*known, source_commit()]))
    record.write_text("\n".join(commits))
    return ", ".join(commits)


def _parameters(model: Path) -> int:
    from safetensors import safe_open

    total = 0
    for path in sorted(model.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            names: list[str] = file.keys()
            total += sum(math.prod(file.get_slice(name).get_shape()) for name in names)
    return total


def _known_rows(experiment: Experiment) -> list[Row]:
    """The rows of an earlier start of the same experiment; writes down the recipe of a new one."""
    if experiment.folder.exists() and not experiment.folder.is_dir():
        raise ExperimentError(f"{experiment.folder}: is a file; give a folder with --out")
    recipe, results = experiment.folder / "recipe.yaml", experiment.folder / "results.json"
    # Before its first run is begun, an experiment may be typed anew.
    has_begun = recipe.exists() and (results.exists() or (experiment.folder / "runs").exists())
    if has_begun and (changes := changed_settings(load_recipe(recipe), experiment.recipe)):
        raise ExperimentError(
            f"{experiment.folder}: holds an experiment with another recipe ({changes}); give another --out"
        )
    if recipe.exists() and not has_begun:  # perhaps that of a trained run, which would be written over
        entries = {entry.name for entry in experiment.folder.iterdir() if not entry.name.startswith(".")}
        # A kill may have come between a log with noise, in data/, and its first run.
        if others := entries - {recipe.name, "data"}:
            raise ExperimentError(
                f"{experiment.folder}: holds something else than an experiment ({min(others)}); give another --out"
            )
    if not results.exists():
        experiment.folder.mkdir(parents=True, exist_ok=True)
        recipe.write_text(experiment.recipe.to_yaml(), encoding="utf-8")
        return []
    try:
        content = json.loads(results.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    is_table = isinstance(content, dict) and {"data", "catalog", "runs"} <= content.keys()
    if not is_table or not isinstance(content["runs"], list):
        raise ExperimentError(f"{results}: is no table of runs; give another --out")
    if content["data"] != str(experiment.data):
        raise ExperimentError(f"{results}: holds runs on {content['data']}, not {experiment.data}; give another --out")
    if content["catalog"] != catalog_fingerprint(Catalog.open(experiment.data)):
        raise ExperimentError(f"{experiment.data}: was changed since the runs in {results}; give another --out")
    return list(content["runs"])


def _write_rows(experiment: Experiment, catalog: str, rows: Sequence[Row]) -> None:
    content = {
        "data": str(experiment.data),
        "catalog": catalog,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "runs": list(rows),
    }
    write_text_atomic(experiment.folder / "results.json", json.dumps(content, ensure_ascii=False, indent=1))
