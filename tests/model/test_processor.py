"""What of a record reaches the model, and in which order: pictures, each between its markers, then the text."""

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
from moon2.model.processor import Item


def test_pictures_stand_before_the_text_between_their_markers(
    encoder: Encoder, picture: Callable[..., Image.Image]
) -> None:
    processor = encoder.processor
    product = Product("1", "navy shirt", images=[picture("navy", (32, 64)), picture("red", (64, 64))])
    batch = processor.batch([processor.item(product)])
    assert batch.joint is not None and batch.text is not None
    before, after = processor.family.around_picture(processor.tokenizer, processor.config)
    words = processor.tokenizer("navy shirt", add_special_tokens=False)["input_ids"]
    sizes = [height * width // 4 for _, height, width in batch.joint.grids[0]]
    image_token = processor.config.image_token_id
    layout = [token for size in sizes for token in (*before, *[image_token] * size, *after)]
    assert batch.joint.ids.tolist() == [layout + words]
    assert batch.text.ids.tolist() == [words]
    assert batch.joint.picture.tolist() == [[token == image_token for token in layout] + [False] * len(words)]
    marker = {*before, *after}
    assert batch.joint.content.tolist() == [[token not in marker for token in layout] + [True] * len(words)]
    assert None not in marker and len(words) > 1


def test_rows_are_padded_on_the_right(encoder: Encoder, picture: Callable[..., Image.Image]) -> None:
    processor = encoder.processor
    batch = processor.batch([processor.item(record) for record in records(picture)])
    assert batch.joint is not None and batch.text is not None
    assert (batch.text.items.tolist(), batch.joint.items.tolist()) == ([0, 2, 3, 4], [1, 2, 3, 4])
    for inputs in (batch.joint, batch.text):
        lengths = inputs.real.sum(dim=1)
        assert lengths.max() == inputs.ids.shape[1] > lengths.min()
        assert torch.equal(inputs.real, torch.arange(inputs.ids.shape[1]) < lengths[:, None])
        assert not (inputs.content & ~inputs.real).any() and not (inputs.picture & ~inputs.content).any()


def test_only_the_asked_passes_are_made(encoder: Encoder, picture: Callable[..., Image.Image]) -> None:
    items = [encoder.processor.item(record) for record in records(picture)]
    without_text = encoder.processor.batch(items, text=False)
    assert without_text.text is not None and without_text.text.items.tolist() == [0]
    assert encoder.processor.batch(items, joint=False).joint is None


def test_long_text_is_cut(new_encoder: Callable[..., Encoder]) -> None:
    processor = new_encoder("qwen3_vl", max_text_tokens=5).processor
    batch = processor.batch([Item("navy men casual shirt " * 20), Item("navy")])
    assert batch.text is not None
    assert batch.text.real.sum(dim=1).tolist()[0] == 5


def test_further_pictures_are_ignored_and_not_opened(
    new_encoder: Callable[..., Encoder], picture: Callable[..., Image.Image]
) -> None:
    processor = new_encoder("qwen3_vl", max_images=2).processor
    item = processor.item(Product("1", "navy", images=[picture("navy"), picture("red"), b"broken"]))
    assert len(item.images) == 2


@pytest.mark.parametrize("backbone", ["qwen2_5_vl", "qwen3_vl", "tiny"])
def test_fewer_pixels_are_fewer_tokens(
    backbone: str, new_encoder: Callable[..., Encoder], picture: Callable[..., Image.Image]
) -> None:
    tokens = {}
    for pixels in (1024, 4096):
        processor = new_encoder(backbone, max_pixels=pixels).processor
        batch = processor.batch([Item("", [picture("navy", (128, 128))])])
        assert batch.joint is not None
        tokens[pixels] = int(batch.joint.picture.sum())
    # A token covers 16 × 16 pixels here.
    assert tokens == {1024: 4, 4096: 16}


@pytest.mark.parametrize("size", [(900, 2), (2, 900), (1, 1), (1000, 1)])
def test_ribbons_and_dots_can_be_embedded(
    encoder: Encoder, picture: Callable[..., Image.Image], size: tuple[int, int]
) -> None:
    assert encoder.encode([picture("navy", size)]).shape == (1, encoder.dimension)


def test_words_that_look_like_special_tokens_are_words(encoder: Encoder, picture: Callable[..., Image.Image]) -> None:
    """A shop's text is data: a title must not stand for a picture, and so break a batch."""
    processor = encoder.processor
    special = processor.tokenizer.convert_ids_to_tokens(processor.config.image_token_id)
    title = f"{special} navy {special}"
    batch = processor.batch([Item(title, [picture()])])
    assert batch.joint is not None and batch.text is not None
    assert not (batch.text.ids == processor.config.image_token_id).any()
    assert encoder.encode([Product("1", title, images=[picture()]), title]).shape == (2, encoder.dimension)


def test_every_kind_of_record_is_read(encoder: Encoder, picture: Callable[..., Image.Image], tmp_path: Path) -> None:
    path = tmp_path / "navy.png"
    picture("navy").save(path)
    item = encoder.processor.item
    for record in (picture("navy"), path, Query("q", image=path.read_bytes()), Product("1", images=[str(path)])):
        read = item(record)
        assert read.text == "" and len(read.images) == 1
        assert read.images[0].tobytes() == picture("navy").tobytes()
    assert item("  navy ") == item(Query("q", "navy")) == item(Product("1", "navy")) == Item("navy")
    assert item(Item("as it is")).text == "as it is"


def test_a_picture_of_any_mode_gives_the_same_shape(encoder: Encoder, picture: Callable[..., Image.Image]) -> None:
    for mode in ("RGB", "RGBA", "LA", "L", "P", "1", "CMYK", "I;16"):
        item = encoder.processor.item(picture("navy").convert("L" if mode == "I;16" else mode).convert(mode))
        assert (item.images[0].mode, item.images[0].size) == ("RGB", (32, 32))


def test_an_unreadable_picture_names_its_record(encoder: Encoder) -> None:
    with pytest.raises(ImageError, match=r"^product '17': image 1.*cannot be read as a picture") as caught:
        good = io.BytesIO()
        Image.new("RGB", (8, 8)).save(good, "PNG")
        encoder.processor.item(Product("17", images=[good.getvalue(), b"broken"]))
    assert "\n" not in str(caught.value)


def test_what_cannot_be_embedded_is_refused(encoder: Encoder) -> None:
    with pytest.raises(TypeError, match="cannot embed a int; give a string"):
        encoder.processor.item(3)
    with pytest.raises(ValueError, match="neither text nor a picture"):
        encoder.processor.item("   ")
