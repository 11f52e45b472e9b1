"""Backdrops have the given size, are soft, depend on the generator alone, and have their floor under the product."""

from __future__ import annotations

import numpy as np
import pytest

from moon2.augment.images.backdrops import SCENES, contact_shadow


@pytest.mark.parametrize("name", list(SCENES))
@pytest.mark.parametrize(("height", "width"), [(80, 60), (8, 8), (64, 200)])
def test_a_scene_has_the_size_and_is_a_function_of_the_seed(name: str, height: int, width: int) -> None:
    def draw(seed: int) -> np.ndarray:
        return SCENES[name](height, width, height, np.random.default_rng(seed))

    image = draw(1)
    assert image.shape == (height, width, 3) and image.dtype == np.float32
    assert image.min() >= 0 and image.max() <= 255
    assert np.array_equal(image, draw(1))
    assert not np.array_equal(image, draw(2))


def test_the_table_begins_above_the_products_feet() -> None:
    for seed in range(10):
        image = SCENES["table"](100, 60, 60, np.random.default_rng(seed))
        wall, feet, front = image[5].mean(axis=0), image[59].mean(axis=0), image[95].mean(axis=0)
        assert np.abs(feet - front).sum() < np.abs(feet - wall).sum()


def test_the_shadow_lies_where_the_product_stands() -> None:
    mask = np.zeros((80, 60), np.float32)
    mask[20:60, 20:40] = 1
    left = contact_shadow(mask)
    assert left.shape == mask.shape and 0.5 < left.min() < 0.95
    assert left[60:63, 25:35].mean() < 0.9
    assert left[:40].min() > 0.98 and left[75:].min() > 0.98


def test_no_product_has_no_shadow() -> None:
    assert np.array_equal(contact_shadow(np.zeros((8, 8), np.float32)), np.ones((8, 8), np.float32))
