"""What of a record reaches the model, and in which order: images, each between its markers, then the text."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from support.some_items import items_of, joint_rows, records, text_rows, views_of

from moon2 import Encoder, Product, Query
from moon2.images import ImageError
from moon2.model.items import Item, ItemError


def test_images_stand_before_the_text_between_their_markers(
    encoder: Encoder, image: Callable[..., Image.Image]
) -> None:
    processor = encoder.processor
    product = Product("1", "navy shirt", images=[image("navy", (32, 64)), image("red", (64, 64))])
    batch = processor.batch([processor.item(product)])
    joint, text = joint_rows(batch)[0], text_rows(batch)[0]
    before, after = processor.family.image_markers(processor.tokenizer)
    words = processor.tokenizer("navy shirt", add_special_tokens=False)["input_ids"]
    sizes = [height * width // 4 for _, height, width in batch.grids[int(batch.view_rows["i"][0])]]
    assert len(sizes) == 2
    layout = [token for size in sizes for token in (*before, *[None] * size, *after)]
    wanted = [*layout, *words]
    found = batch.input_ids[joint].tolist()
    assert [id if token is not None else None for id, token in zip(found, wanted, strict=True)] == wanted
    assert batch.input_ids[text].tolist() == words
    assert batch.is_image[joint].tolist() == [token is None for token in wanted]
    assert batch.images is not None
    assert torch.equal(batch.images.slots, batch.is_image.nonzero().flatten())
    assert batch.images.sources.tolist() == list(range(sum(sizes))), "row by row, image after image"
    is_marker = [token in {*before, *after} for token in layout]
    assert batch.is_pooled[joint].tolist() == [not marker for marker in is_marker] + [True] * len(words)
    assert batch.is_pooled[text].all() and not batch.is_image[text].any()
    assert None not in {*before, *after} and len(words) > 1


def test_rows_are_packed_one_after_another_without_padding(encoder: Encoder, image: Callable[..., Image.Image]) -> None:
    """Short rows first; an item's rows have the tokens that they have alone, and there are no others."""
    processor = encoder.processor
    items = items_of(encoder, records(image))
    batch = processor.batch(items)
    texts, joints = text_rows(batch), joint_rows(batch)
    assert (sorted(texts), sorted(joints)) == ([0, 2, 3, 4], [1, 2, 3, 4])
    places = [*texts.values(), *joints.values()]
    assert sorted(torch.cat(places).tolist()) == list(range(batch.tokens))
    assert all(torch.equal(row, torch.arange(len(row)) + row[0]) for row in places)
    lengths = batch.row_of_token.bincount().tolist()
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1] and batch.packing is not None
    assert batch.packing.bounds.tolist() == [0, *torch.tensor(lengths).cumsum(0).tolist()]
    for number, item in enumerate(items):
        alone = processor.batch([item])
        for rows, own in ((texts, text_rows(alone)), (joints, joint_rows(alone))):
            assert (number in rows) == (0 in own)
            for name in ("input_ids", "is_pooled", "is_image") if number in rows else ():
                assert torch.equal(getattr(batch, name)[rows[number]], getattr(alone, name)[own[0]]), name
            if number in rows:
                assert torch.equal(batch.positions[:, rows[number]], alone.positions[:, own[0]])
    assert not (batch.is_image & ~batch.is_pooled).any()
    kinds = {row: kind for kind, view in enumerate(("i", "t")) for row in batch.view_rows[view].tolist()}
    assert batch.row_kind.argmax(dim=0).tolist() == [kinds[row] for row in range(len(lengths))]
    assert batch.row_kind.sum(dim=0).tolist() == [1] * len(lengths)


def test_only_the_asked_rows_are_made(encoder: Encoder, image: Callable[..., Image.Image]) -> None:
    items = items_of(encoder, records(image))
    without_text = encoder.processor.batch(items, text=False)
    assert list(text_rows(without_text)) == [0]
    assert sorted(joint_rows(without_text)) == [1, 2, 3, 4]
    without_joint = encoder.processor.batch(items, joint=False)
    assert not joint_rows(without_joint) and not without_joint.is_image.any()
    assert sorted(text_rows(without_joint)) == [0, 2, 3, 4]
    words_alone = encoder.processor.batch(items, images=False)
    assert words_alone.images is None and not words_alone.has_images.any()
    for options in ({}, {"text": False}, {"joint": False}):
        tokens = [encoder.processor.tokens(item, **options) for item in encoder.processor.read(items)]
        batch = encoder.processor.batch(items, **options)
        assert sum(tokens) == batch.read_tokens
        visual = batch.images is not None and len(batch.images.image_of_token)
        # Images that stand in no row are read all the same.
        assert batch.read_tokens - batch.tokens == (visual if "joint" in options else 0)


def test_the_rows_of_each_view(encoder: Encoder, image: Callable[..., Image.Image]) -> None:
    """A joint row is an item's i and its mm; what has no image has its text row for mm too."""
    batch = encoder.processor.batch(items_of(encoder, records(image)))
    items = {view: batch.item_of_row[rows].tolist() for view, rows in batch.view_rows.items()}
    assert {view: sorted(numbers) for view, numbers in items.items()} == {
        "t": [0, 2, 3, 4],
        "i": [1, 2, 3, 4],
        "mm": [0, 1, 2, 3, 4],
    }
    row_of = dict(zip(items["mm"], batch.view_rows["mm"].tolist(), strict=True))
    assert row_of[0] in batch.view_rows["t"] and row_of[2] in batch.view_rows["i"]


def test_an_item_without_anything_keeps_its_place(encoder: Encoder, image: Callable[..., Image.Image]) -> None:
    """What could not be read has no rows; the others' rows are numbered as they would be beside it."""
    empty = encoder.processor.batch([Item()])
    assert empty.tokens == 0 and empty.packing is None and empty.images is None
    batch = encoder.processor.batch([Item("navy"), Item(), Item("", [image()])])
    assert (batch.has_text.tolist(), batch.has_images.tolist()) == ([True, False, False], [False, False, True])
    assert sorted(batch.item_of_row.tolist()) == [0, 2]


def test_long_text_is_cut(new_encoder: Callable[..., Encoder]) -> None:
    processor = new_encoder("qwen3_vl", max_text_tokens=5).processor
    batch = processor.batch([Item("navy men casual shirt " * 20), Item("navy")])
    assert len(text_rows(batch)[0]) == 5


def test_equal_images_are_read_once_and_give_the_same_vectors(
    encoder: Encoder, image: Callable[..., Image.Image]
) -> None:
    """Two products of one photo, one of them with it twice, and a query that shows it: one image for the tower."""
    photo, other = image("navy", (48, 32)), image("teal", (32, 48))
    some = [
        Product("1", "red shirt", images=[photo]),
        Product("2", "red shirt", images=[other, photo.copy(), photo.copy()]),
        Query("q", image=photo.copy()),
    ]
    batch = encoder.processor.batch(items_of(encoder, some))
    assert batch.images is not None and len(batch.images.grids) == 2
    item, number = batch.images.uses
    assert item.tolist() == [0, 1, 1, 1, 2]
    assert (number == number[0]).tolist() == [True, False, True, True, True]
    blocks: Any = encoder.model.backbone.get_submodule(encoder.model.family.vision_blocks)
    reached: list[int] = []
    hook = blocks[0].register_forward_pre_hook(lambda _, given: reached.append(given[0].flatten(0, -2).shape[0]))
    together = views_of(encoder, some)
    encoder.encode(Product("3", images=[photo, other]))
    hook.remove()
    assert reached[0] == reached[1] > 0, "as many patches as two photos have"
    for row, record in enumerate(some):
        alone = views_of(encoder, [record])
        for view in ("i", "mm"):
            torch.testing.assert_close(together.vectors[view][row], alone.vectors[view][0], rtol=0, atol=1e-5)
    torch.testing.assert_close(together.vectors["i"][0], together.vectors["i"][2], rtol=0, atol=1e-6)


def test_further_images_are_ignored_and_not_opened(
    new_encoder: Callable[..., Encoder], image: Callable[..., Image.Image]
) -> None:
    processor = new_encoder("qwen3_vl", max_images=2).processor
    item = processor.item(Product("1", "navy", images=[image("navy"), image("red"), b"broken"]))
    assert len(item.images) == 2


@pytest.mark.parametrize("backbone", ["qwen2_5_vl", "qwen3_vl", "tiny"])
def test_fewer_pixels_are_fewer_tokens(
    backbone: str, new_encoder: Callable[..., Encoder], image: Callable[..., Image.Image]
) -> None:
    tokens = {}
    for pixels in (1024, 4096):
        processor = new_encoder(backbone, max_pixels=pixels).processor
        tokens[pixels] = int(processor.batch([Item("", [image("navy", (128, 128))])]).is_image.sum())
    # A token covers 16 × 16 pixels here.
    assert tokens == {1024: 4, 4096: 16}


@pytest.mark.parametrize("size", [(900, 2), (2, 900), (1, 1), (1000, 1)])
def test_ribbons_and_dots_can_be_embedded(
    encoder: Encoder, image: Callable[..., Image.Image], size: tuple[int, int]
) -> None:
    assert encoder.encode([image("navy", size)]).shape == (1, encoder.dimension)


def test_words_that_look_like_special_tokens_are_words(encoder: Encoder, image: Callable[..., Image.Image]) -> None:
    """A shop's text is data: a title must not stand for an image, and so break a batch."""
    processor = encoder.processor
    special = processor.tokenizer.convert_ids_to_tokens(processor.config.image_token_id)
    title = f"{special} navy {special}"
    batch = processor.batch([Item(title, [image()])])
    assert not (batch.input_ids[text_rows(batch)[0]] == processor.config.image_token_id).any()
    assert int(batch.is_image.sum()) == processor.read([Item("", [image()])])[0].images[0][1].tokens
    assert encoder.encode([Product("1", title, images=[image()]), title]).shape == (2, encoder.dimension)


def test_every_kind_of_record_is_read(encoder: Encoder, image: Callable[..., Image.Image], tmp_path: Path) -> None:
    path = tmp_path / "navy.png"
    image("navy").save(path)
    item = encoder.processor.item
    for record in (image("navy"), path, Query("q", image=path.read_bytes()), Product("1", images=[str(path)])):
        read = item(record)
        assert read.text == "" and len(read.images) == 1
        assert read.images[0].tobytes() == image("navy").tobytes()
    assert item("  navy ") == item(Query("q", "navy")) == item(Product("1", "navy")) == Item("navy")
    assert item(Item("as it is")).text == "as it is"


def test_a_image_of_any_mode_gives_the_same_shape(encoder: Encoder, image: Callable[..., Image.Image]) -> None:
    for mode in ("RGB", "RGBA", "LA", "L", "P", "1", "CMYK", "I;16"):
        item = encoder.processor.item(image("navy").convert("L" if mode == "I;16" else mode).convert(mode))
        assert (item.images[0].mode, item.images[0].size) == ("RGB", (32, 32))


def test_an_unreadable_image_names_its_record(encoder: Encoder) -> None:
    with pytest.raises(ImageError, match=r"^product '17': image 2.*cannot be read as an image") as caught:
        good = io.BytesIO()
        Image.new("RGB", (8, 8)).save(good, "PNG")
        encoder.processor.item(Product("17", images=[good.getvalue(), b"broken"]))
    assert "\n" not in str(caught.value)


def test_what_cannot_be_embedded_is_refused(encoder: Encoder) -> None:
    for source, message in [
        (3, "cannot embed a int; give text, an image"),
        ({"title": "navy"}, "cannot embed a dictionary with 'title'; give text and image"),
        ("   ", "neither text nor an image"),
        ({"text": " ", "image": None}, "neither text nor an image"),
    ]:
        with pytest.raises(ItemError, match=message):
            encoder.processor.item(source)
