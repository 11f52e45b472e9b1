"""The peer that sentence-transformers trains: it learns, resumes, and cut into batches its gradients stay the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from support.drawn_shop import TITLES

from moon2 import Encoder
from moon2.catalog.store import Catalog
from moon2.encoders.load import load_own
from moon2.experiments.peers import single_loss
from moon2.model.items import Item
from moon2.recipe import Recipe, RecipeError
from moon2.run_folder import RunFolder

sentence_transformers = pytest.importorskip("sentence_transformers")
from moon2.experiments.peers.sentence_transformers import train  # noqa: E402

DENSE = ("experts.count=1", "experts.active=1", "image_transforms.flip=true")


@pytest.fixture(scope="module")
def recipe(small_recipe: Callable[..., Recipe]) -> Recipe:
    return small_recipe(*DENSE, "training.steps=6", "training.save_every=3", "training.optimizer=muon")


@pytest.fixture(scope="module")
def finished(recipe: Recipe, shop: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(data=shop.folder, out=tmp_path_factory.mktemp("run") / "finished", recipe=recipe).folder


def logged(folder: Path, name: str) -> list[float]:
    """A column of the run's log."""
    return [line[name] for line in RunFolder(folder).read_history() if name in line]


def test_a_run_is_a_run_like_any_other(finished: Path, recipe: Recipe) -> None:
    encoder = Encoder.from_pretrained(finished, device="cpu")
    assert encoder.encode(["navy shirt"]).shape == (1, 32)
    assert logged(finished, "step") == [1, 2, 3, 4, 5, 6]
    assert min(logged(finished, "triplets_per_second")) > 0
    assert logged(finished, "learning_rate")[0] < max(logged(finished, "learning_rate"))
    assert "6 steps of 4 triplets" in (finished / "model" / "README.md").read_text()


def test_its_tokens_are_those_of_the_joint_rows(
    finished: Path, small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path
) -> None:
    """Our own loop with the same single loss sees the same triplets, in another order."""
    recipe = small_recipe(*DENSE, 'alignment.objectives={"mm→mm": 1}', "training.steps=6")
    ours = single_loss.train(data=shop.folder, out=tmp_path / "run", recipe=recipe).folder
    assert sum(logged(finished, "tokens")) == pytest.approx(sum(logged(ours, "tokens")), rel=0.15)


def test_it_learns(small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path) -> None:
    recipe = small_recipe(*DENSE, "training.steps=40", "training.batch_size=12", "training.save_every=100")
    losses = logged(train(data=shop.folder, out=tmp_path / "run", recipe=recipe).folder, "loss")
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_resumed_it_ends_as_if_never_stopped(finished: Path, recipe: Recipe, shop: Catalog, tmp_path: Path) -> None:
    """As a kill leaves it: the newest checkpoint without the file that is written last."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    shutil.rmtree(run / "model")
    (run / "checkpoints" / "checkpoint-6" / "trainer_state.json").unlink()
    train(data=shop.folder, out=run, recipe=recipe, resume=True)
    assert logged(run, "step") == logged(finished, "step")
    assert logged(run, "loss") == pytest.approx(logged(finished, "loss"), rel=1e-4)
    one, other = (load_own(folder, device="cpu").encode(["red shoes"]) for folder in (run, finished))
    assert one == pytest.approx(other, abs=1e-5)


def test_cut_into_small_batches_the_loss_and_its_gradients_are_the_same(small_recipe: Callable[..., Recipe]) -> None:
    """GradCache cuts the batch by the rows under `input_ids`; a wrong cut would align the wrong rows."""
    from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss

    from moon2.encoders.sentence_module import MoonModule

    colours = ("navy", "red", "green", "black", "blue")
    queries = [Item(colour) for colour in colours]
    products = [Item(f"{colour} shirt", [Image.new("RGB", (32, 32), colour)]) for colour in colours]
    losses, gradients = [], []
    for size in (5, 2):
        encoder = Encoder.from_recipe(small_recipe(*DENSE), TITLES)
        model = sentence_transformers.SentenceTransformer(modules=[MoonModule(encoder)], device="cpu")
        loss = CachedMultipleNegativesRankingLoss(model, mini_batch_size=size)
        value = loss([model.preprocess(queries), model.preprocess(products)], None)
        value.backward()
        losses.append(float(value.detach()))
        gradients.append(torch.cat([p.grad.flatten() for p in encoder.model.parameters() if p.grad is not None]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.evaluate_every=5", r"training\.evaluate_every is 5; it must be 0 for sentence-transformers'"),
        ("training.dimensions=[8]", r"training\.dimensions is \[8\]; it must be left out for this peer"),
    ],
)
def test_what_the_librarys_trainer_does_not_do_is_refused(
    setting: str, message: str, small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        train(data=shop.folder, out=tmp_path / "run", recipe=small_recipe(*DENSE, setting))
    assert not (tmp_path / "run").exists()
