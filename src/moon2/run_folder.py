"""A training run on disk: the names in its folder, finding the model in it, and what a kill may leave half done."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from moon2.errors import UserError
from moon2.files import write_text_atomic
from moon2.meant import did_you_mean_file
from moon2.recipe import Recipe, RecipeError, load_recipe

KEPT_CHECKPOINTS = 2
SHOWN_CHANGES = 3
ADAPTER = "adapter"
"""In a run, and in its best weights: what a LoRA run trained."""
HARD_NEGATIVES = "hard_negatives.json"
"""In a checkpoint: the hard negatives that were in use, so that a resumed run goes on with the same."""


class RunError(UserError):
    """A folder is not the run that is needed; the message says which, why, and what to do."""


class RunFolder:
    """One training run.

    A folder named after a step (checkpoints, best weights) is written under another name and renamed when it is whole,
    so what is there under its own name is complete.

    Attributes:
        path: the folder.
        recipe: the recipe it is trained by, YAML.
        data_fingerprint: what it learns from, so that it never goes on with other data.
        history: what was logged, a JSON object a line.
        tensorboard: the same as event files.
        checkpoints: `step-00000100` and so on, from which training goes on.
        best: the best weights so far, named after their step likewise.
        model: the trained encoder.
        adapter: what a LoRA run trained of it, in peft's layout.
        evaluation: the figures of `moon2 evaluate`.
        quick_evaluation: the same with --limit, which are those of another gallery.
        baseline: the same before training, where it was measured.
        report, report_markdown: what `moon2 report` writes.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.recipe = self.path / "recipe.yaml"
        self.data_fingerprint = self.path / "data.sha256"
        self.history = self.path / "history.jsonl"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.best = self.path / "best"
        self.model = self.path / "model"
        self.adapter = self.path / ADAPTER
        self.evaluation = self.path / "evaluation.json"
        self.quick_evaluation = self.path / "evaluation-limited.json"
        self.baseline = self.path / "baseline.json"
        self.report = self.path / "report.html"
        self.report_markdown = self.path / "report.md"

    @property
    def has_begun(self) -> bool:
        """Whether there is something to keep; what was refused, or diverged at once, leaves only a recipe."""
        results = (self.model, self.adapter, self.evaluation)
        return any(path.exists() for path in results) or any(map(_newest, (self.checkpoints, self.best)))

    def require_free(self, *, resume: bool) -> None:
        """Refuses a folder in which no run can begin, and none can go on; quick, before anything is loaded.

        Raises:
            RecipeError: it holds a run and `resume` is not set, or something else.
        """
        if self.recipe.exists():
            if self.has_begun and not resume:
                raise RecipeError(
                    f"{self.path}: already holds a run; add --resume to go on with it, or give another folder"
                )
        elif self.path.is_file():
            raise RecipeError(f"{self.path}: is a file; give a folder for the run")
        elif self.path.exists() and any(entry.suffix != ".new" for entry in self.path.iterdir()):
            raise RecipeError(f"{self.path}: is not empty and holds no run; give another folder")

    def begin(self, recipe: Recipe, data_fingerprint: str, *, resume: bool) -> None:
        """Makes the folder, or checks that it holds the same run.

        Raises:
            RecipeError: it holds a run and `resume` is not set, or one by another recipe or on other data, or something
                else.
        """
        self.require_free(resume=resume)
        if self.recipe.exists() and self.has_begun:
            if changes := changed_settings(load_recipe(self.recipe), recipe):
                raise RecipeError(
                    f"{self.path}: was begun with another recipe ({changes}); go on with its own, {self.recipe}, or "
                    f"give another folder, where --init {self.path} begins with what was learned"
                )
            known = self.data_fingerprint
            if known.exists() and known.read_text() != data_fingerprint:
                raise RecipeError(
                    f"{self.path}: was begun on other data (another catalog, log or --init); give another folder"
                )
        self.path.mkdir(parents=True, exist_ok=True)
        write_text_atomic(self.data_fingerprint, data_fingerprint)
        write_text_atomic(self.recipe, recipe.to_yaml())

    def forget_training(self) -> None:
        """Removes what a run that was killed before its first checkpoint left: it is not this run's."""
        self.history.unlink(missing_ok=True)
        shutil.rmtree(self.best, ignore_errors=True)
        shutil.rmtree(self.tensorboard, ignore_errors=True)

    def forget_after(self, step: int) -> None:
        """Removes checkpoints and best weights of later steps, which turned out not to be good."""
        for folder in (self.checkpoints, self.best):
            for path, number in _steps(folder):
                if number > step:
                    shutil.rmtree(path)

    def remove(self) -> None:
        """Removes what a run has; anything else in the folder stays."""
        for folder in (self.tensorboard, self.checkpoints, self.best, self.model, self.adapter):
            shutil.rmtree(folder, ignore_errors=True)
        files = (self.recipe, self.data_fingerprint, self.history, self.baseline, self.report)
        for file in (*files, self.report_markdown, *self.path.glob("evaluation*")):
            file.unlink(missing_ok=True)

    def newest_checkpoint(self) -> tuple[Path, int] | None:
        """The newest whole checkpoint and its step, or None."""
        return _newest(self.checkpoints)

    def save_checkpoint(self, step: int, save: Callable[[Path], object]) -> None:
        """Adds a checkpoint, which `save` writes into the folder it is given; the oldest are removed."""
        _add(self.checkpoints, step, save, kept=KEPT_CHECKPOINTS)

    def best_weights(self) -> tuple[Path, float] | None:
        """The best weights so far and their score, or None."""
        found = _newest(self.best)
        return found and (found[0], float(json.loads((found[0] / "score.json").read_text())["score"]))

    def save_best(self, step: int, score: float, save: Callable[[Path], object]) -> None:
        """Keeps these weights, which `save` writes into the folder it is given, in place of the best so far."""

        def save_both(folder: Path) -> None:
            save(folder)
            (folder / "score.json").write_text(json.dumps({"score": score, "step": step}))

        _add(self.best, step, save_both, kept=1)

    def require_model(self) -> Path:
        """The folder of the saved encoder; a saved encoder's own folder will do as well.

        Raises:
            RunError: the folder is missing, holds no run, or one that is not finished.
        """
        model = find_model_folder(self.path)
        if model is not None:
            return model
        if not self.path.is_dir():
            near = did_you_mean_file(self.path) or f"; `moon2 train … --out {self.path}` makes one"
            raise RunError(f"{self.path}: there is no such run{near}")
        if self.recipe.is_file():
            raise RunError(f"{self.path}: training is not finished; go on with the same `moon2 train` and --resume")
        raise RunError(
            f"{self.path}: is not a run (no recipe.yaml, no model); give the folder named by `moon2 train --out`"
        )

    def read_history(self) -> list[dict[str, float]]:
        """What was logged; a last line cut short by a kill is left out, and no file is no line."""
        lines = []
        for line in self.history.read_text(encoding="utf-8").splitlines() if self.history.is_file() else ():
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return lines


def changed_settings(before: Recipe, now: Recipe) -> str:
    """How two recipes differ, such as "training.steps was 20, is 40"; "" where they do not."""
    old, new = (dict(_settings(asdict(recipe))) for recipe in (before, now))
    changed = [name for name in old | new if old.get(name) != new.get(name)]
    words = [f"{name} was {old.get(name)}, is {new.get(name)}" for name in changed[:SHOWN_CHANGES]]
    more = [f"and {len(changed) - SHOWN_CHANGES} more"] if len(changed) > SHOWN_CHANGES else []
    return "; ".join(words + more)


def find_model_folder(source: str | Path) -> Path | None:
    """Where the saved model of a run, or a model's own folder, has its config.json; None if there is none here."""
    folder = Path(source)
    return next((place for place in (folder / "model", folder) if (place / "config.json").is_file()), None)


def _settings(section: Mapping[str, object], name: str = "") -> Iterator[tuple[str, object]]:
    """Each setting of a recipe by its full name, such as "backbone.tiny.width"."""
    for key, value in section.items():
        # What maps objectives to shares is one setting, however many keys it has.
        if isinstance(value, dict) and value and all(part.isidentifier() for part in value):
            yield from _settings(value, f"{name}{key}.")
        else:
            yield f"{name}{key}", value


def _steps(folder: Path) -> list[tuple[Path, int]]:
    found = [(path, re.fullmatch(r"step-(\d{8})", path.name)) for path in sorted(folder.glob("step-*"))]
    return [(path, int(match[1])) for path, match in found if match]


def _newest(folder: Path) -> tuple[Path, int] | None:
    steps = _steps(folder)
    return steps[-1] if steps else None


def _add(folder: Path, step: int, save: Callable[[Path], object], kept: int) -> None:
    name = f"step-{step:08d}"
    fresh = folder / f"{name}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        fresh.mkdir(parents=True)
        save(fresh)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)  # what a full disk cut short would keep it full
        raise
    shutil.rmtree(folder / name, ignore_errors=True)
    fresh.rename(folder / name)
    for path, _ in _steps(folder)[:-kept]:
        shutil.rmtree(path)
