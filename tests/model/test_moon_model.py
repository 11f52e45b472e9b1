"""One pass over packed rows gives the three views that three passes would give, whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from PIL import Image
from support.plain_transformers import plain_inputs, plain_model
from support.some_items import items_of, joint_rows, records, text_rows, views_of
from support.tiny_checkpoints import CHECKPOINTS
from torch.nn import functional

from moon2 import Encoder, Product, Query
from moon2.model.items import Item
from moon2.views import VIEWS

BACKBONES = (*CHECKPOINTS, "tiny")
CLOSE = {"rtol": 0.0, "atol": 1e-5}


def test_one_joint_row_holds_both_views_of_the_images(encoder: Encoder, image: Callable[..., Image.Image]) -> None:
    items = items_of(encoder, records(image))
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
        vectors = found.vectors[view][found.has(view)]
        similarity = vectors @ vectors.T - 2 * torch.eye(len(vectors))
        assert similarity.max() < 0.999


def test_neighbours_and_order_change_no_vector(encoder: Encoder, image: Callable[..., Image.Image]) -> None:
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
    assert found.has("t").tolist() == [True, False, True, True, True]
    assert found.has("i").tolist() == [False, True, True, True, True]
    assert found.has("mm").all()
    assert not found.vectors["t"][1].any() and not found.vectors["i"][0].any()


def test_vectors_have_length_one_and_routing_sums_to_one(encoder: Encoder, image: Callable[..., Image.Image]) -> None:
    found = views_of(encoder, records(image))
    for view in VIEWS:
        valid = found.has(view)
        ones = torch.ones(int(valid.sum()))
        assert found.vectors[view].dtype == found.routing[view].dtype == torch.float32
        torch.testing.assert_close(found.vectors[view][valid].norm(dim=1), ones)
        torch.testing.assert_close(found.routing[view][valid].sum(dim=1), ones)
        assert found.routing[view].shape == (5, 4)


def test_text_and_image_alone_make_whole_batches(encoder: Encoder, image: Callable[..., Image.Image]) -> None:
    words = views_of(encoder, ["navy", "red women shoes"])
    assert words.has("i").tolist() == [False, False] and torch.equal(words.vectors["mm"], words.vectors["t"])
    shown = views_of(encoder, [image("navy"), Query("q", image=image("red", (48, 32)))])
    assert shown.has("t").tolist() == [False, False] and shown.has("i").all()


def test_an_item_among_others_is_what_it_is_alone(encoder: Encoder, image: Callable[..., Image.Image]) -> None:
    """Every view, every gate and every choice of every router, token by token."""
    items = items_of(encoder, records(image))
    batch = encoder.processor.batch(items)
    with torch.no_grad():
        among = encoder.model(batch)
    for number, item in enumerate(items):
        own = encoder.processor.batch([item])
        with torch.no_grad():
            alone = encoder.model(own)
        for view in VIEWS:
            torch.testing.assert_close(among.vectors[view][number], alone.vectors[view][0], **CLOSE)
            torch.testing.assert_close(among.routing[view][number], alone.routing[view][0], **CLOSE)
        for rows, own_rows in ((joint_rows(batch), joint_rows(own)), (text_rows(batch), text_rows(own))):
            for layer in among.layers if number in rows else ():
                there, here = among.layers[layer], alone.layers[layer]
                torch.testing.assert_close(there.probabilities[rows[number]], here.probabilities[own_rows[0]], **CLOSE)
                torch.testing.assert_close(there.gates[rows[number]], here.gates[own_rows[0]], **CLOSE)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_states_are_those_of_the_checkpoint_itself(
    backbone: str, new_encoder: Callable[..., Encoder], image: Callable[..., Image.Image]
) -> None:
    """Of all rows at once, against transformers' own model on each row alone, with its own positions and attention.

    One image is larger than a window of Qwen2.5-VL's vision attention, and no multiple of it.
    """
    encoder = new_encoder(backbone, experts={"layers": []})
    large = Product("3", "red women shoes", images=[image("grey", (112, 80)), image("red", (32, 48))])
    items = items_of(encoder, [*records(image), large])
    batch, plain = encoder.processor.batch(items), plain_model(encoder)
    with torch.no_grad():
        states, _ = encoder.model.decode(encoder.model.embed(batch), batch)
        ours = encoder.model(batch)
    joint, text = joint_rows(batch), text_rows(batch)
    assert len(joint) == 5 and len(text) == 5
    for number, item in enumerate(items):
        for rows, alone, view in ((joint, item, "mm"), (text, Item(item.text), "t")):
            if number not in rows:
                continue
            inputs, pooled = plain_inputs(encoder, alone)
            with torch.no_grad():
                expected = plain(**inputs).last_hidden_state[0]
            torch.testing.assert_close(states[rows[number]], expected, **CLOSE)
            mean = functional.normalize(expected[pooled].mean(dim=0), dim=0)
            torch.testing.assert_close(ours.vectors[view][number], mean, **CLOSE)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_visual_tokens_are_those_of_the_checkpoint_itself(
    backbone: str, new_encoder: Callable[..., Encoder], image: Callable[..., Image.Image]
) -> None:
    """All images at once, against transformers' own tower on each alone; likewise what deepstack adds."""
    encoder = new_encoder(backbone, experts={"layers": []})
    sizes = [(112, 80), (32, 32), (96, 64), (32, 32), (48, 160)]
    photos = [image(colour, size) for colour, size in zip(("navy", "red", "teal", "grey", "white"), sizes, strict=True)]
    batch, plain = encoder.processor.batch([Item("", photos)]), plain_model(encoder)
    assert batch.images is not None and len(batch.images.grids) == len(photos)
    family = encoder.model.family
    with torch.no_grad():
        features, deepstack = family.image_features(encoder.model.backbone, batch.images.inputs)
    numbers = batch.images.uses[1].tolist()
    for photo, number in zip(photos, numbers, strict=True):
        inputs, _ = plain_inputs(encoder, Item("", [photo]))
        names = ("pixel_values", "image_grid_thw")
        with torch.no_grad():
            found = plain.get_image_features(
                **{name: inputs[name] for name in names if name in inputs}, return_dict=True
            )
        tokens = batch.images.image_of_token == number
        torch.testing.assert_close(features[tokens], torch.cat(list(found.pooler_output)), **CLOSE)
        added = list(getattr(found, "deepstack_features", None) or [])
        assert len(added) == len(deepstack)
        for ours, theirs in zip(deepstack, added, strict=True):
            torch.testing.assert_close(ours[tokens], torch.cat(list(theirs)), **CLOSE)
    assert len(deepstack) == (1 if backbone == "qwen3_vl" else 0)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("sizes", [[], [(112, 48)], [(32, 80), (144, 32), (48, 48)]], ids=["0", "1", "3"])
def test_positions_are_those_of_the_checkpoint_itself(
    backbone: str,
    sizes: list[tuple[int, int]],
    new_encoder: Callable[..., Encoder],
    image: Callable[..., Image.Image],
) -> None:
    encoder = new_encoder(backbone, experts={"layers": []})
    item = Item("navy men casual shirt", [image("navy", size) for size in sizes])
    batch, plain = encoder.processor.batch([item], text=False), plain_model(encoder)
    inputs, _ = plain_inputs(encoder, item)
    ids = inputs["input_ids"]
    if not hasattr(plain, "get_rope_index"):
        assert torch.equal(batch.positions, torch.arange(ids.shape[1])[None])
        return
    types = (ids == encoder.processor.config.image_token_id).int()
    expected, _ = plain.get_rope_index(ids, mm_token_type_ids=types, image_grid_thw=inputs.get("image_grid_thw"))
    assert torch.equal(batch.positions, expected[:, 0])


def test_an_image_that_is_there_for_the_processes_alone_changes_nothing(
    encoder: Encoder, image: Callable[..., Image.Image]
) -> None:
    """A blank image in a row of its own: every vector and gate, and the routers' sums, are as they were without it."""
    read = encoder.processor.read(items_of(encoder, ["red women shoes", "navy"]))
    plain, filled = (encoder.processor.pack(read, filler=filler) for filler in (False, True))
    assert plain.images is None and filled.images is not None and filled.tokens > plain.tokens
    with torch.no_grad():
        without, beside = encoder.model(plain), encoder.model(filled)
    for view in VIEWS:
        assert torch.equal(beside.has(view), without.has(view))
        torch.testing.assert_close(beside.vectors[view], without.vectors[view], **CLOSE)
        torch.testing.assert_close(beside.routing[view], without.routing[view], **CLOSE)
    torch.testing.assert_close(beside.router_sums.assigned, without.router_sums.assigned, rtol=0, atol=0)
    torch.testing.assert_close(beside.router_sums.probability, without.router_sums.probability, **CLOSE)
    with_images = encoder.processor.read(items_of(encoder, records(image)))
    assert encoder.processor.pack(with_images, filler=True).tokens == encoder.processor.pack(with_images).tokens


def test_nothing_at_all_can_be_packed_with_a_blank_image(encoder: Encoder) -> None:
    """As for a process whose chunk holds only what could not be read."""
    batch = encoder.processor.pack(encoder.processor.read([Item(), Item()]), filler=True)
    found = encoder.model(batch)
    assert not found.has("mm").any() and all(not found.vectors[view].any() for view in VIEWS)
    assert not found.router_sums.assigned.any()
    nothing = encoder.model(encoder.processor.batch([Item(), Item()]))
    assert nothing.vectors["mm"].shape == (2, encoder.dimension) and not nothing.vectors["mm"].any()


def test_the_routers_sums_are_taken_of_each_kind_of_row(encoder: Encoder, image: Callable[..., Image.Image]) -> None:
    """By hand from each token's choices: joint rows first, text rows second."""
    batch = encoder.processor.batch(items_of(encoder, records(image)))
    with torch.no_grad():
        found = encoder.model(batch)
    assert found.router_sums.assigned.shape == found.router_sums.probability.shape == (2, len(found.layers), 4)
    for kind, rows in enumerate((joint_rows(batch), text_rows(batch))):
        tokens = torch.cat(list(rows.values()))
        for place, layer in enumerate(found.layers.values()):
            counts = layer.chosen[tokens].flatten().bincount(minlength=4)
            assert found.router_sums.assigned[kind, place].tolist() == counts.tolist()
            total = layer.probabilities[tokens].sum(dim=0)
            torch.testing.assert_close(found.router_sums.probability[kind, place], total, rtol=1e-5, atol=1e-5)


def test_only_the_wanted_views_are_pooled(encoder: Encoder, image: Callable[..., Image.Image]) -> None:
    with torch.no_grad():
        found = encoder.model(encoder.processor.batch(items_of(encoder, records(image))), ("mm",))
    assert list(found.vectors) == list(found.routing) == ["mm"]


def test_forgotten_activations_are_computed_again_to_the_same_gradients(
    encoder: Encoder, image: Callable[..., Image.Image]
) -> None:
    batch = encoder.processor.batch(items_of(encoder, records(image)))
    gradients = []
    for share in (0.0, 0.5, 1.0):
        model = deepcopy(encoder.model).train()
        model.checkpoint_activations(share)
        found = model(batch)
        (found.vectors["mm"][:, 0].sum() + found.router_sums.probability[0, 0, 0]).backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    for other in gradients[1:]:
        assert other.keys() == gradients[0].keys() and len(other) > 10
        for name, gradient in other.items():
            torch.testing.assert_close(gradient, gradients[0][name], rtol=1e-4, atol=1e-6)
