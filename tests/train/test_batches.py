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
from support.some_items import text_rows

from moon2 import Encoder, Product, Query
from moon2.catalog.store import Catalog, CatalogError, write_catalog
from moon2.catalog.triplets import Triplet, mined_triplets, training_triplets
from moon2.images import ReadingSize, open_image
from moon2.model.item_batch import ItemBatch
from moon2.model.items import Item
from moon2.recipe import AugmentationSettings, ImageTransformSettings
from moon2.train.batches import (
    ChunkLayout,
    TripletExample,
    TripletOutline,
    collate,
    equal_mask,
    known_positive_mask,
    triplet_masks,
)
from moon2.train.stream import TripletBatches, TripletStream, transform_image

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


def seen(example: TripletExample) -> tuple[Any, ...]:
    """All of an example, in a form that compares."""
    items = [
        item and (item.text, [image.tobytes() for image in item.images])
        for item in (example.query, example.positive, example.negative)
    ]
    return (*items, example.outline)


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
    epochs = [[stream[epoch * number + place].outline.positive_id for place in range(number)] for epoch in range(3)]
    expected = Counter(triplet.positive_id for triplet in stream.triplets)
    assert [Counter(epoch) for epoch in epochs] == [expected] * 3
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_all_negatives_of_a_triplet_are_drawn_in_time(shop: Catalog, new_encoder: Callable[..., Encoder]) -> None:
    triplet = Triplet(
        Query("q", "navy"), "navy-shirt", ("red-shirt", "red-bag", "red-shoes"), frozenset({"navy-shirt"})
    )
    stream = TripletStream([triplet], shop, new_encoder().processor, *PLAIN, length=40, seed=0)
    assert {stream[index].outline.negative_id for index in range(40)} == set(triplet.negative_ids)


def test_mined_negatives_are_drawn_beside_the_logs_own(shop: Catalog, new_encoder: Callable[..., Encoder]) -> None:
    triplets = [
        Triplet(Query("q", "navy"), "navy-shirt", ("red-shirt",), frozenset({"navy-shirt"})),
        Triplet(Query("r", "red bag"), "red-bag", (), frozenset({"red-bag"})),
    ]
    stream = TripletStream(triplets, shop, new_encoder().processor, *PLAIN, length=80, seed=0)
    before = [seen(stream[index]) for index in range(80)]
    stream.hard_negatives = [(), ()]
    assert [seen(stream[index]) for index in range(80)] == before
    stream.hard_negatives = [("navy-bag", "navy-shoes"), ("red-shoes",)]
    drawn = [
        Counter(stream[index].outline.negative_id for index in range(80) if stream.triplet_number(index) == n)
        for n in (0, 1)
    ]
    assert drawn[0].keys() == {"red-shirt", "navy-bag", "navy-shoes"} and min(drawn[0].values()) > 5
    assert drawn[1] == {"red-shoes": 40}


def test_mined_triplets_take_their_share_of_each_epoch_and_of_the_log_nothing_is_lost(
    shop: Catalog, new_encoder: Callable[..., Encoder]
) -> None:
    log, mined = training_triplets(shop)[:6], mined_triplets(shop)
    processor = new_encoder().processor

    def epochs(mined: list[Triplet], share: float = 0.5, seed: int = 0) -> list[list[int]]:
        length = round(len(log) / (1 - share)) if mined else len(log)
        stream = TripletStream(
            log, shop, processor, *PLAIN, length=4 * length, seed=seed, mined=mined, mined_share=share
        )
        drawn = [stream.triplet_number(index) for index in range(len(stream))]
        return [drawn[start : start + length] for start in range(0, len(stream), length)]

    for share, count in ((0.5, 6), (0.75, 18)):
        for epoch in epochs(mined, share):
            assert sorted(number for number in epoch if number < 6) == [0, 1, 2, 3, 4, 5]
            assert len([number for number in epoch if 6 <= number < 6 + len(mined)]) == count
    first, second, *_ = epochs(mined)
    assert first == epochs(mined)[0] and first != epochs(mined, seed=1)[0]
    assert {number for number in first if number >= 6} != {number for number in second if number >= 6}
    assert all(sorted(epoch) == [0, 1, 2, 3, 4, 5] for epoch in epochs([]))


def test_mined_triplets_are_of_every_category_alike(tmp_path: Path, new_encoder: Callable[..., Encoder]) -> None:
    shirts = [Product(f"shirt-{n}", f"shirt {n}", category=("Clothing", "Shirts")) for n in range(9)]
    products = [*shirts, Product("laces", "laces", category=("Shoes", "Laces")), Product("gift", "a gift")]
    catalog = write_catalog(tmp_path / "shop", {"train": products}, title="A shop")
    of = {product.id: Triplet(Query(product.id, product.title), product.id, (), frozenset()) for product in products}
    log = [of["shirt-0"]] * 900
    stream = TripletStream(
        log, catalog, new_encoder().processor, *PLAIN, length=1_800, seed=0, mined=[*of.values()], mined_share=0.5
    )
    drawn = Counter(stream.triplet_number(index) for index in range(1_800))
    mined = [drawn[number] for number in range(900, 911)]
    assert 250 < sum(mined[:9]) < 350 and 250 < mined[9] < 350 and 250 < mined[10] < 350
    assert min(mined[:9]) > 10


def test_a_query_that_shows_a_product_gets_its_image(shop: Catalog, new_encoder: Callable[..., Encoder]) -> None:
    triplets = [triplet for triplet in training_triplets(shop) if triplet.query.id == "shown"]
    processor = new_encoder().processor
    example = TripletStream(triplets, shop, processor, *PLAIN, length=1, seed=0)[0]
    assert example.query.text == "in green"
    assert example.query.images == processor.item(shop.product("navy-shirt")).images


def test_a_triplet_that_cannot_be_read_is_set_aside(
    tmp_path: Path, new_encoder: Callable[..., Encoder], caplog: pytest.LogCaptureFixture
) -> None:
    """It keeps its place in the batch, without anything to see in it."""
    lost = [tmp_path / "gone.jpg"]
    products = [Product("good", "navy shirt"), Product("gone", images=lost), Product("worded", "red bag", images=lost)]
    catalog = write_catalog(tmp_path / "data", {"train": products}, title="Shop")
    triplets = [
        Triplet(Query(f"q-{id}", "shirt"), id, (), frozenset({id})) for id in ("good", "gone", "unknown", "worded")
    ]
    processor = new_encoder().processor
    stream = TripletStream(triplets, catalog, processor, *PLAIN, length=8, seed=0)
    examples = [stream[index] for index in range(4)]
    read = {example.outline.positive_id: example for example in examples if not example.is_empty}
    assert read.keys() == {"good", "worded"}
    assert read["worded"].positive.text == "red bag" and not read["worded"].positive.images
    warnings = caplog.text
    assert "set aside the triplet of query 'q-gone'" in warnings and "there is no such file" in warnings
    assert "'q-unknown'" in warnings and "there is no product 'unknown'" in warnings
    assert "product 'worded'" in warnings and "trained on its text alone" in warnings
    layout = ChunkLayout(processor)
    batch = collate(examples, [[example.outline for example in examples]], layout)
    assert (batch.masks.size, batch.masks.known_positive.shape) == (4, (4, 4))
    (chunk,) = batch.chunks
    readable = [example.outline.positive_id in read for example in examples]
    assert chunk.has_text.tolist() == readable * 2 and sum(readable) == 2
    assert sorted(chunk.item_of_row.tolist()) == [place for place, there in enumerate(readable * 2) if there]
    caplog.clear()
    assert [stream[index] for index in range(4, 8)] and "worded" not in caplog.text  # warned once

    # A row of the log that shows nothing, and a product without what `input.fields` asks for, end no run either.
    shown = Triplet(Query("q-shown", product_id="good"), "worded", (), frozenset({"worded"}))
    assert TripletStream([shown], catalog, processor, *PLAIN, length=1, seed=0)[0].is_empty
    assert "query 'q-shown': has neither text nor an image" in caplog.text
    of_brands = new_encoder("input.fields=[brand]").processor
    assert TripletStream(triplets[:1], catalog, of_brands, *PLAIN, length=1, seed=0)[0].is_empty
    assert "product 'good': has neither text (brand) nor an image" in caplog.text

    nothing = TripletStream(triplets[1:3], catalog, processor, *PLAIN, length=4, seed=0)
    with pytest.raises(CatalogError, match="not one triplet of a whole batch"):
        TripletBatches(nothing, 2, layout)[0]


def three_triplets() -> list[Triplet]:
    """Of three queries, the second without a negative, the third with a photo."""
    return [
        Triplet(Query("1", "navy"), "navy-shirt", ("red-bag",), frozenset({"navy-shirt", "navy-bag"})),
        Triplet(Query("2", "black bag"), "black-bag", (), frozenset({"black-bag"})),
        Triplet(Query("3", "in green", product_id="navy-bag"), "green-bag", ("red-bag",), frozenset({"green-bag"})),
    ]


@pytest.fixture
def three(shop: Catalog, new_encoder: Callable[..., Encoder]) -> list[TripletExample]:
    """The examples of `three_triplets`."""
    processor = new_encoder().processor
    return [TripletStream([triplet], shop, processor, *PLAIN, length=1, seed=0)[0] for triplet in three_triplets()]


def test_a_batch_is_queries_then_positives_then_negatives(
    three: list[TripletExample], new_encoder: Callable[..., Encoder]
) -> None:
    processor = new_encoder().processor
    batch = collate(three, [[example.outline for example in three]], ChunkLayout(processor))
    masks = batch.masks
    assert masks.size == 3
    # The products: navy-shirt, black-bag, green-bag, red-bag, red-bag.
    assert masks.negative.tolist() == [3, -1, 4]
    assert masks.known_positive.tolist() == [
        [True, False, False, False, False],
        [False, True, False, False, False],
        [False, False, True, False, False],
    ]
    same = torch.eye(5, dtype=torch.bool)
    same[3, 4] = same[4, 3] = True
    assert torch.equal(masks.same_product, same)
    (items,) = batch.chunks
    assert items.has_text.tolist() == [True] * 8
    assert items.has_images.tolist() == [False, False, True, *[True] * 5]
    rows = text_rows(items)
    first = processor.tokenizer("red bag", add_special_tokens=False)["input_ids"]
    assert items.input_ids[rows[7]].tolist() == first
    assert sorted(rows) == list(range(8))
    assert batch.counts == [8] and batch.order.tolist() == list(range(8))
    assert batch.tokens == items.tokens


@pytest.mark.parametrize("tokens", [None, 1, 20, 40])
def test_a_chunk_holds_as_many_items_as_fit(
    tokens: int | None, three: list[TripletExample], new_encoder: Callable[..., Encoder]
) -> None:
    """In their order, each once; a chunk over the limit holds a single item."""
    processor = new_encoder().processor
    whole, cut = (
        collate(three, [[example.outline for example in three]], ChunkLayout(processor, tokens=limit))
        for limit in (None, tokens)
    )
    assert torch.equal(torch.cat([chunk.has_images for chunk in cut.chunks]), whole.chunks[0].has_images)
    assert sum(chunk.tokens for chunk in cut.chunks) == cut.tokens == whole.tokens
    if tokens is None:
        assert len(cut.chunks) == 1
        return
    assert len(cut.chunks) > 1
    sizes = [processor.tokens(item) for item in processor.read(three_items(three))]
    assert all(chunk.tokens <= tokens or len(chunk.has_text) == 1 for chunk in cut.chunks)
    # None could take the first item of the next one too.
    end = 0
    for chunk in cut.chunks[:-1]:
        end += len(chunk.has_text)
        assert chunk.tokens + sizes[end] > tokens


def three_items(examples: list[TripletExample]) -> list[Item]:
    """Queries, positives, and the negatives there are."""
    items = [example.query for example in examples] + [example.positive for example in examples]
    return items + [example.negative for example in examples if example.negative is not None]


def test_a_chunk_without_images_gets_a_blank_one_where_processes_wait_for_each_other(
    new_encoder: Callable[..., Encoder],
) -> None:
    processor = new_encoder().processor
    words = [Item("navy"), Item("red")]
    (without,) = ChunkLayout(processor).chunks(words)
    (beside,) = ChunkLayout(processor, always_images=True).chunks(words)
    assert without.images is None and beside.images is not None and len(beside.images.grids) == 1
    assert not beside.has_images.any() and len(beside.has_text) == 2


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_the_shares_of_processes_together_are_the_batch_of_one(
    processes: int, new_stream: Callable[..., TripletStream]
) -> None:
    """`order` puts their items, one share after another, in the order of the batch; all know the same masks."""
    stream = new_stream(0, ImageTransformSettings(flip=True))
    layout = ChunkLayout(stream.processor)
    whole = TripletBatches(stream, 5, layout)[1]
    shares = [TripletBatches(stream, 5, layout, rank, processes)[1] for rank in range(processes)]
    assert [len(share.chunks[0].has_text) for share in shares] == shares[0].counts
    for share in shares:
        assert share.counts == shares[0].counts and torch.equal(share.order, shares[0].order)
        for name in ("known_positive", "same_product", "negative"):
            assert torch.equal(getattr(share.masks, name), getattr(whole.masks, name))
    together: list[tuple[list[int], bool]] = []
    for share in shares:
        together += [(words, has) for words, has in content(share.chunks[0])]
    assert [together[place] for place in shares[0].order.tolist()] == content(whole.chunks[0])
    assert len(whole.chunks[0].has_text) == len(whole.order) > 10


def content(batch: ItemBatch) -> list[tuple[list[int], bool]]:
    """Each item's words, and whether it has images."""
    rows = text_rows(batch)
    words = [batch.input_ids[rows[item]].tolist() if item in rows else [] for item in range(len(batch.has_text))]
    return list(zip(words, batch.has_images.tolist(), strict=True))


def test_the_batches_of_a_run_are_the_stream_cut_into_runs(new_stream: Callable[..., TripletStream]) -> None:
    stream = new_stream(1)
    batches = TripletBatches(stream, 4, ChunkLayout(stream.processor))
    assert len(batches) == len(stream) // 4
    for step in (0, 2, len(batches) - 1):
        items = three_items([stream[index] for index in range(4 * step, 4 * step + 4)])
        wanted = stream.processor.batch(items)
        assert content(batches[step].chunks[0]) == content(wanted)


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


def test_products_that_cannot_be_told_apart_are_the_same() -> None:
    """By id, by their own titles whatever was drawn for them, or by one text drawn for both."""

    def outline(id: str, text: str, title: str) -> TripletOutline:
        return TripletOutline(id, None, frozenset({id}), (title, ""), (text, ""))

    pairs = {
        "one product": (outline("a", "navy shirt", "x"), outline("a", "fine cotton", "y")),
        "one title": (outline("a", "navy shirt", "Shirt"), outline("b", "fine cotton", "shirt")),
        "one text": (outline("a", "Fine cotton", "x"), outline("b", "fine cotton", "y")),
    }
    for name, pair in pairs.items():
        assert triplet_masks(pair).same_product.all(), name
    apart = triplet_masks([outline("a", "navy shirt", "x"), outline("b", "fine cotton", "y")])
    assert torch.equal(apart.same_product, torch.eye(2, dtype=torch.bool))
    wordless = triplet_masks([outline("a", "", ""), outline("b", "", "")])
    assert torch.equal(wordless.same_product, torch.eye(2, dtype=torch.bool)), "told apart by their images"


def test_what_is_known_without_reading_an_image_is_what_is_read(new_stream: Callable[..., TripletStream]) -> None:
    stream = new_stream(3)
    for index in range(len(stream)):
        example = stream[index]
        outline = stream.outline(index)
        assert example.outline == outline
        texts = (example.positive.text, "" if example.negative is None else example.negative.text)
        assert outline.texts == outline.own_texts == texts
