"""The consistency filter: what it measures, where it draws the line, and that it only judges what it can."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.dual_checkpoints import write_dual_checkpoint

from moon2.augment.consistency import DualScorer, MoonScorer, auroc, calibrate, load_scorer, pairs_of, shuffled
from moon2.augment.settings import AugmentationError, CoAugmentationSettings, ConsistencySettings
from moon2.augment.stages import JudgeStage
from moon2.catalog.store import Catalog
from moon2.jobs.shards import Work
from moon2.model.encoder import Encoder
from moon2.recipe import BackboneSettings, Recipe, TinySettings
from moon2.records import Product


class Greyness:
    """Knows one thing: a picture as bright as the number in its title fits; every 0.01 off costs as much."""

    name = "greyness"

    def similarities(self, pictures: list[Image.Image], texts: list[str]) -> np.ndarray:
        bright = np.array([picture.getpixel((0, 0))[0] / 255 for picture in pictures])
        return (1 - np.abs(bright - np.array([float(text) for text in texts]))).astype(np.float32)


def grey(level: int) -> Image.Image:
    return Image.new("RGB", (4, 4), (level, level, level))


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (20, 30, 3), dtype=np.uint8))


def test_auroc_counts_pairs_in_the_right_order_and_ties_by_half() -> None:
    above, below = np.array([0.9, 0.8]), np.array([0.8, 0.1])
    # 0.9 > 0.8, 0.9 > 0.1, 0.8 = 0.8 counts half, 0.8 > 0.1.
    assert auroc(above, below) == pytest.approx(3.5 / 4)
    assert auroc(below, above) == pytest.approx(0.5 / 4)


def test_the_threshold_keeps_nineteen_in_twenty_of_the_shops_own_pairs() -> None:
    # The i-th picture is i/255 brighter than its title says.
    pairs = [(grey(100 + number), f"{100 / 255:.6f}") for number in range(101)]
    pairs[-1] = (pairs[-1][0], "0.9")  # titles that are all alike could not be shuffled
    found = calibrate(Greyness(), pairs, seed=0)
    assert (found.matched >= found.threshold).mean() == pytest.approx(0.95, abs=0.01)
    assert found.threshold == pytest.approx(1 - 95 / 255, abs=0.01)


def test_a_judge_that_knows_tells_own_titles_from_others() -> None:
    pairs = [(grey(level), f"{level / 255:.4f}") for level in range(0, 255, 5)]
    found = calibrate(Greyness(), pairs, seed=0)
    assert found.auroc > 0.99
    assert (found.shuffled >= found.threshold).mean() < 0.2


def test_nobody_is_given_his_own_title_or_one_of_the_same_words() -> None:
    titles = ["Red Shirt", "red shirt", "blue shoe", "bag", "bag", "lamp"]
    for seed in range(20):
        others = shuffled(titles, seed)
        assert all(titles[other].casefold() != title.casefold() for title, other in zip(titles, others, strict=True))


@pytest.fixture(scope="module")
def moon2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = TinySettings(vocabulary=300, width=32, layers=2, heads=2, feed_forward=48, vision_width=32, vision_layers=1)
    folder = tmp_path_factory.mktemp("moon2")
    Encoder.from_recipe(Recipe(backbone=BackboneSettings(tiny=sizes)), ["red shoes"]).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["clip", "siglip", "moon2"])
def test_any_encoder_of_words_and_pictures_can_judge(kind: str, moon2_folder: Path, tmp_path: Path) -> None:
    folder = moon2_folder if kind == "moon2" else write_dual_checkpoint(kind, tmp_path)
    scorer = load_scorer(str(folder))
    assert isinstance(scorer, MoonScorer if kind == "moon2" else DualScorer)
    pictures, texts = [noise(seed) for seed in range(3)], ["red shoes", "a navy shirt", "bag"]
    together = scorer.similarities(pictures, texts)
    assert together.shape == (3,) and (np.abs(together) <= 1 + 1e-5).all()
    alone = [scorer.similarities([picture], [text])[0] for picture, text in zip(pictures, texts, strict=True)]
    assert together == pytest.approx(np.array(alone), abs=1e-5)


def test_an_unknown_judge_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(AugmentationError, match="nowhere") as refusal:
        load_scorer(str(tmp_path / "nowhere"))
    assert "\n" not in str(refusal.value)


def test_pairs_are_drawn_from_the_catalog(shop: Catalog) -> None:
    pairs = pairs_of(shop, "train", seed=0, number=20)
    assert len(pairs) == 20
    assert pairs_of(shop, "train", seed=0, number=20)[3][1] == pairs[3][1]
    assert [title for _, title in pairs_of(shop, "train", seed=1, number=20)] != [title for _, title in pairs]


def test_a_product_of_one_form_passes_through(moon2_folder: Path) -> None:
    settings = CoAugmentationSettings(consistency=ConsistencySettings(str(moon2_folder), 2.0))  # nothing can reach 2
    words = Product(
        id="words", title="red shoes", enriched_title="red leather shoes", provenance={"enriched_title": "{}"}
    )
    picture = Product(
        id="picture", images=(noise(0),), expanded_images=(noise(1),), provenance={"expanded_images": "[{}]"}
    )
    work = JudgeStage(settings, 2.0)(Work([words, picture]))
    assert work.products == [words, picture] and not work.rejected
