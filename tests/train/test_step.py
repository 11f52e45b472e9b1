"""One step on a real tiny model: what counts as a negative, what the filter does, and that it learns."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count

import pytest
import torch
from PIL import Image
from support.some_items import joint_rows, text_rows

from moon2 import Encoder
from moon2.model import processor
from moon2.model.items import Item
from moon2.recipe import Recipe
from moon2.train.batches import ChunkLayout, TaughtView, TripletBatch, TripletExample, TripletOutline, collate
from moon2.train.step import StepResult, needed_views, taught, triplet_loss
from moon2.views import INTER_OBJECTIVES, INTRA_OBJECTIVES, OBJECTIVES


def item(words: str, image: bool = True, text: bool = True) -> Item:
    """A product or query by words such as "navy shirt": its text, an image of its colour, or both."""
    return Item(words if text else "", [Image.new("RGB", (32, 32), words.split()[0])] if image else [])


def triplet(query: Item, positive: Item, negative: Item | None, id: str, known: Sequence[str] = ()) -> TripletExample:
    """One whose negative is called after its positive."""
    titles = (positive.text, negative.text if negative else "")
    outline = TripletOutline(id, negative and f"not-{id}", frozenset({id, *known}), titles, titles)
    return TripletExample(query, positive, negative, outline)


def colours(**parts: bool) -> list[TripletExample]:
    """Four triplets of one colour each."""
    names = ("navy", "red", "green", "black")
    return [
        triplet(
            item(f"{name}", **parts), item(f"{name} shirt", **parts), item(f"{names[place - 1]} bag", **parts), name
        )
        for place, name in enumerate(names)
    ]


def batch_of(encoder: Encoder, examples: Sequence[TripletExample]) -> TripletBatch:
    return collate(examples, [[example.outline for example in examples]], ChunkLayout(encoder.processor))


def loss_of(encoder: Encoder, batch: TripletBatch, recipe: Recipe, step: int = 0) -> StepResult:
    """One chunk, one process: the batch through the network, and the loss of its views."""
    (items,) = batch.chunks
    views = encoder.model(items, needed_views(recipe))
    return triplet_loss(views, batch.masks, encoder.model.dual_alignment, recipe, step)


def step_on(encoder: Encoder, examples: Sequence[TripletExample], recipe: Recipe) -> StepResult:
    return loss_of(encoder, batch_of(encoder, examples), recipe)


def test_a_known_positive_is_no_negative_of_any_row(
    new_encoder: Callable[..., Encoder], small_recipe: Callable[..., Recipe]
) -> None:
    """The same query twice, with one product under two ids: both rows have the loss of one row alone."""
    encoder, recipe = new_encoder(), small_recipe("filter.enabled=false")
    query, positive, negative = item("navy"), item("navy shirt"), item("red shirt")
    once = step_on(encoder, [triplet(query, positive, negative, "a")], recipe)
    copies = [triplet(query, positive, negative, "a", ["b"]), triplet(query, positive, None, "b", ["a"])]
    twice = step_on(encoder, copies, recipe)
    unknown = step_on(encoder, [triplet(query, positive, negative, "a"), triplet(query, positive, None, "b")], recipe)
    for name in INTER_OBJECTIVES:
        torch.testing.assert_close(twice.log[f"loss/{name}"], once.log[f"loss/{name}"], rtol=1e-4, atol=1e-5)
        assert unknown.log[f"loss/{name}"] > once.log[f"loss/{name}"] + 0.1


def test_the_same_product_twice_is_no_negative_of_itself(
    new_encoder: Callable[..., Encoder], small_recipe: Callable[..., Recipe]
) -> None:
    encoder, recipe = new_encoder(), small_recipe()
    product = item("navy shirt")
    same = step_on(
        encoder, [triplet(item("navy"), product, None, "a"), triplet(item("red"), product, None, "a")], recipe
    )
    for name in INTRA_OBJECTIVES:
        assert same.log[f"loss/{name}"] == 0


def test_the_filter_weighs_triplets_of_the_log_only(
    new_encoder: Callable[..., Encoder], small_recipe: Callable[..., Recipe]
) -> None:
    encoder, examples = new_encoder(), colours()
    off, on, never = (
        step_on(encoder, examples, small_recipe(*settings)).log
        for settings in (
            ["filter.enabled=false"],
            ["filter.threshold=1.0", "filter.sharpness=5", "filter.margin_start=0"],
            ["filter.threshold=0.0"],
        )
    )
    assert on["filter/share"] > 0 and never["filter/share"] == 0
    for name in INTER_OBJECTIVES:
        assert never[f"loss/{name}"] == off[f"loss/{name}"]
        assert abs(on[f"loss/{name}"] - off[f"loss/{name}"]) > 1e-4
    for name in INTRA_OBJECTIVES:
        assert on[f"loss/{name}"] == off[f"loss/{name}"]


def test_a_triplet_without_negative_is_believed(
    new_encoder: Callable[..., Encoder], small_recipe: Callable[..., Recipe]
) -> None:
    examples = [
        triplet(item("navy"), item("navy shirt"), None, "a"),
        triplet(item("red"), item("red shirt"), None, "b"),
    ]
    assert step_on(new_encoder(), examples, small_recipe()).log["filter/phi"] == 1


@pytest.mark.parametrize(
    ("parts", "present"),
    [({"image": False}, {"t→mm"}), ({"text": False}, {"i→mm"}), ({}, set(map(str, OBJECTIVES)))],
    ids=["text only", "images only", "both"],
)
def test_a_shop_of_one_modality_trains(
    parts: dict[str, bool], present: set[str], new_encoder: Callable[..., Encoder], small_recipe: Callable[..., Recipe]
) -> None:
    encoder = new_encoder()
    result = step_on(encoder, colours(**parts), small_recipe())
    for part in ("weight", "loss"):
        assert {str(objective) for objective in OBJECTIVES if result.log[f"{part}/{objective}"] > 0} == present
    torch.testing.assert_close(
        sum(result.log[f"weight/{name}"] for name in OBJECTIVES), torch.tensor(float(len(present)))
    )
    result.loss.backward()
    gradients = [weight.grad for weight in encoder.model.parameters() if weight.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.abs().max() > 0 for gradient in gradients)


def test_the_log_holds_finite_detached_numbers(
    new_encoder: Callable[..., Encoder], small_recipe: Callable[..., Recipe]
) -> None:
    log = step_on(new_encoder(), colours(), small_recipe()).log
    assert all(value.ndim == 0 and value.isfinite() and not value.requires_grad for value in log.values())
    load = sum(log[f"expert_load/{expert}"] for expert in range(4))
    torch.testing.assert_close(load, torch.tensor(1.0))


def test_gradient_reaches_the_dual_alignment_matrix(
    new_encoder: Callable[..., Encoder], small_recipe: Callable[..., Recipe]
) -> None:
    encoder = new_encoder()
    # Without ς, so that the gradient can only come through the weights ω of the losses.
    step_on(encoder, colours(), small_recipe("alignment.sparsity_weight=0")).loss.backward()
    gradient = encoder.model.dual_alignment.grad
    assert gradient is not None and gradient.shape == (4, 5)
    assert (gradient.abs().amax(dim=1) > 0).all() and (gradient.abs().amax(dim=0) > 0).all()


def test_the_weights_come_from_the_routing_of_both_sides(
    new_encoder: Callable[..., Encoder], small_recipe: Callable[..., Recipe]
) -> None:
    """ω by hand, with preferences that are not equal: of a query and its positive, of a product's image and text."""
    encoder = new_encoder()
    with torch.no_grad():
        encoder.model.dual_alignment.normal_(generator=torch.Generator().manual_seed(0))
        batch = batch_of(encoder, colours())
        (items,) = batch.chunks
        gates = encoder.model(items).routing
        log = loss_of(encoder, batch, small_recipe()).log
    preference = encoder.model.dual_alignment.softmax(dim=1)
    queries, positives, products = slice(0, 4), slice(4, 8), slice(4, 12)
    for number, objective in enumerate(OBJECTIVES):
        if objective.is_inter:
            both = gates[objective.query][queries] + gates["mm"][positives]
        else:
            both = gates["t"][products] + gates["i"][products]
        by_hand = len(OBJECTIVES) * (both / 2 * preference[:, number]).sum(dim=1).mean()
        torch.testing.assert_close(log[f"omega/{objective}"], by_hand, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("count", [1, 4])
def test_without_experts_there_is_nothing_to_balance(
    count: int, new_encoder: Callable[..., Encoder], small_recipe: Callable[..., Recipe]
) -> None:
    overrides = ["experts.layers=[]", f"experts.count={count}", "experts.active=1", "alignment.balance=paper"]
    result = step_on(new_encoder(*overrides), colours(), small_recipe(*overrides))
    assert result.loss.isfinite() and result.log["load_balance"] == 0
    assert all(float(result.log[f"weight/{name}"]) == pytest.approx(1) for name in OBJECTIVES)


def test_one_product_alone_has_no_other_to_be_told_from(
    new_encoder: Callable[..., Encoder], small_recipe: Callable[..., Recipe]
) -> None:
    alone = step_on(new_encoder(), [triplet(item("navy"), item("navy shirt"), None, "a")], small_recipe()).log
    for name in INTRA_OBJECTIVES:
        assert alone[f"loss/{name}"].isnan() and alone[f"weight/{name}"] == 0


def test_what_lacks_a_view_is_not_taught_by_it(
    new_encoder: Callable[..., Encoder], small_recipe: Callable[..., Recipe]
) -> None:
    """A photo without words among products that are taught by words."""
    encoder, recipe = new_encoder(), small_recipe()
    examples = [*colours()[:3], triplet(item("black"), item("black shirt", text=False), None, "black")]
    batch = batch_of(encoder, examples)
    views = encoder.model(batch.chunks[0], needed_views(recipe))
    plain = triplet_loss(views, batch.masks, encoder.model.dual_alignment, recipe, 0)
    rows = len(views.has_text)
    table = torch.nn.functional.normalize(torch.randn(rows, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    everyone = torch.ones(rows, dtype=torch.bool)
    losses = [
        taught(plain, views, {"t": TaughtView(table, table, counts)}, recipe).log["teacher"]
        for counts in (everyone, everyone & views.has_text)
    ]
    assert not views.has_text.all() and losses[0] == losses[1] > 0


def test_the_loss_falls_on_a_fixed_batch(
    new_encoder: Callable[..., Encoder], small_recipe: Callable[..., Recipe]
) -> None:
    encoder, recipe = new_encoder(), small_recipe()
    batch = batch_of(encoder, colours())
    optimizer = torch.optim.AdamW(encoder.model.parameters(), lr=3e-3)
    losses = []
    for step in range(15):
        loss = loss_of(encoder, batch, recipe, step).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_objectives_that_are_not_chosen_cost_nothing_and_the_rest_stay_as_they_were(
    new_encoder: Callable[..., Encoder], small_recipe: Callable[..., Recipe]
) -> None:
    whole = step_on(new_encoder(), colours(), small_recipe())
    for chosen in (INTER_OBJECTIVES, INTRA_OBJECTIVES, INTER_OBJECTIVES[2:]):
        shares = json.dumps(dict.fromkeys(map(str, chosen), 1), ensure_ascii=False)
        part = step_on(new_encoder(), colours(), small_recipe(f"alignment.objectives={shares}"))
        for name in OBJECTIVES:
            assert (float(part.log[f"weight/{name}"]) > 0) == (name in chosen)
            if name in chosen:
                torch.testing.assert_close(part.log[f"loss/{name}"], whole.log[f"loss/{name}"], rtol=1e-4, atol=1e-5)
            else:
                assert part.log[f"loss/{name}"].isnan()


def test_products_given_with_one_enriched_title_are_no_negatives_of_each_other(
    new_encoder: Callable[..., Encoder], small_recipe: Callable[..., Recipe]
) -> None:
    """Two titles of their own, one text drawn for both: by that text nobody could tell which image is meant."""
    encoder, recipe = new_encoder(), small_recipe()
    pair = [triplet(item("navy"), item("navy shirt"), None, "a"), triplet(item("red"), item("red bag"), None, "b")]
    apart = step_on(encoder, pair, recipe)
    enriched = [
        replace(
            one,
            positive=Item("fine cotton", one.positive.images),
            outline=replace(one.outline, texts=("fine cotton", "")),
        )
        for one in pair
    ]
    drawn_alike = step_on(encoder, enriched, recipe)
    assert float(apart.log["loss/i→t"]) > 0.01
    assert float(drawn_alike.log["loss/i→t"]) == 0


def test_what_cannot_be_read_changes_no_loss_of_what_can(
    new_encoder: Callable[..., Encoder], small_recipe: Callable[..., Recipe]
) -> None:
    """Triplets set aside keep their place in the batch; every loss, weight and share is that of the others alone."""
    encoder, recipe = new_encoder(), small_recipe("filter.threshold=0.9", "filter.margin_start=0")
    readable = colours()
    lost = [triplet(Item(), Item(), negative, name) for name, negative in (("lost", Item()), ("gone", None))]
    alone = step_on(encoder, readable, recipe)
    among = step_on(encoder, [lost[0], *readable[:2], lost[1], *readable[2:]], recipe)
    assert among.log.keys() == alone.log.keys()
    for name, value in alone.log.items():
        torch.testing.assert_close(among.log[name], value, rtol=1e-4, atol=1e-5, msg=name)
    torch.testing.assert_close(among.loss, alone.loss, rtol=1e-4, atol=1e-5)
    among.loss.backward()
    assert all(p.grad.isfinite().all() for p in encoder.model.parameters() if p.grad is not None)


def test_a_photo_that_is_read_once_gets_the_gradients_of_all_its_places(
    new_encoder: Callable[..., Encoder], small_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a batch in which each place has a photo of its own."""
    pair = [
        triplet(item("navy"), Item("navy shirt", item("navy").images * 2), None, "a"),
        triplet(item("red"), Item("red bag", item("navy").images), None, "b"),
    ]
    counts, gradients = [], []
    for read_once in (True, False):
        if not read_once:
            numbers = count()
            monkeypatch.setattr(processor, "_key", lambda _, numbers=numbers: str(next(numbers)).encode())
        encoder = new_encoder()
        batch = batch_of(encoder, pair)
        assert batch.chunks[0].images is not None
        counts.append(len(batch.chunks[0].images.grids))
        loss_of(encoder, batch, small_recipe()).loss.backward()
        gradients.append({name: p.grad for name, p in encoder.model.named_parameters() if p.grad is not None})
    assert counts == [2, 5]
    for name, gradient in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], gradient, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize(("image", "kinds"), [(True, 2), (False, 1)])
def test_the_balance_of_the_experts_is_taken_of_each_kind_of_row(
    image: bool, kinds: int, new_encoder: Callable[..., Encoder], small_recipe: Callable[..., Recipe]
) -> None:
    """L_aux by hand: of each of two layers, of joint rows and of text rows apart where a batch has both; the mean."""
    encoder = new_encoder()
    batch = batch_of(encoder, colours(image=image))
    (items,) = batch.chunks
    with torch.no_grad():
        views = encoder.model(items)
        found = loss_of(encoder, batch, small_recipe()).log["load_balance"]
    by_hand = []
    for layer in views.layers.values():
        for rows in filter(None, (joint_rows(items), text_rows(items))):
            tokens = torch.cat(list(rows.values()))
            share = layer.chosen[tokens].flatten().bincount(minlength=4) / (2 * len(tokens))
            by_hand.append(4 * (share * layer.probabilities[tokens].mean(dim=0)).sum())
    assert len(by_hand) == 2 * kinds
    torch.testing.assert_close(found, torch.stack(by_hand).mean(), rtol=1e-4, atol=1e-6)
