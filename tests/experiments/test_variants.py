"""Every peer and every ablation is a recipe that holds what its name says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from moon2.experiments.tables import PUBLISHED
from moon2.experiments.variants import OURS, Variant, ablations, peers
from moon2.model.encoder import Encoder
from moon2.recipe import AugmentationSettings, Recipe, load_recipe

TINY = load_recipe(Path(__file__).parents[2] / "recipes" / "tiny.yaml", ["training.evaluate_every=0"])
ALL = [*peers(TINY), *ablations(TINY, augmentations=True, noise=(0.0, 0.3))]


def recipe_of(variant: Variant) -> Recipe:
    overrides = [f"{name}={value}" for name, value in (setting.split("=", 1) for setting in variant.settings)]
    return load_recipe(Path(__file__).parents[2] / "recipes" / "tiny.yaml", ["training.evaluate_every=0", *overrides])


def named(name: str) -> Recipe:
    return recipe_of(next(variant for variant in ALL if variant.name == name))


@pytest.mark.parametrize("variant", ALL, ids=lambda variant: variant.name)
def test_each_is_a_recipe_and_only_ours_is_ours(variant: Variant) -> None:
    assert (recipe_of(variant) == TINY) == (variant.name.partition(",")[0] == OURS)
    assert variant.published == "" or variant.published in PUBLISHED


def test_without_alignment_between_or_within_products_only_the_other_is_left() -> None:
    assert list(named("without inter-product alignment").alignment.objectives) == ["i→t", "t→i"]
    assert list(named("without intra-product alignment").alignment.objectives) == ["t→mm", "i→mm", "mm→mm"]


def test_the_mixture_of_moon_and_the_single_loss() -> None:
    mixture = named("fixed 12:3:2 mixture (MOON)").alignment
    assert (mixture.balance, mixture.objectives) == ("fixed", {"i→mm": 12, "t→mm": 3, "mm→mm": 2})
    single = named("single InfoNCE (VLM2Vec-style)").alignment
    assert (single.partial_queries, single.objectives) == (True, {"mm→mm": 1})


def feed_forward_weights(recipe: Recipe, active: bool) -> int:
    """Weights of all feed-forward parts: those that a token meets, or all there are; routers aside."""
    model = Encoder.from_recipe(recipe, ["navy shirt"]).model
    total = sum(p.numel() for name, p in model.named_parameters() if ".experts." in name)
    return total * recipe.experts.active // recipe.experts.count if active else total


def test_dense_networks_have_the_sizes_their_names_say() -> None:
    assert feed_forward_weights(named("dense, equal active size"), active=True) == feed_forward_weights(TINY, True)
    assert feed_forward_weights(named("dense, equal total size"), active=True) == feed_forward_weights(TINY, False)


@pytest.mark.parametrize("setting", ["backbone.name=Qwen/Qwen3-VL-2B-Instruct", "experts.layers=[0]"])
def test_a_network_that_cannot_be_resized_has_one_dense_variant(setting: str) -> None:
    dense = [v for v in ablations(load_recipe(None, [setting]), augmentations=False) if v.published == "without MoE"]
    assert [variant.name for variant in dense] == ["dense, the backbone's own size"]


def test_co_augmentation_is_left_out_where_the_recipe_has_it_and_tried_where_it_has_not() -> None:
    def names(recipe: Recipe, augmentations: bool) -> list[str]:
        return [
            variant.name for variant in ablations(recipe, augmentations=augmentations) if "augmentation" in variant.name
        ]

    with_additions = replace(TINY, augmentations=AugmentationSettings(use="draw"))
    assert names(with_additions, True) == ["without co-augmentation"]
    assert names(TINY, True) == ["with co-augmentation"]
    assert names(TINY, False) == []
