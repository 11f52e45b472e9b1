"""A run whose numbers are lost stops at the step where they were, and saves none of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.small_recipe import small_recipe

from moon2 import Encoder
from moon2.catalog.store import Catalog, write_catalog
from moon2.cli import main
from moon2.model.errors import EncoderError
from moon2.records import Interaction, Product, Query
from moon2.run_folder import RunFolder
from moon2.train.divergence import DivergenceError, require_finite_steps
from moon2.train.step import StepResult, triplet_loss
from moon2.train.train import run_training

SETTINGS = ("training.steps=5", "training.save_every=1")


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Twelve products without images, each with a query that bought it."""
    titles = [f"{colour} {kind}" for colour in ("red", "blue", "black") for kind in ("shirt", "bag", "shoe", "lamp")]
    products = [Product(str(number), title) for number, title in enumerate(titles)]
    log = [Interaction(Query(f"q{each.id}", each.title), (each.id,)) for each in products]
    return write_catalog(tmp_path_factory.mktemp("words") / "shop", {"train": products}, {"train": log}, title="Words")


def test_the_first_step_that_is_no_number_is_named() -> None:
    numbers = [torch.tensor(value) for value in (1.0, float("inf"), float("nan"))]
    require_finite_steps([numbers[0]] * 3, [numbers[0]] * 3, last=9)
    with pytest.raises(DivergenceError, match=r"diverged at step 8 \(loss inf, gradient norm 1\)"):
        require_finite_steps(numbers, [numbers[0]] * 3, last=9)
    with pytest.raises(DivergenceError, match=r"diverged at step 9 \(loss 1, gradient norm nan\)"):
        require_finite_steps([numbers[0]] * 3, [numbers[0], numbers[0], numbers[2]], last=9)


@pytest.mark.parametrize(
    "settings",
    [
        ("training.learning_rate=1e20",),
        ("training.learning_rate=1e20", "training.optimizer=adamw_bf16"),
        ("training.learning_rate=1e6", "training.optimizer=muon"),
        ("training.learning_rate=1e20", "training.chunk_tokens=20"),
        ("training.learning_rate=1e20", "training.log_every=100", "training.save_every=4"),
        # All weights stay finite, but every vector has length 0.
        ("training.learning_rate=1e4",),
    ],
)
def test_a_diverging_run_stops_and_saves_nothing_of_it(
    settings: tuple[str, ...], words: Catalog, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "run")
    with pytest.raises(DivergenceError, match=r"at step 3 .* lower training\.learning_rate"):
        run_training(small_recipe(*SETTINGS, *settings), words, run.path)
    assert not run.model.exists()
    # The second step made the weights with which the third failed; those of the first are as they began.
    newest = run.newest_checkpoint()
    assert newest is None or newest[1] == 1
    assert all(line["loss"] < 10 for line in run.read_history())


def test_it_goes_on_from_the_last_good_checkpoint(words: Catalog, tmp_path: Path) -> None:
    def failing_loss(*arguments: object) -> StepResult:
        result = triplet_loss(*arguments)  # type: ignore[arg-type]
        return replace(result, loss=result.loss * float("nan")) if arguments[-1] == 3 else result

    recipe, run = small_recipe(*SETTINGS), RunFolder(tmp_path / "run")
    with pytest.raises(DivergenceError, match="at step 4"):
        run_training(recipe, words, run.path, loss=failing_loss)
    assert run.newest_checkpoint() == (run.checkpoints / "step-00000002", 2)
    run_training(recipe, words, run.path, resume=True)
    run_training(recipe, words, tmp_path / "whole")
    both = [[line["loss"] for line in RunFolder(folder).read_history()] for folder in (run.path, tmp_path / "whole")]
    assert both[0] == both[1] and len(both[0]) == 5


def test_the_command_says_so_in_one_line(words: Catalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "recipe.yaml"
    config.write_text(small_recipe(*SETTINGS, "training.learning_rate=1e20").to_yaml())
    assert main(["train", "--config", str(config), "--data", str(words.folder), "--out", str(tmp_path / "run")]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("moon2: training diverged at step 3")


def test_a_network_that_is_no_number_is_neither_saved_nor_loaded(small_encoder: Encoder, tmp_path: Path) -> None:
    state = {name: weight.clone() for name, weight in small_encoder.model.state_dict().items()}
    state["dual_alignment"][0, 0] = float("nan")
    with pytest.raises(EncoderError, match="not saved, because weight dual_alignment is NaN or infinite"):
        small_encoder.save_pretrained(tmp_path / "bad", state)
    assert not (tmp_path / "bad").exists()
