"""The opencv provider: counts, determinism, faithful colours, and rows that cannot be expanded."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from moon2.augment.images.opencv import FAMILIES, LONGEST_SIDE, OpenCVProvider, cut_out
from moon2.augment.images.provider import Expansion
from moon2.augment.providers import image_provider
from moon2.augment.settings import ImageSettings
from moon2.records import Product

COLOURS = {"navy": (24, 34, 92), "red": (196, 36, 44), "olive": (104, 108, 48), "grey": (128, 128, 130)}


def _photo(colour: tuple[int, int, int], height: int = 80, width: int = 60, lossless: bool = True) -> bytes:
    """A shirt-like shape with a print, on white."""
    picture = np.full((height, width, 3), 255, np.uint8)
    unit_y, unit_x = height // 8, width // 6
    cv2.rectangle(picture, (2 * unit_x, 2 * unit_y), (4 * unit_x, 6 * unit_y), colour, -1)
    cv2.rectangle(picture, (unit_x, 2 * unit_y), (5 * unit_x, 3 * unit_y), colour, -1)
    cv2.circle(picture, (3 * unit_x, 4 * unit_y), unit_x // 2, (250, 220, 60), -1)
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "WEBP", lossless=lossless)
    return stream.getvalue()


def _products() -> list[Product]:
    return [Product(id=name, title=name, images=(_photo(colour),)) for name, colour in COLOURS.items()]


def _pixels(image: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(image)).convert("RGB")).astype(np.float32)


def _product_colour(picture: np.ndarray, where: np.ndarray | None = None) -> np.ndarray:
    """The mean over the product's inner pixels: darker than white and studio, away from the print and the edge."""
    dark = (picture if where is None else where).mean(axis=2) < 150
    inner = cv2.erode(dark.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return picture[inner].mean(axis=0)


@pytest.mark.parametrize("count", [0, 1, 3, 6])
def test_as_many_variants_as_asked_for_of_the_photos_size(count: int) -> None:
    for expansion in OpenCVProvider().expand(_products(), count, seed=0):
        assert expansion.reason == "" and expansion.main is not None
        assert len(expansion.variants) == count
        for image in (expansion.main, *(variant.image for variant in expansion.variants)):
            assert _pixels(image).shape == (80, 60, 3)
        kinds = [variant.kind for variant in expansion.variants]
        assert len(set(kinds)) == min(count, len(FAMILIES)) and set(kinds) <= set(FAMILIES)


def test_a_product_gets_the_same_in_any_batch_and_order() -> None:
    provider, products = OpenCVProvider(), _products()
    together = provider.expand(products, 4, seed=5)
    backwards = OpenCVProvider().expand(products[::-1], 4, seed=5)[::-1]
    alone = [OpenCVProvider().expand([product], 4, seed=5)[0] for product in products]
    assert together == backwards == alone


def test_asking_for_more_changes_none_of_the_others() -> None:
    few, many = (OpenCVProvider().expand(_products(), count, seed=0) for count in (2, 5))
    assert [one.variants for one in few] == [one.variants[:2] for one in many]


def test_seed_and_id_each_change_the_variants_but_not_the_main_image() -> None:
    photo = _photo(COLOURS["navy"])
    provider = OpenCVProvider()
    first, other_seed = (provider.expand([Product(id="a", images=(photo,))], 3, seed)[0] for seed in (0, 1))
    other_id = provider.expand([Product(id="b", images=(photo,))], 3, 0)[0]
    assert first.variants != other_seed.variants and first.variants != other_id.variants
    assert first.main == other_seed.main == other_id.main


def test_the_colour_stays_that_of_the_product() -> None:
    for product, expansion in zip(_products(), OpenCVProvider().expand(_products(), 8, seed=2), strict=True):
        true = np.array(COLOURS[product.id], np.float32)
        assert expansion.main is not None
        main = _pixels(expansion.main)
        assert np.abs(_product_colour(main) - true).max() < 8
        for variant in expansion.variants:
            # Exposure may change by an eighth and a ramp of a tenth; the colour's name may not.
            # A drawn wood is dark too, but before another backdrop the product stands where it stood.
            where = main if variant.kind == "background" else None
            off = np.abs(_product_colour(_pixels(variant.image), where) - true).max()
            assert off < (0.25 * true.max() + 6 if variant.kind == "lighting" else 12), (product.id, variant.kind)


def test_variants_contain_the_product() -> None:
    def colours(picture: np.ndarray) -> np.ndarray:
        # The product's pixels alone: what is saturated or dark, which no studio backdrop is.
        kept = picture[(picture.max(axis=2) - picture.min(axis=2) > 60) | (picture.max(axis=2) < 140)]
        histogram, _ = np.histogramdd(kept, bins=(4, 4, 4), range=((0, 256),) * 3)
        return histogram / max(histogram.sum(), 1)

    products = [product for product in _products() if product.id in ("navy", "red")]
    for expansion in OpenCVProvider().expand(products, 8, seed=3):
        assert expansion.main is not None
        main = colours(_pixels(expansion.main))
        for variant in expansion.variants:
            if variant.kind == "lighting" or "outdoors" in variant.prompt or "table" in variant.prompt:
                continue  # other light moves colours across bins; greens and wood are saturated themselves
            assert np.minimum(main, colours(_pixels(variant.image))).sum() > 0.6, (variant.kind, variant.prompt)


def test_the_main_image_is_clean_white_around_the_product() -> None:
    random = np.random.default_rng(0)
    picture = np.array(Image.open(io.BytesIO(_photo(COLOURS["red"], 160, 120)))).astype(np.float32)
    backdrop = np.full_like(picture, 200) + random.normal(0, 1.5, picture.shape)
    picture = np.where(picture.min(axis=2, keepdims=True) > 250, backdrop, picture)
    stream = io.BytesIO()
    Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(stream, "PNG")
    expansion = OpenCVProvider().expand([Product(id="grey wall", images=(stream.getvalue(),))], 0, 0)[0]
    assert expansion.main is not None
    main = _pixels(expansion.main)
    assert min(main[:6].min(), main[-6:].min(), main[:, :5].min(), main[:, -5:].min()) > 248
    assert np.abs(_product_colour(main) - COLOURS["red"]).max() < 10


def test_a_large_photo_is_capped() -> None:
    product = Product(id="large", images=(_photo(COLOURS["olive"], 1000, 750),))
    expansion = OpenCVProvider().expand([product], 2, 0)[0]
    assert expansion.main is not None
    assert all(max(_pixels(image).shape) == LONGEST_SIDE for image in (expansion.main, expansion.variants[0].image))


def test_an_unclear_photo_is_kept_and_said_to_be() -> None:
    noise = np.random.default_rng(1).integers(0, 40, (80, 60, 3)).astype(np.uint8) + 100
    blank = np.full((80, 60, 3), 255, np.uint8)
    for name, picture in {"blank": blank, "noise": noise}.items():
        if cut_out(picture).found:
            continue
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "PNG")
        expansion = OpenCVProvider().expand([Product(id=name, images=(stream.getvalue(),))], 4, 0)[0]
        assert expansion.main is not None and expansion.reason.startswith("main-unsegmented: ")
        assert np.abs(_pixels(expansion.main) - picture).mean() < 12
        assert len(expansion.variants) == 4
        assert "background" not in [variant.kind for variant in expansion.variants]
    assert not cut_out(blank).found


def test_bad_rows_have_a_reason_and_the_rest_goes_on() -> None:
    whole = _products()[0]
    rows = [
        Product(id="words only", title="A shirt"),
        Product(id="broken", images=(b"not a picture",)),
        Product(id="cut short", images=(_photo(COLOURS["red"])[:60],)),
        Product(id="missing", images=("/no/such/file.jpg",)),
        whole,
    ]
    made = OpenCVProvider().expand(rows, 2, seed=0)
    assert [one.reason.split(":")[0] for one in made] == ["no_image", *["unreadable_picture"] * 3, ""]
    assert all(one == Expansion(None, (), one.reason) for one in made[:4])
    assert made[4] == OpenCVProvider().expand([whole], 2, seed=0)[0]


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (8, 8), (9, 40)])
@pytest.mark.parametrize("dark", [False, True])
def test_odd_sizes_do_not_raise(size: tuple[int, int], dark: bool) -> None:
    picture = Image.new("RGB", size, "white")
    if dark:
        picture.paste((10, 10, 10), (size[0] // 3, size[1] // 3, 1 + 2 * size[0] // 3, 1 + 2 * size[1] // 3))
    expansion = OpenCVProvider().expand([Product(id="odd", images=(picture,))], 4, 0)[0]
    assert expansion.main is not None and len(expansion.variants) == 4


def test_the_factory_gives_it() -> None:
    provider = image_provider(ImageSettings())
    assert (provider.name, provider.model, provider.prompt) == ("opencv", "", "opencv-v1")
