"""Settings are checked before any work."""

from __future__ import annotations

import pytest

from moon2.augment.settings import CoAugmentationSettings, ConsistencySettings, ImageSettings, TextSettings
from moon2.recipe import RecipeError


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"text": TextSettings(concurrency=0)}, "text.concurrency"),
        ({"text": TextSettings(provider="openai")}, "text.model"),
        ({"text": TextSettings(max_tokens=0)}, "text.max_tokens"),
        ({"text": TextSettings(provider="openai", model="m", base_url="localhost:8000/v1")}, "text.base_url.*http://"),
        ({"images": ImageSettings(provider="diffusers")}, "images.model"),
        ({"images": ImageSettings(count=-1)}, "images.count"),
        ({"images": ImageSettings(timeout=0)}, "images.timeout"),
        ({"text": TextSettings(provider="none"), "images": ImageSettings(provider="none")}, "text.provider"),
        ({"consistency": ConsistencySettings(threshold=0.2)}, "consistency.checkpoint"),
        ({"consistency": ConsistencySettings("judge", threshold=95)}, "consistency.threshold is 95.*-1 to 1"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(wrong: dict, named: str) -> None:
    with pytest.raises(RecipeError, match=named) as error:
        CoAugmentationSettings(**wrong)
    assert "\n" not in str(error.value)


def test_the_prices_are_those_of_a_million_tokens() -> None:
    settings = TextSettings(price_in=2.0, price_out=10.0)
    assert settings.cost(tokens_in=3_000_000, tokens_out=500_000) == pytest.approx(6.0 + 5.0)
