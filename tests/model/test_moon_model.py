"""Two passes give the three views that three passes would give, whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image
from support.some_items import records, views_of
from torch import Tensor
from torch.nn import functional

from moon2 import Encoder, Product, Query
from moon2.model.processor import Item
from moon2.views import VIEWS

CLOSE = {"rtol": 0.0, "atol": 1e-5}


def test_one_joint_pass_holds_both_views_of_the_images(encoder: Encoder, image: Callable[..., Image.Image]) -> None:
    items = [encoder.processor.item(record) for record in records(image)]
    together = views_of(encoder, items)
    for row, item in enumerate(items):
        if item.images:
            apart = views_of(encoder, [Item("", item.images)])
            torch.testing.assert_close(together.vectors["i"][row], apart.vectors["i"][0], **CLOSE)
            torch.testing.assert_close(together.vectors["i"][row], apart.vectors["mm"][0], **CLOSE)
            torch.testing.assert_close(together.routing["i"][row], apart.routing["i"][0], **CLOSE)
        if item.text:
            apart = views_of(encoder, [Item(item.text)])
            torch.testing.assert_close(together.vectors["t"][row], apart.vectors["t"][0], **CLOSE)
        apart = views_of(encoder, [item], text=False)
        torch.testing.assert_close(together.vectors["mm"][row], apart.vectors["mm"][0], **CLOSE)


def test_different_items_have_different_vectors(encoder: Encoder, image: Callable[..., Image.Image]) -> None:
    found = views_of(encoder, records(image))
    for view in VIEWS:
        vectors = found.vectors[view][found.valid[view]]
        similarity = vectors @ vectors.T - 2 * torch.eye(len(vectors))
        assert similarity.max() < 0.999


def test_neighbours_padding_and_order_change_no_vector(encoder: Encoder, image: Callable[..., Image.Image]) -> None:
    some = records(image)
    long = Product("long", "navy men casual shirt " * 9, images=[image("grey", (96, 64))] * 3)
    alone = views_of(encoder, some)
    order = [3, 0, 4, 2, 1]
    among = views_of(encoder, [long, *(some[row] for row in order)])
    for view in VIEWS:
        torch.testing.assert_close(among.vectors[view][1:], alone.vectors[view][order], **CLOSE)
        torch.testing.assert_close(among.routing[view][1:], alone.routing[view][order], **CLOSE)


def test_an_item_with_one_modality_has_it_as_its_mm(encoder: Encoder, image: Callable[..., Image.Image]) -> None:
    found = views_of(encoder, records(image))
    assert torch.equal(found.vectors["mm"][0], found.vectors["t"][0])
    torch.testing.assert_close(found.vectors["mm"][1], found.vectors["i"][1], **CLOSE)
    assert found.valid["t"].tolist() == [True, False, True, True, True]
    assert found.valid["i"].tolist() == [False, True, True, True, True]
    assert found.valid["mm"].all()
    assert not found.vectors["t"][1].any() and not found.vectors["i"][0].any()


def test_vectors_have_length_one_and_routing_sums_to_one(encoder: Encoder, image: Callable[..., Image.Image]) -> None:
    found = views_of(encoder, records(image))
    for view in VIEWS:
        valid = found.valid[view]
        ones = torch.ones(int(valid.sum()))
        assert found.vectors[view].dtype == found.routing[view].dtype == torch.float32
        torch.testing.assert_close(found.vectors[view][valid].norm(dim=1), ones)
        torch.testing.assert_close(found.routing[view][valid].sum(dim=1), ones)
        assert found.routing[view].shape == (5, 4)


def test_text_and_image_alone_make_whole_batches(encoder: Encoder, image: Callable[..., Image.Image]) -> None:
    words = views_of(encoder, ["navy", "red women shoes"])
    assert words.valid["i"].tolist() == [False, False] and torch.equal(words.vectors["mm"], words.vectors["t"])
    shown = views_of(encoder, [image("navy"), Query("q", image=image("red", (48, 32)))])
    assert shown.valid["t"].tolist() == [False, False] and shown.valid["i"].all()


def test_grouped_vision_attention_is_the_loop_over_images(
    encoder: Encoder, image: Callable[..., Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(encoder.model.backbone, "visual"):
        pytest.skip("this family gives every image the same size and needs no grouping")
    visual: Any = encoder.model.backbone.visual
    grouped = views_of(encoder, records(image))
    assert visual.config._attn_implementation == "moon2_flash_grouped"
    monkeypatch.setattr(visual.config, "_attn_implementation", "sdpa")
    looped = views_of(encoder, records(image))
    for view in ("i", "mm"):
        torch.testing.assert_close(grouped.vectors[view], looped.vectors[view], **CLOSE)


@pytest.mark.parametrize("backbone", ["qwen2_5_vl", "qwen3_vl", "smolvlm", "tiny"])
def test_states_are_those_of_the_checkpoint_itself(
    backbone: str, new_encoder: Callable[..., Encoder], image: Callable[..., Image.Image]
) -> None:
    """Against transformers' own positions, mask and vision attention, pooled here over the same tokens."""
    encoder = new_encoder(backbone, experts={"layers": []})
    ours = views_of(encoder, records(image))
    batch = encoder.processor.batch([encoder.processor.item(record) for record in records(image)])
    model: Any = encoder.model.backbone
    if hasattr(model, "visual"):
        model.visual.config._attn_implementation = "sdpa"
    for inputs, view in ((batch.joint, "mm"), (batch.text, "t")):
        assert inputs is not None
        extra: dict[str, Tensor] = dict(inputs.image_inputs)
        if "image_grid_thw" in extra:
            extra["mm_token_type_ids"] = inputs.image_mask.long()
        with torch.no_grad():
            states = model(
                input_ids=inputs.input_ids, attention_mask=inputs.attention_mask.long(), **extra
            ).last_hidden_state
        content = inputs.pooling_mask.unsqueeze(2)
        pooled = functional.normalize((states * content).sum(dim=1) / content.sum(dim=1), dim=-1)
        torch.testing.assert_close(ours.vectors[view][inputs.rows], pooled, **CLOSE)


def test_only_the_wanted_views_are_pooled(encoder: Encoder, image: Callable[..., Image.Image]) -> None:
    items = [encoder.processor.item(record) for record in records(image)]
    with torch.no_grad():
        found = encoder.model(encoder.processor.batch(items), ("mm",))
    assert list(found.vectors) == list(found.valid) == list(found.routing) == ["mm"]
