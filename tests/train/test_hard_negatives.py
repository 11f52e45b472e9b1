"""Mined negatives are what the encoder takes for answers, and never answers; a resumed run goes on with the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from support.coloured_shop import ColourAndKindEncoder, photo
from support.mixed_batch import encoder_for_gradients

from moon2 import Product, Query
from moon2.catalog.store import Catalog, write_catalog
from moon2.catalog.triplets import Triplet, training_triplets
from moon2.recipe import Recipe, TrainingSettings
from moon2.run_folder import RunFolder
from moon2.train import hard_negatives
from moon2.train.hard_negatives import mine_hard_negatives, read_hard_negatives, spans
from moon2.train.processes import Processes
from moon2.train.train import run_training

PRODUCTS = [
    Product("wanted", "red shirt"),
    Product("blue bag", "blue bag"),
    Product("red bag", "red bag"),
    Product("blue shirt", "shirt in blue and green"),
    Product("twin", "shirt in red"),
]


def mine(
    folder: Path, products: Sequence[Product], *triplets: Triplet, wanted: Sequence[int] | None = None, count: int = 9
) -> list[tuple[str, ...]]:
    """What is mined with an encoder that sees colours and kinds only, as words or as pixels."""
    catalog = write_catalog(folder / "shop", {"train": products}, title="Shop")
    numbers = range(len(triplets)) if wanted is None else wanted
    return mine_hard_negatives(ColourAndKindEncoder(), catalog, triplets, numbers, count)


def red_shirt(negatives: Sequence[str] = (), known: Sequence[str] = (), positive: str = "wanted") -> Triplet:
    return Triplet(Query("q", "red shirt"), positive, tuple(negatives), frozenset({positive, *known}))


def test_the_most_similar_that_are_clearly_less_similar_than_the_positive(tmp_path: Path) -> None:
    """The twin fits the query as well as the positive does: who can say that it is wrong?"""
    assert mine(tmp_path, PRODUCTS, red_shirt()) == [("red bag", "blue shirt", "blue bag")]


def test_at_most_as_many_as_are_asked_for(tmp_path: Path) -> None:
    assert mine(tmp_path, PRODUCTS, red_shirt(), count=2) == [("red bag", "blue shirt")]


def test_no_known_positive_and_no_negative_that_the_log_has(tmp_path: Path) -> None:
    assert mine(tmp_path, PRODUCTS, red_shirt(["blue shirt"], ["red bag"])) == [("blue bag",)]


def test_a_weak_positive_leaves_only_what_is_weaker_still(tmp_path: Path) -> None:
    assert mine(tmp_path, PRODUCTS, red_shirt(positive="blue shirt")) == [("blue bag",)]


def test_nothing_of_the_title_or_style_of_a_known_positive(tmp_path: Path) -> None:
    """Each would be mined by what it looks like."""
    products = [
        Product("wanted", "red shirt"),
        Product("known", "Gift ", images=[photo("red", "shirt")], attributes={"Item_Group_ID": "7"}),
        Product("title", "gift", images=[photo("red", "bag")]),
        Product("style", "red bag", attributes={"Item_Group_ID": "7"}),
        Product("neither", "a red bag", attributes={"Item_Group_ID": "8"}),
    ]
    assert mine(tmp_path, products, red_shirt(known=["known"])) == [("neither",)]


def test_products_without_title_and_style_are_not_alike(tmp_path: Path) -> None:
    looks = [("red", "shirt"), ("red", "bag"), ("blue", "bag")]
    images = [Product(f"{colour} {kind}", images=[photo(colour, kind)]) for colour, kind in looks]
    assert mine(tmp_path, images, red_shirt(positive="red shirt")) == [("red bag", "blue bag")]


def test_what_cannot_be_embedded_has_none_and_is_none(tmp_path: Path) -> None:
    products = [*PRODUCTS[:3], Product("broken", images=[b"no image"])]
    shown = Triplet(Query("shown", image=b"no image"), "wanted", (), frozenset({"wanted"}))
    mined = mine(tmp_path, products, red_shirt(positive="broken"), red_shirt(positive="sold out"), shown, red_shirt())
    assert mined == [(), (), (), ("red bag", "blue bag")]


def test_a_product_whose_photo_is_not_there_is_mined_by_its_text(tmp_path: Path) -> None:
    photo = "https://example.com/not-downloaded.jpg"
    products = [Product(name, name, images=[photo]) for name in ("red shirt", "red bag", "blue bag")]
    assert mine(tmp_path, products, red_shirt(positive="red shirt")) == [("red bag", "blue bag")]


def test_only_the_wanted_triplets_are_mined_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks or at once."""
    triplets = [red_shirt(), red_shirt(), red_shirt(["red bag"])]
    monkeypatch.setattr(hard_negatives, "BLOCK", 1)
    mined = mine(tmp_path, PRODUCTS[:3], *triplets, wanted=[2, 0])
    assert mined == [("red bag", "blue bag"), (), ("blue bag",)]


def test_steps_are_cut_where_negatives_are_mined() -> None:
    settings = TrainingSettings(steps=10, hard_negatives=2, mine_every=4)
    assert list(spans(0, settings)) == [(0, 4, False), (4, 8, True), (8, 10, True)]
    assert list(spans(5, settings)) == [(5, 8, False), (8, 10, True)]
    assert list(spans(8, settings)) == [(8, 10, True)]
    assert list(spans(10, settings)) == []
    assert list(spans(3, TrainingSettings(steps=10))) == [(3, 10, False)]


@pytest.fixture(scope="module")
def recipe(small_recipe: Callable[..., Recipe]) -> Recipe:
    """Mined before the fourth and the seventh of eight steps, with checkpoints in between."""
    mining = ("training.hard_negatives=2", "training.mine_every=3")
    return small_recipe("training.steps=8", "training.save_every=2", *mining)


@pytest.fixture(scope="module")
def finished(recipe: Recipe, shop: Catalog, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return RunFolder(run_training(recipe, shop, tmp_path_factory.mktemp("mined") / "run").folder)


def losses(run: RunFolder) -> list[float]:
    return [line["loss"] for line in run.read_history()]


def test_a_run_trains_on_them(
    finished: RunFolder, small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path
) -> None:
    without = RunFolder(run_training(small_recipe("training.steps=8"), shop, tmp_path / "without").folder)
    assert losses(finished)[:3] == losses(without)[:3]
    assert losses(finished)[3:] != losses(without)[3:]
    mined = read_hard_negatives(finished.checkpoints / "step-00000008")
    assert mined is not None and any(mined)
    for triplet, ids in zip(training_triplets(shop), mined, strict=True):
        assert len(ids) <= 2
        assert triplet.known_positive_ids.isdisjoint(ids) and set(triplet.negative_ids).isdisjoint(ids)


def test_sharded_weights_learn_after_a_first_pass_that_mined(mesh: object) -> None:
    """A run that is resumed where negatives are mined embeds the catalog before its first step."""
    encoder = encoder_for_gradients()
    Processes(0, 1, torch.device("cpu")).shard(encoder.model, bf16=False)
    assert np.isfinite(encoder.encode(["navy shirt", "red shoes"])).all()
    batch = encoder.item_batch([encoder.processor.item("navy shirt")], {"t"})
    encoder.model.train()(batch, {"t"}).vectors["t"][0, 0].backward()
    assert any(weight.grad is not None for weight in encoder.model.parameters())


@pytest.mark.parametrize("step", [2, 4, 6])
def test_resumed_it_goes_on_with_the_same(
    step: int, finished: RunFolder, recipe: Recipe, shop: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before the first mining; between two; and at a step at which they are mined."""
    run = RunFolder(tmp_path / "run")
    monkeypatch.setattr("moon2.run_folder.KEPT_CHECKPOINTS", 9)
    run_training(recipe, shop, run.path)
    for later in range(step + 2, 9, 2):
        shutil.rmtree(run.checkpoints / f"step-{later:08d}")
    shutil.rmtree(run.model)
    assert (read_hard_negatives(run.checkpoints / f"step-{step:08d}") is None) == (step == 2)
    run_training(recipe, shop, run.path, resume=True)
    assert losses(run) == losses(finished)
    files = [each.checkpoints / "step-00000008" / "hard_negatives.json" for each in (run, finished)]
    assert json.loads(files[0].read_text()) == json.loads(files[1].read_text())
