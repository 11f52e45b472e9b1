"""The consistency filter: where it draws the line, that any encoder can judge, and that it only judges what it can."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.dual_checkpoints import write_dual_checkpoint

from moon2.augment import consistency
from moon2.augment.consistency import PASSING, calibrated_threshold, sample_pairs, similarities
from moon2.augment.errors import AugmentationError
from moon2.augment.stages import Batch, JudgeStage
from moon2.catalog.store import Catalog, write_catalog
from moon2.encoders.load import load_encoder
from moon2.model.encoder import Encoder
from moon2.recipe import BackboneSettings, Recipe, TinySettings
from moon2.records import Product


class BrightnessEncoder:
    """An image's vector is its brightness as an angle; a text's is the angle that it names."""

    def encode(self, items: Sequence[Any], *, view: str) -> np.ndarray:
        angles = [item.getpixel((0, 0))[0] / 255 if view == "i" else float(item) for item in items]
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def grey(level: int) -> Image.Image:
    return Image.new("RGB", (4, 4), (level, level, level))


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (20, 30, 3), dtype=np.uint8))


def test_nineteen_in_twenty_of_the_shops_own_pairs_reach_the_threshold(tmp_path: Path) -> None:
    # The n-th image is n/255 brighter than its title says; the last title differs, as two must.
    products = [
        Product(id=str(n), title=f"{100 / 255 + (n == 100) * 1e-6:.6f}", images=(grey(100 + n),)) for n in range(101)
    ]
    catalog = write_catalog(tmp_path / "shop", {"train": products}, title="shop")
    threshold = calibrated_threshold(BrightnessEncoder(), catalog, "train", seed=0)
    assert threshold == pytest.approx(np.cos(95 / 255), abs=0.005)


def test_few_images_are_open_at_once_and_the_threshold_is_that_of_all(
    shop: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Encoder(BrightnessEncoder):
        def encode(self, items: Sequence[Any], *, view: str) -> np.ndarray:
            return super().encode(items if view == "i" else [len(item) / 50 for item in items], view=view)

    wanted = np.quantile(similarities(Encoder(), [*sample_pairs(shop, "train", seed=0)]), 1 - PASSING)
    opened, most = [], 0

    def open_image(*arguments: Any, **options: Any) -> Image.Image:
        nonlocal most
        image = consistency_open_image(*arguments, **options)
        opened.append(weakref.ref(image))
        most = max(most, sum(one() is not None for one in opened))
        return image

    consistency_open_image = consistency.open_image
    monkeypatch.setattr(consistency, "open_image", open_image)
    monkeypatch.setattr(consistency, "PAIRS_AT_ONCE", 20)
    assert calibrated_threshold(Encoder(), shop, "train", seed=0) == pytest.approx(wanted, abs=1e-6)
    assert len(opened) > 200 and most <= 20 + 1


def test_a_shop_with_one_title_has_no_threshold(tmp_path: Path) -> None:
    products = [Product(id=str(number), title="0.5", images=(grey(100),)) for number in range(3)]
    for some in ([], products):
        catalog = write_catalog(tmp_path / f"{len(some)}", {"train": [*some, Product("t", "bag")]}, title="shop")
        with pytest.raises(AugmentationError, match=r"too few products .*; set consistency\.threshold"):
            calibrated_threshold(BrightnessEncoder(), catalog, "train", seed=0)


@pytest.fixture(scope="module")
def moon2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = TinySettings(vocabulary=300, width=32, layers=2, heads=2, feed_forward=48, vision_width=32, vision_layers=1)
    folder = tmp_path_factory.mktemp("moon2")
    Encoder.from_recipe(Recipe(backbone=BackboneSettings(tiny=sizes)), ["red shoes"]).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["clip", "siglip", "moon2"])
def test_any_encoder_of_text_and_images_can_judge(kind: str, moon2_folder: Path, tmp_path: Path) -> None:
    folder = moon2_folder if kind == "moon2" else write_dual_checkpoint(kind, tmp_path)
    encoder = load_encoder(folder)
    pairs = [(noise(seed), text) for seed, text in enumerate(["red shoes", "a navy shirt", "bag"])]
    together = similarities(encoder, pairs)
    assert together.shape == (3,) and (np.abs(together) <= 1 + 1e-5).all()
    alone = [similarities(encoder, [pair])[0] for pair in pairs]
    assert together == pytest.approx(np.array(alone), abs=1e-5)


def test_pairs_are_drawn_from_the_catalog(shop: Catalog) -> None:
    titles = [[title for _, title in sample_pairs(shop, "train", seed, number=20)] for seed in (0, 0, 1)]
    assert len(titles[0]) == 20
    assert titles[0] == titles[1] != titles[2]


def test_a_product_without_an_image_or_a_title_is_not_judged(moon2_folder: Path) -> None:
    text = Product("text", "red shoes", enriched_title="red leather shoes", provenance={"enriched_title": "{}"})
    image = Product("image", images=(noise(0),), expanded_images=(noise(1),), provenance={"expanded_images": "[{}]"})
    batch = JudgeStage(str(moon2_folder), threshold=2.0)(Batch([text, image], []))  # no cosine can reach 2
    assert batch.products == [text, image] and not batch.rejected
