"""A dual encoder of the same parts, on every family of backbones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.tiny_checkpoints import CHECKPOINTS

from moon2 import Encoder, Product
from moon2.catalog.store import Catalog
from moon2.encoders.load import load_encoder, load_own
from moon2.experiments.peers.two_towers import TwoTowers, train
from moon2.model.errors import EncoderError
from moon2.recipe import BackboneSettings, ExpertSettings, Recipe, RecipeError

TEXTS = ["a navy shirt", "red women shoes"]


@pytest.fixture(scope="module", params=CHECKPOINTS)
def towers(request: pytest.FixtureRequest, checkpoints: dict[str, Path]) -> Encoder:
    backbone = BackboneSettings(str(checkpoints[request.param]))
    return Encoder.from_recipe(Recipe(backbone=backbone, experts=ExpertSettings(1, 1)), TEXTS, TwoTowers)


def test_both_together_are_the_normalised_sum(towers: Encoder, image: Callable[..., Image.Image]) -> None:
    t, i = towers.encode(TEXTS[0])[0], towers.encode(image("navy"))[0]
    both = towers.encode(Product("1", TEXTS[0], images=[image("navy")]))[0]
    assert both == pytest.approx((t + i) / np.linalg.norm(t + i), abs=1e-5)


def test_no_view_depends_on_the_other_modality_or_on_its_neighbours(
    towers: Encoder, image: Callable[..., Image.Image]
) -> None:
    images = [image("navy"), image("red", (48, 32))]
    products = [
        Product("two", TEXTS[0], images=images),
        Product("one", TEXTS[1], images=images[:1]),
        Product("words", TEXTS[1]),
    ]
    views = towers.encode_views(products)
    assert views["t"][0] == pytest.approx(towers.encode(TEXTS[0])[0], abs=1e-5)
    assert views["i"][1] == pytest.approx(towers.encode(images[0])[0], abs=1e-5)
    assert np.isnan(views["i"][2]).all()
    assert views["mm"][2] == pytest.approx(views["t"][1], abs=1e-5)
    assert np.abs(views["i"][0] - views["i"][1]).max() > 1e-3, "the second image counts too"


def test_saved_it_opens_by_the_name_of_its_network(
    towers: Encoder, image: Callable[..., Image.Image], tmp_path: Path
) -> None:
    product = Product("1", TEXTS[0], images=[image()])
    towers.save_pretrained(tmp_path)
    for load in (load_own, load_encoder):
        opened = load(tmp_path)
        assert isinstance(opened, Encoder) and type(opened.model) is TwoTowers
        assert np.array_equal(opened.encode([product]), towers.encode(product))
    with pytest.raises(EncoderError, match=r"two_towers\.TwoTowers; open it with moon2\.encoders\.load\.load_encoder"):
        Encoder.from_pretrained(tmp_path)


def test_with_experts_it_is_refused(small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"experts\.count is 4; it must be 1 for two towers"):
        train(data=shop.folder, out=tmp_path / "run", recipe=small_recipe())
    assert not (tmp_path / "run").exists()
