"""What can be set is checked before any work; what is drawn belongs to a product, not to its place in a batch."""

from __future__ import annotations

import pytest

from moon2.augment.settings import (
    AugmentationError,
    CoAugmentationSettings,
    ConsistencySettings,
    ImageSettings,
    TextSettings,
    product_random,
)
from moon2.jobs.ray_pools import pools_for


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"text": TextSettings(concurrency=0)}, "text.concurrency"),
        ({"text": TextSettings(provider="openai")}, "text.model"),
        ({"text": TextSettings(max_tokens=0)}, "text.max_tokens"),
        ({"images": ImageSettings(provider="diffusers")}, "images.model"),
        ({"images": ImageSettings(count=-1)}, "images.count"),
        ({"images": ImageSettings(timeout=0)}, "images.timeout"),
        ({"text": TextSettings(provider="none"), "images": ImageSettings(provider="none")}, "text.provider"),
        ({"consistency": ConsistencySettings(threshold=0.2)}, "consistency.checkpoint"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(wrong: dict, named: str) -> None:
    with pytest.raises(AugmentationError, match=named) as found:
        CoAugmentationSettings(**wrong)
    assert "\n" not in str(found.value)


def test_the_prices_are_those_of_a_million_tokens() -> None:
    settings = TextSettings(price_in=2.0, price_out=10.0)
    assert settings.cost(tokens_in=3_000_000, tokens_out=500_000) == pytest.approx(6.0 + 5.0)


def test_draws_belong_to_seed_and_product() -> None:
    first = product_random(0, "p1").random(4).tolist()
    assert product_random(0, "p1").random(4).tolist() == first
    others = [product_random(1, "p1"), product_random(0, "p2"), product_random(0, "p1", 1)]
    assert all(other.random(4).tolist() != first for other in others)


def test_stages_that_compute_alike_share_workers_and_ask_for_no_more_than_there_is() -> None:
    (alone,) = pools_for(CoAugmentationSettings(), False, workers=4, gpus=0)
    assert alone.names == ("read", "enrich", "expand", "write")

    server = CoAugmentationSettings(TextSettings("openai", "m"), ImageSettings("diffusers", "m"))
    pools = pools_for(server, True, workers=2, gpus=1)
    assert [pool.names for pool in pools] == [("read",), ("enrich",), ("expand", "judge", "write")]
    assert [pool.gpus for pool in pools] == [0, 0, 1]

    both = CoAugmentationSettings(TextSettings("transformers", "m"))
    pools = pools_for(both, True, workers=8, gpus=1, cores=2)
    assert [pool.names for pool in pools] == [("read",), ("enrich",), ("expand",), ("judge", "write")]
    assert sum(pool.gpus * pool.workers for pool in pools) <= 1
    assert sum(pool.cores * pool.workers for pool in pools) <= 2
