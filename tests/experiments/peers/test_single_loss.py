"""One InfoNCE for all triplets: by hand, and with queries that lack a modality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from moon2 import Encoder
from moon2.catalog.store import Catalog
from moon2.experiments.peers.single_loss import single_loss, train
from moon2.model.items import Item
from moon2.recipe import Recipe, RecipeError
from moon2.train.batches import ChunkLayout, TripletExample, TripletOutline, collate
from moon2.train.step import StepResult

PRODUCTS = [Item(f"{colour} shirt", [Image.new("RGB", (32, 32), colour)]) for colour in ("navy", "red", "green")]
QUERIES = [Item("navy"), Item("", [Image.new("RGB", (32, 32), "red")]), Item("green", PRODUCTS[2].images)]


def examples(queries: Sequence[Item], known: Sequence[set[str]] = ({"0"}, {"1"}, {"2"})) -> list[TripletExample]:
    """Triplets whose positives are `PRODUCTS` in order; the first has the third product as its negative."""
    return [
        TripletExample(
            query,
            PRODUCTS[row],
            PRODUCTS[2] if row == 0 else None,
            TripletOutline(str(row), "2" if row == 0 else None, frozenset(ids)),
        )
        for row, (query, ids) in enumerate(zip(queries, known, strict=True))
    ]


@pytest.fixture
def encoder(small_recipe: Callable[..., Recipe]) -> Encoder:
    return Encoder.from_recipe(small_recipe("experts.count=1", "experts.active=1"), ["navy shirt", "red", "green"])


def step_on(encoder: Encoder, triplets: Sequence[TripletExample], recipe: Recipe) -> StepResult:
    layout = ChunkLayout(encoder.processor, text=encoder.model.text_rows({"mm"}))
    batch = collate(triplets, [[example.outline for example in triplets]], layout)
    (items,) = batch.chunks
    return single_loss(encoder.model(items, {"mm"}), batch.masks, encoder.model.dual_alignment, recipe, 0)


def test_it_is_info_nce_over_all_products_of_the_batch(encoder: Encoder, small_recipe: Callable[..., Recipe]) -> None:
    """The third product is in the batch twice, as a positive and as a negative; it is no negative of its own query."""
    recipe = small_recipe("alignment.temperature_inter=0.07")
    queries = torch.from_numpy(encoder.encode(QUERIES))
    candidates = torch.from_numpy(encoder.encode([*PRODUCTS, PRODUCTS[2]]))
    logits = queries @ candidates.T / 0.07
    logits[2, 3] = -torch.inf
    by_hand = torch.nn.functional.cross_entropy(logits, torch.arange(3))
    result = step_on(encoder, examples(QUERIES), recipe)
    assert float(result.loss.detach()) == pytest.approx(float(by_hand), rel=1e-4)
    assert result.log["loss/mm→mm"] == result.loss


def test_queries_with_one_modality_count_like_any_other(encoder: Encoder, small_recipe: Callable[..., Recipe]) -> None:
    recipe = small_recipe()
    losses = {
        step_on(encoder, examples([query, *QUERIES[1:]]), recipe).loss.item() for query in (Item("navy"), Item("red"))
    }
    assert len(losses) == 2, "another text, another loss"


def test_known_positives_are_no_negatives(encoder: Encoder, small_recipe: Callable[..., Recipe]) -> None:
    recipe = small_recipe()
    all_known = step_on(encoder, examples(QUERIES, [{"0", "1", "2"}] * 3), recipe)
    assert all_known.loss.item() == pytest.approx(0, abs=1e-6), "no negative is left"


def test_it_trains_every_weight_but_those_it_does_not_use(
    encoder: Encoder, small_recipe: Callable[..., Recipe]
) -> None:
    step_on(encoder, examples(QUERIES), small_recipe()).loss.backward()
    without = {name for name, weight in encoder.model.named_parameters() if weight.grad is None}
    assert without == {"dual_alignment"}


def test_what_cannot_be_read_changes_nothing(encoder: Encoder, small_recipe: Callable[..., Recipe]) -> None:
    """A triplet set aside keeps its place in the batch: neither a query, nor a negative of one."""
    recipe, triplets = small_recipe(), examples(QUERIES)
    lost = TripletExample(Item(), Item(), Item(), TripletOutline("lost", "gone", frozenset({"lost"})))
    among = step_on(encoder, [triplets[0], lost, *triplets[1:]], recipe)
    assert among.loss.item() == pytest.approx(step_on(encoder, triplets, recipe).loss.item(), rel=1e-5)


def test_shorter_vectors_are_refused(small_recipe: Callable[..., Recipe], shop: Catalog, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"training\.dimensions is \[8\]; it must be left out for this peer"):
        train(data=shop.folder, out=tmp_path / "run", recipe=small_recipe("training.dimensions=[8]"))
