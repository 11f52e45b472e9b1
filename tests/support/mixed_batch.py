"""A batch in which everything is missing somewhere, and the gradients that it gives."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random

import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn import functional

from moon2 import Encoder
from moon2.model.items import Item
from moon2.model.lora import adapters, add_lora
from moon2.recipe import LoraSettings
from moon2.train.batches import ChunkLayout, TripletExample, TripletOutline, collate
from moon2.train.gradcache import add_gradients
from moon2.train.processes import Processes
from moon2.train.step import triplet_loss
from moon2.train.teacher import Teacher, TeacherTable
from support.drawn_shop import TITLES
from support.small_recipe import small_recipe

COLOURS = ("navy", "red", "green", "black", "white", "gold", "teal", "pink")
# More experts than one, in both layers, apart from the start: or no gradient would tell them apart.
RECIPE = (
    "experts.noise=0.5",
    "training.steps=20",
    "alignment.load_balance_weight=0.5",
    "training.batch_size=8",
    "backbone.pooling=modalities",
    # Losses of shorter vectors too: they must reach the weights through the same cached vectors.
    "training.dimensions=[8,16]",
)
TOLERANCE = 1e-5


def encoder_for_gradients(*, lora: bool = False) -> Encoder:
    """An untrained encoder whose dual-alignment matrix prefers something, so every part of the loss has a slope.

    Args:
        lora: with adapters, none of them zero, in the vision tower too.
    """
    encoder = Encoder.from_recipe(small_recipe(*RECIPE), TITLES)
    if lora:
        add_lora(encoder.model, LoraSettings(rank=8, vision=True))
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        encoder.model.dual_alignment.copy_(torch.randn(4, 5, generator=random))
        for _, _, adapter in adapters(encoder.model):
            adapter.B.copy_(0.05 * torch.randn(adapter.B.shape, generator=random))
    return encoder


def item(words: str, size: tuple[int, int] | None) -> Item:
    """Words, and an image of their colour unless there is no size."""
    if size is None:
        return Item(words)
    image = Image.new("RGB", size, next(word for word in words.split() if word in COLOURS))
    ImageDraw.Draw(image).line((0, 0, *size), fill="orange", width=2 + len(words) % 3)
    return Item(words, [image])


def drawn_triplets(draw: Random) -> list[TripletExample]:
    """Four to eight triplets of texts of one to ten words; half of the items lack an image, the others' are alike."""

    def drawn() -> Item:
        return item(" ".join([draw.choice(COLOURS), *["very"] * draw.randrange(10)]), draw.choice([None, (24, 40)]))

    examples = []
    for number in range(draw.randrange(4, 9)):
        query, positive, negative = drawn(), drawn(), drawn()
        texts = positive.text, negative.text
        outline = TripletOutline(f"{number}", f"not-{number}", frozenset({f"{number}"}), texts, texts)
        examples.append(TripletExample(query, positive, negative, outline))
    return examples


def mixed_triplets(*, images_from: int = 0, unreadable: Collection[int] = (4,)) -> list[TripletExample]:
    """Eight triplets of items of unequal length; the first `images_from` have no image at all.

    Some queries are words only or images only, some products lack an image, two triplets have no negative, one product
    comes twice, one query knows another's product, and some triplets could not be read.
    """
    triplets = []
    for number, colour in enumerate(COLOURS):
        pictures = number >= images_from
        tall, wide = ((24, 40), (48, 24)) if pictures else (None, None)
        query = item(f"{colour} thing {'very ' * number}", tall if number % 3 else None)
        if number % 4 == 1 and pictures:
            query.text = ""
        positive = item(f"{colour} shirt for men", wide if number != 6 else None)
        negative = None if number in (2, 5) else item(f"{COLOURS[number - 1]} bag {'big ' * (number % 3)}", tall)
        id = colour if number != 7 else "red"
        known = frozenset({id, "green"} if number == 3 else {id})
        outline = TripletOutline(
            id, None if negative is None else f"not-{colour}", known, (positive.text, negative.text if negative else "")
        )
        outline = replace(outline, query_id=str(number), query_text=query.text)
        if number in unreadable:
            query, positive, negative = Item(), Item(), None if negative is None else Item()
        triplets.append(TripletExample(query, positive, negative, outline))
    return triplets


def random_teacher(examples: Sequence[TripletExample]) -> Teacher:
    """Teachers of words and of images, of other widths, who lack every seventh item; every process has the same."""
    keys = [("queries", example.outline.query_id) for example in examples]
    keys += [("products", example.outline.positive_id) for example in examples]
    keys += [("products", id) for example in examples if (id := example.outline.negative_id) is not None]
    kept = [key for number, key in enumerate(dict.fromkeys(keys)) if number % 7]
    places = {key: number for number, key in enumerate(kept)}
    random = torch.Generator().manual_seed(2)
    tables = {}
    for view, width in (("t", 12), ("i", 20)):
        own, joint = (torch.randn(len(kept) + 1, width, generator=random) for _ in range(2))
        tables[view] = TeacherTable(places, functional.normalize(own), functional.normalize(joint))
    return Teacher(tables)


@dataclass
class Gradients:
    """The loss of a batch, what the log shows of it, and the gradient of each weight."""

    loss: Tensor
    log: dict[str, Tensor]
    of: dict[str, Tensor]


def gradients(
    encoder: Encoder,
    examples: Sequence[TripletExample],
    processes: Processes | None = None,
    *settings: str,
    chunk_tokens: int | None = None,
    checkpointed: float = 0.0,
    teacher: Teacher | None = None,
) -> Gradients:
    """The gradients of a batch, of which each process computes its share.

    Args:
        encoder: of every process the same; its own gradients are cleared.
        examples: the whole batch.
        processes: that compute it together; one without.
        settings: of the recipe, such as `alignment.balance=minimax`.
        chunk_tokens: as in the recipe.
        checkpointed: the share of blocks that recompute their activations.
        teacher: random where the settings name one and none is given.
    """
    processes = processes or Processes(0, 1, torch.device("cpu"))
    model = encoder.model
    model.train()
    model.zero_grad()
    model.checkpoint_activations(checkpointed)
    bounds = [round(len(examples) * rank / processes.count) for rank in range(processes.count + 1)]
    shares = [examples[start:end] for start, end in pairwise(bounds)]
    layout = ChunkLayout(encoder.processor, tokens=chunk_tokens, always_images=processes.count > 1)
    recipe = small_recipe(*RECIPE, *settings)
    teacher = teacher or (random_teacher(examples) if recipe.training.teacher else None)
    outlines = [[example.outline for example in share] for share in shares]
    batch = collate(shares[processes.rank], outlines, layout, teacher.taught if teacher else None)
    result = add_gradients(model, batch, triplet_loss, recipe, 3, processes, nullcontext())
    processes.average_gradients(model.parameters())
    found = {}
    for name, weights in model.named_parameters():
        assert weights.grad is not None
        whole = weights.grad.full_tensor() if isinstance(weights.grad, DTensor) else weights.grad
        found[name] = whole.clone()
    model.checkpoint_activations(0.0)
    return Gradients(result.loss.detach(), result.log, found)


def assert_same(first: Gradients, second: Gradients) -> None:
    """Each within 1e-5 of its tensor's largest entry."""
    torch.testing.assert_close(first.loss, second.loss, rtol=1e-6, atol=TOLERANCE)
    for name in first.log.keys() | second.log.keys():
        torch.testing.assert_close(first.log[name], second.log[name], rtol=1e-4, atol=1e-5, equal_nan=True, msg=name)
    assert first.of.keys() == second.of.keys()
    # A key's bias cannot change attention, so its gradient is rounding alone; the same holds for anything as small.
    largest = max(float(gradient.abs().max()) for gradient in first.of.values())
    for name, gradient in first.of.items():
        bound = TOLERANCE * max(float(gradient.abs().max()), 1e-3 * largest)
        difference = float((gradient - second.of[name]).abs().max())
        assert difference <= bound, f"{name}: {difference:.2e} apart, {bound:.2e} allowed"
