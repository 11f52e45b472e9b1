"""The stream of triplets is a function of seed and index; a batch holds queries, then positives, then negatives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from moon2 import Encoder, Product, Query
from moon2.catalog.store import Catalog, write_catalog
from moon2.catalog.triplets import Triplet, training_triplets
from moon2.recipe import ImageTransformSettings
from moon2.train.batches import TripletCollator, TripletExample, TripletStream, change_image


@pytest.fixture
def new_stream(shop: Catalog, new_encoder: Callable[..., Encoder]) -> Callable[..., TripletStream]:
    """A stream of three epochs over the shop's log."""
    triplets = training_triplets(shop)
    processor = new_encoder().processor

    def make(seed: int = 0, augment: ImageTransformSettings | None = None) -> TripletStream:
        settings = augment or ImageTransformSettings()
        return TripletStream(triplets, shop, processor, settings, length=3 * len(triplets), seed=seed)

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
    stream = TripletStream([triplet], shop, new_encoder().processor, ImageTransformSettings(), length=40, seed=0)
    assert {stream[index].negative_id for index in range(40)} == set(triplet.negative_ids)


def test_a_query_that_shows_a_product_gets_its_image(shop: Catalog, new_encoder: Callable[..., Encoder]) -> None:
    triplets = [triplet for triplet in training_triplets(shop) if triplet.query.id == "shown"]
    processor = new_encoder().processor
    example = TripletStream(triplets, shop, processor, ImageTransformSettings(), length=1, seed=0)[0]
    assert example is not None and example.query.text == "in green"
    assert example.query.images == processor.item(shop.product("navy-shirt")).images


def test_a_triplet_that_cannot_be_read_is_set_aside(
    tmp_path: Path, new_encoder: Callable[..., Encoder], capsys: pytest.CaptureFixture[str]
) -> None:
    lost = [tmp_path / "gone.jpg"]
    products = [Product("good", "navy shirt"), Product("gone", images=lost), Product("worded", "red bag", images=lost)]
    catalog = write_catalog(tmp_path / "data", {"train": products}, title="Shop")
    triplets = [
        Triplet(Query(f"q-{id}", "shirt"), id, (), frozenset({id})) for id in ("good", "gone", "unknown", "worded")
    ]
    processor = new_encoder().processor
    stream = TripletStream(triplets, catalog, processor, ImageTransformSettings(), length=8, seed=0)
    examples = [stream[index] for index in range(4)]
    read = {example.positive_id: example for example in examples if example}
    assert read.keys() == {"good", "worded"}
    assert read["worded"].positive.text == "red bag" and not read["worded"].positive.images
    told = capsys.readouterr().err
    assert "set aside the triplet of query 'q-gone'" in told and "there is no such file" in told
    assert "'q-unknown'" in told and "there is no product 'unknown'" in told
    batch = TripletCollator(processor)(examples)["batch"]
    assert (batch.size, sorted(batch.product_ids)) == (2, ["good", "worded"])
    assert "product 'worded'" in told and "trained on its text alone" in told
    assert [stream[index] for index in range(4, 8)] and "worded" not in capsys.readouterr().err  # told once
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
        stream = TripletStream([triplet], shop, processor, ImageTransformSettings(), length=1, seed=0)
        examples[triplet.query.id] = stream[0]
    batch = TripletCollator(processor)([examples["1"], examples["2"], examples["3"]])["batch"]
    assert batch.size == 3
    assert batch.product_ids == ["navy-shirt", "black-bag", "green-bag", "red-bag", "red-bag"]
    assert batch.product_titles == ["navy shirt", "black bag", "green bag", "red bag", "red bag"]
    assert batch.known_positive_ids == [triplet.known_positive_ids for triplet in triplets]
    assert batch.negative_of == [3, -1, 4]
    assert batch.items.has_text.tolist() == [True] * 8
    assert batch.items.has_images.tolist() == [False, False, True, *[True] * 5]
    texts = batch.items.text
    assert texts is not None
    first = processor.tokenizer("red bag", add_special_tokens=False)["input_ids"]
    assert texts.ids[7][texts.real[7]].tolist() == first
    assert torch.equal(texts.items, torch.arange(8))


def test_images_are_mirrored_and_cropped_within_bounds() -> None:
    ramp = Image.fromarray(np.tile(np.arange(100, dtype=np.uint8), (100, 1)))
    random = np.random.default_rng(0)
    changed = [np.asarray(change_image(ramp, ImageTransformSettings(flip=True, crop=0.3), random)) for _ in range(40)]
    rising = [image[50, 99] > image[50, 0] for image in changed]
    assert 8 < sum(rising) < 32
    for image in changed:
        assert image.shape == (100, 100)
        assert abs(int(image[50, 99]) - int(image[50, 0])) >= 66
    assert change_image(ramp, ImageTransformSettings(), random) is ramp
