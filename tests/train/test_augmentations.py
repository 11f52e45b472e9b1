"""Augmentations reach products in training, in the drawn proportion; never a query, never an evaluation."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from support.some_items import joint_rows, text_rows

from moon2 import Encoder, Product, Query
from moon2.catalog.store import Catalog, write_catalog
from moon2.catalog.triplets import Triplet, training_triplets
from moon2.images import open_image
from moon2.model.items import Item
from moon2.recipe import AugmentationSettings, ImageTransformSettings, Recipe, RecipeError
from moon2.train import augmentations
from moon2.train.augmentations import draw_augmentations
from moon2.train.stream import TripletStream
from moon2.train.train import run_training

WORDS = ["navy", "red", "green shirt"]


def encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def silent(subject: str, message: str) -> None:
    raise AssertionError(f"no warning was expected: {subject}: {message}")


def enriched(product: Product) -> Product:
    """The product with augmentations: a longer title, and its image mirrored, upside down, and in grey."""
    image = Image.open(io.BytesIO(product.images[0])).convert("RGB")
    variants = [ImageOps.mirror(image), ImageOps.flip(image), ImageOps.grayscale(image).convert("RGB")]
    return replace(
        product,
        enriched_title=f"finest {product.title} of cotton",
        expanded_images=[encoded(variant) for variant in variants],
        provenance={"enriched_title": "made by the test"},
    )


def copy_with(shop: Catalog, folder: Path, change: Callable[[Product], Product]) -> Catalog:
    products = {"train": [change(product) for product in shop.products("train")]}
    return write_catalog(folder, products, {"train": shop.interactions("train")}, title="Shop")


@pytest.fixture(scope="module")
def richer(shop: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """The shop with augmentations to every product but the red ones."""
    return copy_with(
        shop,
        tmp_path_factory.mktemp("richer") / "data",
        lambda product: product if product.id.startswith("red") else enriched(product),
    )


@pytest.fixture
def new_stream(new_encoder: Callable[..., Encoder]) -> Callable[..., TripletStream]:
    processor = new_encoder("input.max_text_tokens=20").processor

    def make(catalog: Catalog, augment: ImageTransformSettings | None = None, **augmentations: object) -> TripletStream:
        triplets = training_triplets(catalog)
        settings = AugmentationSettings(**augmentations)
        flips = augment or ImageTransformSettings()
        length = 8 * len(triplets)
        return TripletStream(triplets, catalog, processor, flips, settings, length=length, seed=3)

    return make


def products_of(stream: TripletStream) -> Iterable[tuple[str, Item]]:
    """Ids and items of all positives and negatives of a stream."""
    for index in range(len(stream)):
        example = stream[index]
        outline = example.outline
        yield outline.positive_id, example.positive
        if example.negative is not None and outline.negative_id is not None:
            yield outline.negative_id, example.negative


def content(item: Item | None) -> tuple[str, str, list[bytes]] | None:
    return item and (item.text, item.added_text, [image.tobytes() for image in item.images])


def test_without_augmentations_in_use_the_stream_is_that_of_a_catalog_without_any(
    shop: Catalog, richer: Catalog, new_stream: Callable[..., TripletStream]
) -> None:
    flips = ImageTransformSettings(flip=True, crop=0.2)
    plain, ignoring = new_stream(shop, flips), new_stream(richer, flips, use="none", keep_original=0.0)
    always_kept = new_stream(richer, flips, use="draw", keep_original=1.0)
    for index in range(len(plain)):
        one = plain[index]
        for other in (ignoring[index], always_kept[index]):
            for part in ("query", "positive", "negative"):
                assert content(getattr(one, part)) == content(getattr(other, part))
            assert one.outline.positive_id == other.outline.positive_id
            assert one.outline.negative_id == other.outline.negative_id


@pytest.mark.parametrize("use", ["concatenate", "draw"])
def test_an_example_depends_on_seed_and_index_alone(
    use: str, richer: Catalog, new_stream: Callable[..., TripletStream]
) -> None:
    flips = ImageTransformSettings(flip=True)
    forward, backward = (new_stream(richer, flips, use=use, images=2) for _ in range(2))
    last = range(len(forward))[::-1]
    later = {index: [content(part) for part in parts(backward, index)] for index in last}
    assert all([content(part) for part in parts(forward, index)] == later[index] for index in range(len(forward)))


def parts(stream: TripletStream, index: int) -> list[Item | None]:
    example = stream[index]
    return [example.query, example.positive, example.negative]


def test_concatenated_are_the_enriched_title_and_some_expanded_images(
    richer: Catalog, new_stream: Callable[..., TripletStream]
) -> None:
    stream = new_stream(richer, use="concatenate", keep_original=0.0, images=2)
    chosen: Counter[tuple[int, ...]] = Counter()
    for id, item in products_of(stream):
        product = richer.product(id)
        if id.startswith("red"):
            assert (item.added_text, len(item.images)) == ("", 1)
            continue
        assert (item.text, item.added_text) == (product.title, product.enriched_title)
        main, *added = item.images
        assert main == open_image(product.images[0])
        expanded = [open_image(image) for image in product.expanded_images]
        if id == "navy-bag":  # all its images differ
            chosen[tuple(expanded.index(image) for image in added)] += 1
    assert set(chosen) == {(0, 1), (0, 2), (1, 2)}


def test_drawn_ones_take_the_place_of_the_title_and_of_the_main_image() -> None:
    own, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "white")
    expanded = [Image.new("RGB", (8, 8), colour) for colour in ("green", "blue")]
    product = Product("1", "bag", images=[own, second], enriched_title="red bag", expanded_images=expanded)
    random = np.random.default_rng(0)
    settings = AugmentationSettings("draw", keep_original=0.4)
    drawn = [draw_augmentations(product, settings, random, silent) for _ in range(4000)]
    assert all(not one.added_text and not one.added_images for one in drawn)
    assert all(len(one.product.images) == 2 and one.product.images[1] is second for one in drawn)
    titles = Counter(one.product.title for one in drawn)
    colours = Counter(one.product.images[0].getpixel((0, 0)) for one in drawn)
    assert titles["red bag"] / 4000 == pytest.approx(0.6 / 2, abs=0.03)
    assert colours[255, 0, 0] / 4000 == pytest.approx(0.4 + 0.6 / 3, abs=0.03)
    assert colours[0, 0, 255] / 4000 == pytest.approx(0.6 / 3, abs=0.03)


def test_the_original_is_kept_as_often_as_asked(richer: Catalog, new_stream: Callable[..., TripletStream]) -> None:
    items = [item for id, item in products_of(new_stream(richer, use="concatenate", keep_original=0.3)) if id[0] != "r"]
    kept = sum(not item.added_text for item in items) / len(items)
    assert 0.2 < kept < 0.4
    assert all(bool(item.added_text) == (len(item.images) == 4) for item in items)


@pytest.mark.parametrize("use", ["concatenate", "draw"])
def test_a_query_is_never_augmented(use: str, richer: Catalog, new_stream: Callable[..., TripletStream]) -> None:
    """Not even one that shows the photo of a product which has some."""
    stream = new_stream(richer, use=use, keep_original=0.0)
    photo = open_image(richer.product("navy-shirt").images[0])
    shown = 0
    for index in range(len(stream)):
        example = stream[index]
        assert not example.query.added_text and "finest" not in example.query.text and len(example.query.images) <= 1
        if example.query.text == "in green":
            assert example.query.images == [photo]
            shown += 1
    assert shown == 8


@pytest.mark.parametrize("use", ["concatenate", "draw"])
def test_products_are_told_apart_by_their_own_titles(
    use: str, richer: Catalog, new_stream: Callable[..., TripletStream]
) -> None:
    stream = new_stream(richer, use=use, keep_original=0.0)
    for index in range(len(stream)):
        example = stream[index]
        ids = (example.outline.positive_id, example.outline.negative_id)
        titles = tuple(richer.product(id).title if id else "" for id in ids)
        assert example.outline.own_texts == titles


@pytest.mark.parametrize("use", ["concatenate", "draw", "none"])
def test_the_text_that_is_drawn_is_known_without_reading_an_image(
    use: str, richer: Catalog, new_stream: Callable[..., TripletStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process of a run makes the masks of the whole batch, and opens the images of its own share alone."""
    stream = new_stream(richer, use=use, keep_original=0.3, images=2)
    examples = [stream[index] for index in range(len(stream))]
    monkeypatch.setattr(augmentations, "open_image", None)
    monkeypatch.setattr(stream.processor, "item", None)
    for index, example in enumerate(examples):
        outline = stream.outline(index)
        assert outline == example.outline
        products = (example.positive, example.negative or Item())
        assert outline.texts == tuple(f"{item.text}\n{item.added_text}".strip() for item in products)
    texts = {text for example in examples for text in example.outline.texts}
    assert any("finest" in text for text in texts) == (use != "none")


def test_a_product_without_a_title_gets_the_enriched_one_as_its_text(
    shop: Catalog, new_encoder: Callable[..., Encoder], tmp_path: Path
) -> None:
    catalog = copy_with(shop, tmp_path / "data", lambda product: replace(enriched(product), title=""))
    triplets = [Triplet(Query("q", "navy"), "navy-bag", ("green-bag",), frozenset({"navy-bag"}))]
    settings = AugmentationSettings("concatenate", keep_original=0.0)
    processor = new_encoder().processor
    stream = TripletStream(triplets, catalog, processor, ImageTransformSettings(), settings, length=1, seed=0)
    example = stream[0]
    assert example.negative is not None
    assert (example.positive.text, example.negative.text) == ("finest navy bag of cotton", "finest green bag of cotton")


def test_each_title_is_cut_at_its_own_length(new_encoder: Callable[..., Encoder]) -> None:
    processor = new_encoder("input.max_text_tokens=5").processor
    image = Image.new("RGB", (32, 32), "navy")
    long = "navy shirt " * 20
    items = [Item(long, [image]), Item(long, [image, image], long), Item("red", [image], "red"), Item("red", [], long)]
    batch = processor.batch(items)
    texts = text_rows(batch)
    rows = [batch.input_ids[texts[number]].tolist() for number in range(4)]
    assert [len(row) for row in rows[:2]] == [5, 10]
    assert rows[1][:5] == rows[0]
    red, line_break = (processor.tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("red", "\n"))
    assert rows[2] == [*red, *line_break, *red]
    joints = joint_rows(batch)
    words = [int((batch.is_pooled & ~batch.is_image)[joints[number]].sum()) for number in range(3)]
    assert words == [len(row) for row in rows[:3]]


def test_the_views_of_what_is_concatenated_are_those_of_separate_passes(
    richer: Catalog, new_stream: Callable[..., TripletStream], new_encoder: Callable[..., Encoder]
) -> None:
    """r^i is of the original and expanded images, r^t of both titles, whether or not the other is there."""
    encoder = new_encoder("input.max_text_tokens=20")
    stream = new_stream(richer, use="concatenate", keep_original=0.0)
    items = [item for _, item in products_of(stream)][:6]
    assert any(item.added_text for item in items)
    with torch.no_grad():
        together = encoder.model(encoder.processor.batch(items))
        images = encoder.model(encoder.processor.batch([Item("", item.images) for item in items]))
        texts = encoder.model(encoder.processor.batch([Item(item.text, [], item.added_text) for item in items]))
    torch.testing.assert_close(together.vectors["i"], images.vectors["i"], rtol=0, atol=1e-5)
    torch.testing.assert_close(together.vectors["t"], texts.vectors["t"], rtol=0, atol=1e-5)
    assert not torch.allclose(together.vectors["i"][0], together.vectors["mm"][0], atol=1e-3)


@pytest.mark.parametrize(("use", "images"), [("concatenate", 2), ("draw", 1)])
def test_an_expanded_image_that_cannot_be_read_is_done_without(
    use: str,
    images: int,
    shop: Catalog,
    new_stream: Callable[..., TripletStream],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def spoil(product: Product) -> Product:
        return replace(product, expanded_images=[b"no image", product.images[0]][: 2 if use == "concatenate" else 1])

    stream = new_stream(copy_with(shop, tmp_path / "data", spoil), use=use, keep_original=0.0)
    assert {len(item.images) for _, item in products_of(stream)} == {images}
    reason = "expanded image 0: cannot be read as an image (of no known format); trained without it"
    warnings = [record.getMessage() for record in caplog.records]
    assert [line for line in warnings if "navy-bag" in line] == [f"product 'navy-bag': {reason}"]


def test_flips_are_for_expanded_images_too(richer: Catalog, new_stream: Callable[..., TripletStream]) -> None:
    stream = new_stream(richer, ImageTransformSettings(flip=True), use="concatenate", keep_original=0.0)
    upside_down = open_image(richer.product("navy-bag").expanded_images[1])
    sides = {
        image.tobytes() == upside_down.tobytes()
        for id, item in products_of(stream)
        if id == "navy-bag"
        for image in item.images[2:3]
    }
    assert sides == {True, False}


@pytest.mark.parametrize("use", ["concatenate", "draw"])
def test_a_run_with_augmentations_learns_from_them_and_resumes_to_the_same(
    use: str, richer: Catalog, small_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    flips = "image_transforms.flip=true"
    recipe = small_recipe("training.steps=3", "training.save_every=1", f"augmentations.use={use}", flips)
    run_training(recipe, richer, tmp_path / "run")
    whole = Encoder.from_pretrained(tmp_path / "run").encode(WORDS)
    run_training(small_recipe("training.steps=3", flips), richer, tmp_path / "without")
    assert not np.array_equal(whole, Encoder.from_pretrained(tmp_path / "without").encode(WORDS))
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-00000003")
    run_training(recipe, richer, tmp_path / "run", resume=True)
    assert np.array_equal(whole, Encoder.from_pretrained(tmp_path / "run").encode(WORDS))


def test_asking_for_augmentations_that_are_not_there_is_refused_at_once(
    shop: Catalog, small_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=r"catalog has no augmentations.*run `moon2 augment") as caught:
        run_training(small_recipe("augmentations.use=draw"), shop, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_run_does_not_go_on_with_other_augmentations(
    richer: Catalog, small_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = small_recipe("training.steps=1", "augmentations.use=draw")
    run_training(recipe, richer, tmp_path / "run")
    others = copy_with(
        richer,
        tmp_path / "data",
        lambda product: replace(product, enriched_title=product.enriched_title and "something else"),
    )
    with pytest.raises(RecipeError, match="was begun on other data"):
        run_training(recipe, others, tmp_path / "run", resume=True)


def test_encoding_ignores_augmentations(shop: Catalog, richer: Catalog, new_encoder: Callable[..., Encoder]) -> None:
    encoder = new_encoder()
    plain, more = ([catalog.product(id) for id in shop.ids()] for catalog in (shop, richer))
    assert any(product.expanded_images for product in more)
    for view, vectors in encoder.encode_views(plain).items():
        assert np.array_equal(vectors, encoder.encode_views(more)[view])
    assert np.array_equal(encoder.encode(plain), encoder.encode(more))
