"""The stream of triplets is a function of seed and index; a batch holds queries, then positives, then negatives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from moon2 import Encoder, Product, Query
from moon2.catalog.store import Catalog, write_catalog
from moon2.catalog.triplets import Triplet, training_triplets
from moon2.images import ReadingSize, open_image
from moon2.model.processor import Item
from moon2.recipe import AugmentationSettings, ImageTransformSettings
from moon2.train.batches import (
    TripletCollator,
    TripletExample,
    TripletStream,
    equal_mask,
    known_positive_mask,
    transform_image,
)

PLAIN = ImageTransformSettings(), AugmentationSettings()


@pytest.fixture
def new_stream(shop: Catalog, new_encoder: Callable[..., Encoder]) -> Callable[..., TripletStream]:
    """A stream of three epochs over the shop's log."""
    triplets = training_triplets(shop)
    processor = new_encoder().processor

    def make(seed: int = 0, augment: ImageTransformSettings | None = None) -> TripletStream:
        transforms = augment or ImageTransformSettings()
        return TripletStream(
            triplets, shop, processor, transforms, AugmentationSettings(), length=3 * len(triplets), seed=seed
        )

    return make


def seen(example: TripletExample | None) -> tuple[Any, ...]:
    """All of an example, in a form that compares."""
    assert example is not None
    items = [
        item and (item.text, [image.tobytes() for image in item.images])
        for item in (example.query, example.positive, example.negative)
    ]
    return (*items, example.positive_id, example.negative_id, example.known_positive_ids)


def test_an_example_depends_on_seed_and_index_alone(new_stream: Callable[..., TripletStream]) -> None:
    augment = ImageTransformSettings(flip=True, crop=0.2)
    forward, backward, other = new_stream(1, augment), new_stream(1, augment), new_stream(2, augment)
    first = [seen(forward[index]) for index in range(len(forward))]
    second = [seen(backward[index]) for index in reversed(range(len(backward)))][::-1]
    assert first == second
    assert first != [seen(other[index]) for index in range(len(other))]


def test_every_image_is_opened_at_its_reading_size_by_the_opener_given(
    shop: Catalog, new_encoder: Callable[..., Encoder], tmp_path: Path
) -> None:
    processor, opened = new_encoder().processor, []

    def opener(source: Any, where: str = "", read_at: ReadingSize | None = None) -> Image.Image:
        opened.append((where.partition(":")[0], read_at))
        return open_image(source, where, read_at)

    product = shop.product("navy-shirt")
    augmented = replace(product, enriched_title="blue", expanded_images=product.images)
    catalog = write_catalog(tmp_path / "data", {"train": [augmented]}, title="Shop")
    triplet = Triplet(Query("q", "navy", image=product.images[0]), "navy-shirt", (), frozenset({"navy-shirt"}))
    settings = AugmentationSettings(use="concatenate", keep_original=0.0)
    TripletStream([triplet], catalog, processor, PLAIN[0], settings, length=1, seed=0, opener=opener)[0]
    names = ["query 'q'", "product 'navy-shirt'", "product 'navy-shirt'"]
    assert sorted(opened, key=str) == sorted(((name, processor.reading_size) for name in names), key=str)


def test_an_epoch_holds_every_triplet_once_in_its_own_order(new_stream: Callable[..., TripletStream]) -> None:
    stream = new_stream()
    number = len(stream.triplets)
    epochs = [[seen(stream[epoch * number + place])[3] for place in range(number)] for epoch in range(3)]
    expected = Counter(triplet.positive_id for triplet in stream.triplets)
    assert [Counter(epoch) for epoch in epochs] == [expected] * 3
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_all_negatives_of_a_triplet_are_drawn_in_time(shop: Catalog, new_encoder: Callable[..., Encoder]) -> None:
    triplet = Triplet(
        Query("q", "navy"), "navy-shirt", ("red-shirt", "red-bag", "red-shoes"), frozenset({"navy-shirt"})
    )
    stream = TripletStream([triplet], shop, new_encoder().processor, *PLAIN, length=40, seed=0)
    assert {stream[index].negative_id for index in range(40)} == set(triplet.negative_ids)


def test_a_query_that_shows_a_product_gets_its_image(shop: Catalog, new_encoder: Callable[..., Encoder]) -> None:
    triplets = [triplet for triplet in training_triplets(shop) if triplet.query.id == "shown"]
    processor = new_encoder().processor
    example = TripletStream(triplets, shop, processor, *PLAIN, length=1, seed=0)[0]
    assert example is not None and example.query.text == "in green"
    assert example.query.images == processor.item(shop.product("navy-shirt")).images


def test_a_triplet_that_cannot_be_read_is_set_aside(
    tmp_path: Path, new_encoder: Callable[..., Encoder], caplog: pytest.LogCaptureFixture
) -> None:
    lost = [tmp_path / "gone.jpg"]
    products = [Product("good", "navy shirt"), Product("gone", images=lost), Product("worded", "red bag", images=lost)]
    catalog = write_catalog(tmp_path / "data", {"train": products}, title="Shop")
    triplets = [
        Triplet(Query(f"q-{id}", "shirt"), id, (), frozenset({id})) for id in ("good", "gone", "unknown", "worded")
    ]
    processor = new_encoder().processor
    stream = TripletStream(triplets, catalog, processor, *PLAIN, length=8, seed=0)
    examples = [stream[index] for index in range(4)]
    read = {example.positive_id: example for example in examples if example}
    assert read.keys() == {"good", "worded"}
    assert read["worded"].positive.text == "red bag" and not read["worded"].positive.images
    warnings = caplog.text
    assert "set aside the triplet of query 'q-gone'" in warnings and "there is no such file" in warnings
    assert "'q-unknown'" in warnings and "there is no product 'unknown'" in warnings
    batch = TripletCollator(processor)(examples)
    assert (batch.size, batch.known_positive.shape) == (2, (2, 2))
    assert "product 'worded'" in warnings and "trained on its text alone" in warnings
    caplog.clear()
    assert [stream[index] for index in range(4, 8)] and "worded" not in caplog.text  # warned once
    with pytest.raises(ValueError, match="not one triplet of a whole batch"):
        TripletCollator(processor)([None, None])


def test_a_batch_is_queries_then_positives_then_negatives(shop: Catalog, new_encoder: Callable[..., Encoder]) -> None:
    processor = new_encoder().processor
    triplets = [
        Triplet(Query("1", "navy"), "navy-shirt", ("red-bag",), frozenset({"navy-shirt", "navy-bag"})),
        Triplet(Query("2", "black bag"), "black-bag", (), frozenset({"black-bag"})),
        Triplet(Query("3", "in green", product_id="navy-bag"), "green-bag", ("red-bag",), frozenset({"green-bag"})),
    ]
    examples = {}
    for triplet in triplets:
        stream = TripletStream([triplet], shop, processor, *PLAIN, length=1, seed=0)
        examples[triplet.query.id] = stream[0]
    batch = TripletCollator(processor)([examples["1"], examples["2"], examples["3"]])
    assert batch.size == 3
    # The products: navy-shirt, black-bag, green-bag, red-bag, red-bag.
    assert batch.negative.tolist() == [3, -1, 4]
    assert batch.known_positive.tolist() == [
        [True, False, False, False, False],
        [False, True, False, False, False],
        [False, False, True, False, False],
    ]
    same = torch.eye(5, dtype=torch.bool)
    same[3, 4] = same[4, 3] = True
    assert torch.equal(batch.same_product, same)
    assert batch.items.has_text.tolist() == [True] * 8
    assert batch.items.has_images.tolist() == [False, False, True, *[True] * 5]
    texts = batch.items.text
    assert texts is not None
    first = processor.tokenizer("red bag", add_special_tokens=False)["input_ids"]
    assert texts.input_ids[7][texts.attention_mask[7]].tolist() == first
    assert torch.equal(texts.rows, torch.arange(8))


def test_images_are_mirrored_and_cropped_within_bounds() -> None:
    ramp = Image.fromarray(np.tile(np.arange(100, dtype=np.uint8), (100, 1)))
    random = np.random.default_rng(0)
    changed = [
        np.asarray(transform_image(ramp, ImageTransformSettings(flip=True, crop=0.3), random)) for _ in range(40)
    ]
    rising = [image[50, 99] > image[50, 0] for image in changed]
    assert 8 < sum(rising) < 32
    for image in changed:
        assert image.shape == (100, 100)
        assert abs(int(image[50, 99]) - int(image[50, 0])) >= 66
    assert transform_image(ramp, ImageTransformSettings(), random) is ramp


def test_known_positives_are_marked_wherever_they_turn_up() -> None:
    candidate_ids = ["shirt", "shoe", "blouse", "shirt", "bag"]
    # The first query's buyers also took the blouse; the batch holds its positive, the shirt, twice.
    mask = known_positive_mask([{"shirt", "blouse", "not in this batch"}, {"shoe"}], candidate_ids)
    assert mask.tolist() == [[True, False, True, True, False], [False, True, False, False, False]]
    assert known_positive_mask([], ["a"]).shape == (0, 1)
    assert known_positive_mask([{"a"}, ()], []).shape == (2, 0)


def test_equal_values_are_marked_both_ways() -> None:
    assert equal_mask(["a", "b", "a"]).tolist() == [[True, False, True], [False, True, False], [True, False, True]]
    assert equal_mask([]).shape == (0, 0)


def test_products_that_cannot_be_told_apart_are_the_same(new_encoder: Callable[..., Encoder]) -> None:
    """By id, by their own titles whatever was drawn for them, or by one text drawn for both."""
    collate = TripletCollator(new_encoder().processor)

    def example(id: str, text: str, title: str) -> TripletExample:
        return TripletExample(Item("query"), Item(text), None, id, None, frozenset({id}), title)

    pairs = {
        "one product": (example("a", "navy shirt", "x"), example("a", "fine cotton", "y")),
        "one title": (example("a", "navy shirt", "Shirt"), example("b", "fine cotton", "shirt")),
        "one text": (example("a", "Fine cotton", "x"), example("b", "fine cotton", "y")),
    }
    for name, pair in pairs.items():
        assert collate(pair).same_product.all(), name
    apart = collate([example("a", "navy shirt", "x"), example("b", "fine cotton", "y")])
    assert torch.equal(apart.same_product, torch.eye(2, dtype=torch.bool))
