"""Every peer and every ablation has the settings and the trainer that its name promises."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name

import pytest

from moon2.experiments.tables import PUBLISHED
from moon2.experiments.variants import OURS, Variant, ablations, peers
from moon2.model.encoder import Encoder
from moon2.recipe import AugmentationSettings, Recipe, load_recipe
from moon2.train.train import train

RECIPE = Path(__file__).parents[2] / "recipes" / "tiny.yaml"
TINY = load_recipe(RECIPE, ["training.evaluate_every=0"])
PEERS = peers(TINY)
ALL = [*PEERS, *ablations(TINY, augmented=True, noise=(0.0, 0.3))]


def recipe_of(variant: Variant) -> Recipe:
    return load_recipe(RECIPE, ["training.evaluate_every=0", *variant.settings])


def named(name: str) -> Recipe:
    return recipe_of(next(variant for variant in ALL if variant.name == name))


@pytest.mark.parametrize("variant", ALL, ids=lambda variant: variant.name)
def test_each_is_a_recipe_and_only_ours_is_ours(variant: Variant) -> None:
    assert (recipe_of(variant) == TINY) == (variant.name.partition(",")[0] == OURS)
    assert variant.published == "" or variant.published in PUBLISHED


@pytest.mark.parametrize("variant", PEERS, ids=lambda variant: variant.name)
def test_a_peer_is_trained_by_a_function_called_like_train(variant: Variant) -> None:
    if variant.trainer.endswith("sentence_transformers:train"):
        pytest.importorskip("sentence_transformers")
    trainer = train if variant.trainer == "train" else resolve_name(variant.trainer)
    names = ("data", "out", "recipe", "resume")
    given, wanted = (inspect.signature(function).parameters for function in (trainer, train))
    assert [name for name in given if name != "plan"] == list(names)
    assert all(given[name].kind == wanted[name].kind for name in names)


def test_ablations_are_trained_by_our_own_trainer() -> None:
    assert {variant.trainer for variant in ablations(TINY, augmented=True, noise=(0.3,))} == {"train"}


def test_without_alignment_between_or_within_products_only_the_other_is_left() -> None:
    assert list(named("without inter-product alignment").alignment.objectives) == ["i→t", "t→i"]
    assert list(named("without intra-product alignment").alignment.objectives) == ["t→mm", "i→mm", "mm→mm"]


@pytest.mark.parametrize("objectives", ['{"t→mm": 1, "mm→mm": 1}', '{"i→t": 1}'])
def test_alignment_of_one_kind_is_not_taken_away(objectives: str, caplog: pytest.LogCaptureFixture) -> None:
    recipe = load_recipe(RECIPE, [f"alignment.objectives={objectives}"])
    names = [variant.name for variant in ablations(recipe, augmented=False)]
    assert "without learned weights" in names and not any("-product alignment" in name for name in names)
    assert "left out inter- and intra-product alignment" in caplog.text


def test_the_mixture_of_moon_and_the_single_loss() -> None:
    mixture = named("fixed 12:3:2 mixture (MOON)").alignment
    assert (mixture.balance, mixture.objectives) == ("fixed", {"i→mm": 12, "t→mm": 3, "mm→mm": 2})
    assert named("single InfoNCE (VLM2Vec-style)").alignment.objectives == {"mm→mm": 1}


def test_noise_is_tried_with_and_without_the_filter() -> None:
    noisy = {variant.name: variant for variant in ALL if variant.log_noise is not None}
    assert list(noisy) == [
        "MOON2.0, 0% noise",
        "without filtering, 0% noise",
        "MOON2.0, 30% noise",
        "without filtering, 30% noise",
    ]
    assert [recipe_of(variant).filter.enabled for variant in noisy.values()] == [True, False, True, False]


def feed_forward_weights(recipe: Recipe, active: bool) -> int:
    """Weights of all feed-forward parts: those that a token meets, or all of them; routers aside."""
    model = Encoder.from_recipe(recipe, ["navy shirt"]).model
    total = sum(p.numel() for name, p in model.named_parameters() if ".experts." in name)
    return total * recipe.experts.active // recipe.experts.count if active else total


def test_dense_networks_have_the_sizes_that_their_names_promise() -> None:
    assert feed_forward_weights(named("dense, equal active size"), active=True) == feed_forward_weights(TINY, True)
    assert feed_forward_weights(named("dense, equal total size"), active=True) == feed_forward_weights(TINY, False)
    for name in ("CLIP-style dual encoder", "single InfoNCE (VLM2Vec-style)", "sentence-transformers"):
        assert named(name).backbone == named("dense, equal active size").backbone


@pytest.mark.parametrize("setting", ["backbone.name=Qwen/Qwen3-VL-2B-Instruct", "experts.layers=[0]"])
def test_a_network_that_cannot_be_resized_has_one_dense_variant(setting: str) -> None:
    dense = [v for v in ablations(load_recipe(None, [setting]), augmented=False) if v.published == "without MoE"]
    assert [variant.name for variant in dense] == ["dense, the backbone's own size"]


def test_co_augmentation_is_left_out_where_the_recipe_has_it_and_tried_where_it_has_not() -> None:
    def names(recipe: Recipe, augmented: bool) -> list[str]:
        return [variant.name for variant in ablations(recipe, augmented=augmented) if "augmentation" in variant.name]

    with_augmentations = replace(TINY, augmentations=AugmentationSettings(use="draw"))
    assert names(with_augmentations, True) == ["without co-augmentation"]
    assert names(TINY, True) == ["with co-augmentation"]
    assert names(TINY, False) == []


def test_peers_whose_loss_knows_one_length_train_one() -> None:
    recipe = load_recipe(RECIPE, ["training.evaluate_every=0", "training.dimensions=[64]"])
    for variant in peers(recipe):
        trained = load_recipe(RECIPE, ["training.dimensions=[64]", *variant.settings]).training.dimensions
        one = variant.trainer.endswith(("single_loss:train", "sentence_transformers:train"))
        assert trained == (None if one else [64]), variant.name
