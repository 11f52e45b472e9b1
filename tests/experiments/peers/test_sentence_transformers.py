"""The peer that sentence-transformers trains: it learns, resumes, and cut into passes its gradients stay the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from moon2.train.history import read_history
from PIL import Image

from moon2 import Encoder
from moon2.catalog.store import Catalog
from moon2.model.processor import Item
from moon2.recipe import Recipe, RecipeError
from moon2.train.train import train

sentence_transformers = pytest.importorskip("sentence_transformers")

PEER = ("training.trainer=sentence-transformers", "experts.count=1", "experts.active=1", "image_transforms.flip=true")


@pytest.fixture(scope="module")
def recipe(small_recipe: Callable[..., Recipe]) -> Recipe:
    return small_recipe(*PEER, "training.steps=6", "training.save_every=3", "training.optimizer=muon")


@pytest.fixture(scope="module")
def finished(recipe: Recipe, shop: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(recipe, shop, tmp_path_factory.mktemp("run") / "finished").folder


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in read_history(folder / "history.jsonl") if "loss" in line]


def test_a_run_is_a_run_like_any_other(finished: Path) -> None:
    encoder = Encoder.from_pretrained(finished, device="cpu")
    assert encoder.encode(["navy shirt"]).shape == (1, 32)
    assert len(losses(finished)) == 6
    speeds = [line["triplets_per_second"] for line in read_history(finished / "history.jsonl") if "loss" in line]
    assert min(speeds) > 0


def test_its_tokens_are_those_of_the_joint_pass(
    finished: Path, small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path
) -> None:
    """Our own trainer, asked for the joint loss alone, sees the same triplets, in another order."""
    single = ('alignment.objectives={"mm→mm": 1}', "alignment.partial_queries=true", "training.steps=6")
    ours = train(small_recipe(*single, *PEER[1:]), shop, tmp_path / "run").folder
    tokens = [
        [line["tokens"] for line in read_history(folder / "history.jsonl") if "loss" in line]
        for folder in (finished, ours)
    ]
    assert sum(tokens[0]) == pytest.approx(sum(tokens[1]), rel=0.15)


def test_it_learns(small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path) -> None:
    recipe = small_recipe(*PEER, "training.steps=40", "training.batch_size=12", "training.save_every=100")
    curve = losses(train(recipe, shop, tmp_path / "run").folder)
    assert sum(curve[-5:]) < 0.7 * sum(curve[:5])


def test_resumed_it_ends_as_if_never_stopped(finished: Path, recipe: Recipe, shop: Catalog, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    shutil.rmtree(run / "model")
    shutil.rmtree(run / "checkpoints" / "checkpoint-6")
    train(recipe, shop, run, resume=True)
    assert losses(run) == pytest.approx(losses(finished), rel=1e-4)
    one, other = (Encoder.from_pretrained(folder, device="cpu").encode(["red shoes"]) for folder in (run, finished))
    assert one == pytest.approx(other, abs=1e-5)


def test_cut_into_small_batches_the_loss_and_its_gradients_are_the_same(
    new_encoder: Callable[..., Encoder],
) -> None:
    """GradCache cuts the batch by the places under `input_ids`; a wrong cut would align the wrong rows."""
    from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss

    from moon2.encoders.sentence_module import MoonModule

    colours = ("navy", "red", "green", "black", "blue")
    queries = [Item(colour) for colour in colours]
    products = [Item(f"{colour} shirt", [Image.new("RGB", (32, 32), colour)]) for colour in colours]
    found = []
    for size in (5, 2):
        encoder = new_encoder("experts.count=1", "experts.active=1")
        model = sentence_transformers.SentenceTransformer(modules=[MoonModule(encoder)], device="cpu")
        loss = CachedMultipleNegativesRankingLoss(model, mini_batch_size=size)
        value = loss([model.preprocess(queries), model.preprocess(products)], None)
        value.backward()
        gradients = [p.grad.flatten() for p in encoder.model.parameters() if p.grad is not None]
        found.append((float(value.detach()), torch.cat(gradients)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-5)


def test_evaluation_during_training_is_refused(small_recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(RecipeError, match=r"training\.evaluate_every is 5; it must be 0 with that trainer"):
        small_recipe(*PEER, "training.evaluate_every=5")
