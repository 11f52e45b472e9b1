"""How frequent labels are, from the catalog to the loss."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from moon2 import Encoder, Product, Query
from moon2.catalog.store import Catalog, CatalogError, write_catalog
from moon2.catalog.triplets import Triplet
from moon2.recipe import AugmentationSettings, ImageTransformSettings, RecipeError, load_recipe
from moon2.train.batches import TripletOutline, triplet_masks
from moon2.train.label_shares import label_log_shares, log_share_of
from moon2.train.stream import TripletStream


@pytest.fixture(scope="module")
def coats(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Two black coats, a charcoal one and one without a colour; a test product does not count."""
    colours = ({"colour": "black"}, {"colour": "black", "fit": "slim"}, {"colour": "charcoal"}, {})
    train = [Product(str(number), "Coat", attributes=colour) for number, colour in enumerate(colours)]
    test = [Product("t", "Coat", attributes={"colour": "charcoal"})]
    return write_catalog(tmp_path_factory.mktemp("coats") / "shop", {"train": train, "test": test}, title="Coats")


def test_shares_are_those_of_training_products_weighed(coats: Catalog) -> None:
    shares = label_log_shares(coats, {"colour": 0.5, "fit": 1.0})
    assert shares["colour"] == pytest.approx(
        {"black": math.log(0.5) / 2, "charcoal": math.log(0.25) / 2, "": math.log(0.25) / 2}
    )
    slim_black = coats.product("1")
    assert log_share_of(slim_black, shares) == pytest.approx(math.log(0.5) / 2 + math.log(0.25))
    assert log_share_of(Product("new", "Coat", attributes={"colour": "jade", "fit": "wide"}), shares) == 0
    assert label_log_shares(coats, {}) == {}


def test_an_attribute_that_no_product_has_is_named(coats: Catalog) -> None:
    with pytest.raises(CatalogError, match=r"no product to train on has the attribute 'color'; did you mean 'colour'"):
        label_log_shares(coats, {"color": 0.5})
    with pytest.raises(RecipeError, match=r"alignment.label_shares is \{'colour': 2.0\}; it must be 0 to 1 each"):
        load_recipe(None, ["alignment.label_shares.colour=2"])


def test_both_products_of_a_triplet_bring_theirs_into_the_batch(
    coats: Catalog, new_encoder: Callable[..., Encoder]
) -> None:
    shares = label_log_shares(coats, {"colour": 0.5})
    triplets = [
        Triplet(Query("q", "coat"), "0", ("2",), frozenset({"0"})),
        Triplet(Query("r", "coat"), "3", (), frozenset({"3"})),
    ]
    plain = ImageTransformSettings(), AugmentationSettings()
    stream = TripletStream(triplets, coats, new_encoder().processor, *plain, length=2, seed=0, log_shares=shares)
    outlines = sorted((stream.outline(index) for index in range(2)), key=lambda outline: outline.positive_id)
    # Two positives, a black coat and one without a colour, then the negative, which is charcoal.
    expected = torch.tensor([math.log(0.5), math.log(0.25), math.log(0.25)]) / 2
    torch.testing.assert_close(triplet_masks(outlines).log_share, expected)
    assert triplet_masks([TripletOutline("a", None, frozenset())]).log_share is None
