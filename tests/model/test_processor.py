"""What of a record reaches the model, and in which order: images, each between its markers, then the text."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from support.some_items import records

from moon2 import Encoder, Product, Query
from moon2.images import ImageError
from moon2.model.processor import Item, ItemError


def test_images_stand_before_the_text_between_their_markers(
    encoder: Encoder, image: Callable[..., Image.Image]
) -> None:
    processor = encoder.processor
    product = Product("1", "navy shirt", images=[image("navy", (32, 64)), image("red", (64, 64))])
    batch = processor.batch([processor.item(product)])
    assert batch.joint is not None and batch.text is not None
    before, after = processor.family.image_markers(processor.tokenizer)
    words = processor.tokenizer("navy shirt", add_special_tokens=False)["input_ids"]
    sizes = [height * width // 4 for _, height, width in batch.joint.grids[0]]
    image_token = processor.config.image_token_id
    layout = [token for size in sizes for token in (*before, *[image_token] * size, *after)]
    assert batch.joint.input_ids.tolist() == [layout + words]
    assert batch.text.input_ids.tolist() == [words]
    assert batch.joint.image_mask.tolist() == [[token == image_token for token in layout] + [False] * len(words)]
    marker = {*before, *after}
    assert batch.joint.pooling_mask.tolist() == [[token not in marker for token in layout] + [True] * len(words)]
    assert None not in marker and len(words) > 1


def test_rows_are_padded_on_the_right(encoder: Encoder, image: Callable[..., Image.Image]) -> None:
    processor = encoder.processor
    batch = processor.batch([processor.item(record) for record in records(image)])
    assert batch.joint is not None and batch.text is not None
    assert (batch.text.rows.tolist(), batch.joint.rows.tolist()) == ([0, 2, 3, 4], [1, 2, 3, 4])
    for inputs in (batch.joint, batch.text):
        lengths = inputs.attention_mask.sum(dim=1)
        assert lengths.max() == inputs.input_ids.shape[1] > lengths.min()
        assert torch.equal(inputs.attention_mask, torch.arange(inputs.input_ids.shape[1]) < lengths[:, None])
        assert (
            not (inputs.pooling_mask & ~inputs.attention_mask).any()
            and not (inputs.image_mask & ~inputs.pooling_mask).any()
        )


def test_only_the_asked_passes_are_made(encoder: Encoder, image: Callable[..., Image.Image]) -> None:
    items = [encoder.processor.item(record) for record in records(image)]
    without_text = encoder.processor.batch(items, text=False)
    assert without_text.text is not None and without_text.text.rows.tolist() == [0]
    assert encoder.processor.batch(items, joint=False).joint is None


def test_long_text_is_cut(new_encoder: Callable[..., Encoder]) -> None:
    processor = new_encoder("qwen3_vl", max_text_tokens=5).processor
    batch = processor.batch([Item("navy men casual shirt " * 20), Item("navy")])
    assert batch.text is not None
    assert batch.text.attention_mask.sum(dim=1).tolist()[0] == 5


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
        batch = processor.batch([Item("", [image("navy", (128, 128))])])
        assert batch.joint is not None
        tokens[pixels] = int(batch.joint.image_mask.sum())
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
    assert batch.joint is not None and batch.text is not None
    assert not (batch.text.input_ids == processor.config.image_token_id).any()
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
    with pytest.raises(ImageError, match=r"^product '17': image 1.*cannot be read as an image") as caught:
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
