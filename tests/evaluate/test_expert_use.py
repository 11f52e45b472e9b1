"""Each view's shares of the experts come from the model's own routing, and only from a model that has experts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_benchmark import COLOURS, KINDS, ColourAndKindEncoder, photo, shop, written

from moon2.evaluate.evaluate import evaluate
from moon2.evaluate.expert_use import expert_use
from moon2.evaluate.result import Evaluation
from moon2.model.encoder import Encoder
from moon2.recipe import BackboneSettings, ExpertSettings, InputSettings, Recipe, TinySettings
from moon2.views import VIEWS

SIZES = TinySettings(vocabulary=300, width=32, layers=2, heads=2, feed_forward=48, vision_width=32, vision_layers=1)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    recipe = Recipe(
        backbone=BackboneSettings(tiny=SIZES), experts=ExpertSettings(noise=0.5), input=InputSettings(max_pixels=2400)
    )
    return Encoder.from_recipe(recipe, [*COLOURS, *KINDS])


def test_the_shares_are_the_mean_routing_of_the_products_that_have_both_forms(encoder: Encoder, tmp_path: Path) -> None:
    products, interactions = shop()
    products[0] = replace(products[0], images=())
    products[1] = replace(products[1], images=(b"not an image",))
    catalog = written(tmp_path, products, interactions)
    found, number = expert_use(encoder, catalog, catalog.ids(), batch_size=4)
    assert number == 6
    encoder.model.eval()
    with torch.inference_mode():
        items = [encoder.processor.item(product) for product in products[2:]]
        routing = encoder.model(encoder.processor.batch(items), VIEWS).routing
    for view in VIEWS:
        assert found[view] == pytest.approx(routing[view].mean(dim=0).tolist(), abs=1e-5)
        assert sum(found[view]) == pytest.approx(1, abs=1e-5)
    assert found["t"] != found["i"]


def test_a_large_gallery_is_sampled_from_end_to_end(encoder: Encoder, tmp_path: Path) -> None:
    products, interactions = shop()
    more = [replace(products[0], id=f"more-{n}", images=(photo("red", "shirt"),)) for n in range(100)]
    catalog = written(tmp_path, [*products, *more], interactions)
    assert expert_use(encoder, catalog, catalog.ids(), batch_size=64)[1] == 64


def test_the_models_mode_is_left_as_it_was(encoder: Encoder, tmp_path: Path) -> None:
    catalog = written(tmp_path, *shop())
    encoder.model.train()
    expert_use(encoder, catalog, catalog.ids(), batch_size=4)
    assert encoder.model.training
    encoder.model.eval()


def test_an_evaluation_tells_it_and_one_without_experts_does_not(encoder: Encoder, tmp_path: Path) -> None:
    catalog = written(tmp_path, *shop())
    result = evaluate(encoder, catalog)
    assert set(result.expert_use) == set(VIEWS) and result.expert_use_products == 8
    assert Evaluation.from_json(result.to_json()) == result
    assert "| routing, percent | mm | i | t |" in result.to_markdown()
    share = 100 * np.array(result.expert_use["mm"])[0]
    assert f"| expert 0 | {share:.1f} |" in result.to_markdown()
    without = evaluate(ColourAndKindEncoder(), catalog)
    assert without.expert_use == {} and "expert" not in without.to_markdown()


def test_a_dual_encoder_of_the_same_parts_has_none_to_speak_of(tmp_path: Path) -> None:
    backbone = BackboneSettings(tiny=SIZES, fusion="late")
    late = Encoder.from_recipe(Recipe(backbone=backbone, experts=ExpertSettings(count=1, active=1)), [*COLOURS, *KINDS])
    catalog = written(tmp_path, *shop())
    assert expert_use(late, catalog, catalog.ids(), batch_size=4) == ({}, 0)
