"""Losses at several lengths of the vectors: by hand, and against the losses of the full width alone.

That chunks and several processes give the same gradients is tested with those (`support.mixed_batch` has two lengths).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.mixed_batch import encoder_for_gradients, mixed_triplets

from moon2 import Encoder
from moon2.catalog.store import Catalog
from moon2.model.moon_model import RouterSums, Views
from moon2.recipe import Recipe, RecipeError, TrainingSettings
from moon2.run_folder import RunFolder
from moon2.train.batches import ChunkLayout, TripletMasks, collate
from moon2.train.step import StepResult, triplet_loss
from moon2.train.train import run_training


def test_the_loss_is_the_mean_of_those_at_each_length_by_hand(small_recipe: Callable[..., Recipe]) -> None:
    """Two triplets without negatives, words against whole products, at lengths 2 and 3."""
    queries = torch.tensor([[0.6, 0.0, 0.8], [0.0, 1.0, 0.0]])
    products = torch.tensor([[0.0, 0.6, 0.8], [0.0, 1.0, 0.0]])
    vectors = torch.cat([queries, products])
    everything, nothing = torch.ones(4, dtype=torch.bool), torch.zeros(2, 2, dtype=torch.bool)
    views = Views(
        everything,
        ~everything,
        {"t": vectors, "mm": vectors},
        {"t": torch.zeros(4, 0), "mm": torch.zeros(4, 0)},
        RouterSums(torch.zeros(2, 0, 1), torch.zeros(2, 0, 1)),
        {},
    )
    masks = TripletMasks(2, nothing, torch.eye(2, dtype=torch.bool), torch.tensor([-1, -1]))
    recipe = small_recipe(
        'alignment.objectives={"t→mm": 1}',
        "alignment.balance=fixed",
        "alignment.temperature_inter=0.5",
        "alignment.sparsity_weight=0",
        "training.dimensions=[2]",
    )
    result = triplet_loss(views, masks, torch.zeros(1, 5), recipe, step=0)

    def loss(right: float, wrong: float) -> float:
        return math.log(1 + math.exp((wrong - right) / 0.5))

    # Cosines of the first query with its product and the other: 0.64 and 0; of the second: 1 and 0.6. Cut to two
    # numbers the queries are (1, 0) and (0, 1), and both products (0, 1).
    whole = (loss(0.64, 0) + loss(1, 0.6)) / 2
    cut = (loss(0, 0) + loss(1, 1)) / 2
    assert float(result.log["loss@3"]) == pytest.approx(whole)
    assert float(result.log["loss@2"]) == pytest.approx(cut)
    assert float(result.log["loss/t→mm"]) == pytest.approx(whole), "the objectives' own losses are of the full width"
    assert float(result.loss) == pytest.approx((whole + cut) / 2)


def step_at(encoder: Encoder, recipe: Recipe) -> tuple[StepResult, list[torch.Tensor]]:
    """The step on the mixed batch, and its gradients."""
    triplets = mixed_triplets()
    batch = collate(triplets, [[each.outline for each in triplets]], ChunkLayout(encoder.processor))
    encoder.model.zero_grad()
    result = triplet_loss(encoder.model(*batch.chunks), batch.masks, encoder.model.dual_alignment, recipe, step=3)
    result.loss.backward()
    return result, [weights.grad.clone() for weights in encoder.model.parameters() if weights.grad is not None]


def test_the_full_width_alone_is_what_is_trained_without_lengths(small_recipe: Callable[..., Recipe]) -> None:
    encoder = encoder_for_gradients()
    without, slopes = step_at(encoder, small_recipe())
    named, same_slopes = step_at(encoder, small_recipe("training.dimensions=[32]"))
    assert named.loss == without.loss and named.log.keys() == without.log.keys()
    assert all(torch.equal(one, other) for one, other in zip(slopes, same_slopes, strict=True))


def test_weights_of_triplets_and_objectives_are_those_of_the_full_width(small_recipe: Callable[..., Recipe]) -> None:
    encoder = encoder_for_gradients()
    without, _ = step_at(encoder, small_recipe())
    cut, slopes = step_at(encoder, small_recipe("training.dimensions=[4,16]"))
    totals = {name: value for name, value in cut.log.items() if name.startswith("loss@")}
    assert totals.keys() == {"loss@4", "loss@16", "loss@32"} and cut.log["loss@32"] == without.loss
    torch.testing.assert_close(cut.loss, torch.stack([*totals.values()]).mean())
    for name, value in without.log.items():
        torch.testing.assert_close(cut.log[name], value, rtol=0, atol=0, equal_nan=True, msg=name)
    # Views that an item lacks are zeros, and cutting those must not divide by nothing.
    assert all(bool(slope.isfinite().all()) for slope in slopes)


@pytest.mark.parametrize("dimensions", [[64, 128], [128, 64, 64], [128, 192, 64]])
def test_lengths_are_sorted_each_once_with_the_full_width(dimensions: list[int]) -> None:
    assert TrainingSettings(dimensions=dimensions).trained_lengths(192) == [64, 128, 192]


def test_a_length_above_the_width_is_refused(
    small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=r"^training\.dimensions is \[8, 64\]; it must be at most 32 each[^\n]*$"):
        run_training(small_recipe("training.dimensions=[8,64]"), shop, tmp_path / "run")
    assert not (tmp_path / "run" / "history.jsonl").exists()


def test_a_run_measures_its_lengths_and_its_encoder_knows_them(
    small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path
) -> None:
    settings = ("training.steps=2", "training.evaluate_every=1", "training.dimensions=[16,8]")
    run = RunFolder(run_training(small_recipe(*settings), shop, tmp_path / "run").folder)
    logged = {name for line in run.read_history() for name in line}
    assert {"loss@8", "loss@16", "loss@32", "eval/score@8", "eval/score@16", "eval/score"} <= logged
    assert "eval/score@32" not in logged
    for folder in (run.model, next(run.best.iterdir())):
        config = json.loads((folder / "config.json").read_text())
        assert (config["is_matryoshka"], config["matryoshka_dimensions"]) == (True, [8, 16, 32])
    encoder = Encoder.from_pretrained(run.path, device="cpu")
    assert encoder.dimensions == [8, 16, 32]
    assert "`encoder.encode(items, dimension=8)`" in encoder.card
