"""Each view's shares of the experts come from the model's own routing, and only from a model that has experts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.coloured_shop import COLOURS, KINDS, ColourAndKindEncoder, photo, twins, write_test_catalog

from moon2 import Encoder
from moon2.evaluate.expert_use import expert_use
from moon2.evaluate.format import to_markdown
from moon2.evaluate.score import score
from moon2.experiments.peers.two_towers import TwoTowers
from moon2.recipe import Recipe
from moon2.views import VIEWS

DENSE = ("experts.count=1", "experts.active=1")


def test_the_shares_are_the_mean_routing_of_products_with_text_and_image(
    small_encoder: Encoder, tmp_path: Path
) -> None:
    products, interactions = twins()
    products[0] = replace(products[0], images=())
    products[1] = replace(products[1], images=(b"not an image",))
    catalog = write_test_catalog(tmp_path, products, interactions)
    shares, number = expert_use(small_encoder, catalog, catalog.ids(), batch_size=4)
    assert number == 6
    with torch.inference_mode():
        items = [small_encoder.processor.item(product) for product in products[2:]]
        routing = small_encoder.model(small_encoder.processor.batch(items), VIEWS).routing
    for view in VIEWS:
        assert shares[view] == pytest.approx(routing[view].mean(dim=0).tolist(), abs=1e-5)
        assert sum(shares[view]) == pytest.approx(1, abs=1e-5)
    assert shares["t"] != shares["i"]


def test_a_large_gallery_is_sampled_from_end_to_end(small_encoder: Encoder, tmp_path: Path) -> None:
    products, interactions = twins()
    more = [replace(products[0], id=f"more-{n}", images=(photo("red", "shirt"),)) for n in range(100)]
    catalog = write_test_catalog(tmp_path, [*products, *more], interactions)
    assert expert_use(small_encoder, catalog, catalog.ids(), batch_size=64)[1] == 64


def test_an_evaluation_has_the_shares_and_one_without_experts_has_none(small_encoder: Encoder, tmp_path: Path) -> None:
    catalog = write_test_catalog(tmp_path, *twins())
    evaluation, _ = score(small_encoder, catalog)
    assert set(evaluation.expert_use) == set(VIEWS) and evaluation.expert_use_products == 8
    assert f"| expert 0 | {100 * evaluation.expert_use['mm'][0]:.1f} |" in to_markdown(evaluation)
    without, _ = score(ColourAndKindEncoder(), catalog)
    assert without.expert_use == {} and "expert" not in to_markdown(without)


def test_two_towers_have_no_routing_to_show(small_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    towers = Encoder.from_recipe(small_recipe(*DENSE), [*COLOURS, *KINDS], TwoTowers)
    catalog = write_test_catalog(tmp_path, *twins())
    assert expert_use(towers, catalog, catalog.ids(), batch_size=4) == ({}, 0)
