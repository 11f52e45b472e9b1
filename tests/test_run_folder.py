"""A run on disk: it is begun once, what is there under its name is whole, and its model is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.small_recipe import small_recipe

from moon2.evaluate.per_query import query_scores_beside
from moon2.recipe import RecipeError, load_recipe
from moon2.run_folder import RunError, RunFolder, changed_settings, find_model_folder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run that has begun."""
    run = RunFolder(tmp_path / "run")
    run.begin(small_recipe(), "data", resume=False)
    return run


def test_a_run_goes_on_only_with_its_own_recipe_and_data(run: RunFolder) -> None:
    run.save_checkpoint(1, lambda _: None)
    assert load_recipe(run.recipe) == small_recipe()
    run.begin(small_recipe(), "data", resume=True)
    with pytest.raises(RecipeError, match="already holds a run; add --resume"):
        run.begin(small_recipe(), "data", resume=False)
    steps = small_recipe().training.steps
    with pytest.raises(RecipeError, match=rf"was begun with another recipe \(training.steps was {steps}, is 7\); "):
        run.begin(small_recipe("training.steps=7"), "data", resume=True)
    with pytest.raises(RecipeError, match="was begun on other data"):
        run.begin(small_recipe(), "other data", resume=True)


def test_of_many_changed_settings_three_are_named() -> None:
    settings = ("training.steps=7", "training.seed=1", "training.batch_size=2", "backbone.pooling=modalities")
    assert changed_settings(small_recipe(), small_recipe()) == ""
    changes = changed_settings(small_recipe(), small_recipe(*settings))
    assert changes.startswith("backbone.pooling was tokens, is modalities; training.")
    assert changes.count("; ") == 3 and changes.endswith("; and 1 more")


def test_a_run_that_was_refused_before_its_first_step_leaves_the_folder_free(tmp_path: Path) -> None:
    """Such as for a setting that the network cannot have; the command is typed again."""
    run = RunFolder(tmp_path / "run")
    run.begin(small_recipe("training.dimensions=[999]"), "data", resume=False)
    for resume in (False, True):
        run.begin(small_recipe(), "other data", resume=resume)
        assert load_recipe(run.recipe) == small_recipe()
    run.adapter.mkdir()  # of a finished run whose other files were removed
    with pytest.raises(RecipeError, match="already holds a run"):
        run.begin(small_recipe(), "other data", resume=False)


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RecipeError, match="is not empty and holds no run"):
        RunFolder(tmp_path).begin(small_recipe(), "data", resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_a_kill_left_before_the_recipe_was_written_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml.new").write_text("cut sho")
    RunFolder(tmp_path).begin(small_recipe(), "data", resume=False)
    assert load_recipe(tmp_path / "recipe.yaml") == small_recipe()


def write_weights(text: str) -> object:
    """What saves weights, as a checkpoint's content."""
    return lambda folder: (folder / "weights").write_text(text)


def fail(folder: Path) -> None:
    """As a kill in the middle of saving."""
    (folder / "weights").write_text("cut sho")
    raise KeyboardInterrupt


def test_the_newest_whole_checkpoints_are_there(run: RunFolder) -> None:
    assert run.newest_checkpoint() is None
    for step in (50, 100, 150):
        run.save_checkpoint(step, write_weights(f"at {step}"))
    with pytest.raises(KeyboardInterrupt):
        run.save_checkpoint(200, fail)
    folder, step = run.newest_checkpoint() or (Path(), 0)
    assert (step, (folder / "weights").read_text()) == (150, "at 150")
    run.save_checkpoint(200, write_weights("at 200"))
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step-00000150", "step-00000200"]


def test_the_best_weights_are_the_last_ones_kept(run: RunFolder) -> None:
    assert run.best_weights() is None
    run.save_best(3, 0.5, write_weights("at 3"))
    run.save_best(12, 0.75, write_weights("at 12"))
    folder, score = run.best_weights() or (Path(), 0)
    assert (score, (folder / "weights").read_text()) == (0.75, "at 12")
    assert [path.name for path in run.best.iterdir()] == ["step-00000012"]


def test_the_history_survives_a_line_cut_short(run: RunFolder) -> None:
    assert run.read_history() == []
    run.history.write_text(json.dumps({"step": 1, "loss": 2.0}) + '\n{"step": 2, "lo')
    assert run.read_history() == [{"step": 1, "loss": 2.0}]


def test_forgetting_training_keeps_checkpoints_and_recipe(run: RunFolder) -> None:
    run.history.write_text("{}")
    run.save_best(3, 0.5, write_weights("at 3"))
    run.tensorboard.mkdir()
    run.forget_training()
    assert sorted(path.name for path in run.path.iterdir()) == ["data.sha256", "recipe.yaml"]


def test_removing_a_run_leaves_what_is_not_its_own(run: RunFolder) -> None:
    run.save_checkpoint(1, write_weights("at 1"))
    for file in (run.history, run.evaluation, run.baseline, run.report, run.report_markdown, run.path / "notes.txt"):
        file.write_text("x")
    query_scores_beside(run.evaluation).write_text("x")
    run.model.mkdir()
    run.remove()
    assert [path.name for path in run.path.iterdir()] == ["notes.txt"]


def test_the_model_is_found_in_a_run_and_in_its_own_folder(run: RunFolder) -> None:
    assert find_model_folder(run.path) is None
    with pytest.raises(RunError, match="training is not finished; go on with the same `moon2 train` and --resume"):
        run.require_model()
    run.model.mkdir()
    (run.model / "config.json").touch()
    assert find_model_folder(run.path) == find_model_folder(run.model) == run.require_model() == run.model


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"nowhere: there is no such run; `moon2 train … --out .*nowhere` makes one"):
        RunFolder(tmp_path / "nowhere").require_model()
    with pytest.raises(RunError, match=r"is not a run \(no recipe\.yaml, no model\)"):
        RunFolder(tmp_path).require_model()
