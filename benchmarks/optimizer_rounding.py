"""What rounding costs: AdamW over float32 weights, `adamw_bf16`, and other ways to round, on `tiny`.

    python benchmarks/optimizer_rounding.py [--config recipes/tiny.yaml] [--data DATA] [--steps 300] [--seeds 0 1]

All start from the same weights, which bfloat16 can hold, see the same batches at the same learning rate, and run
forward and backward in float32. What differs is how weights and moments are held. It prints the mean loss of the last
50 steps, how far a weight moves in a step, and how far it is from its start in the end. Any rounding by chance adds a
random walk to the last. Without --data the generated shop is used.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch

from moon2.catalog.generated_shop.generate import write_shop
from moon2.catalog.store import Catalog
from moon2.catalog.triplets import training_triplets
from moon2.model.encoder import Encoder
from moon2.model.moon_model import MoonModel
from moon2.recipe import Recipe, load_recipe
from moon2.train import adamw_bf16
from moon2.train.batches import ChunkLayout, TripletBatch
from moon2.train.optimizer import make_optimizer
from moon2.train.step import needed_views, triplet_loss
from moon2.train.stream import TripletBatches, TripletStream

Weights = Literal["float32", "bfloat16", "independent", "nearest"]
NAMES: dict[Weights, str] = {
    "float32": "AdamW, float32 weights",
    "bfloat16": "adamw_bf16",
    "independent": "the same, noise drawn anew each step",
    "nearest": "the same, rounded to nearest",
}


class Outcome(NamedTuple):
    """What a run came to; movements are means over all weights.

    Attributes:
        loss: mean of the last 50 steps.
        movement: |Δw| of a step, the mean over steps.
        distance: |w − w at the start| at the end.
    """

    loss: float
    movement: float
    distance: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="recipes/tiny.yaml")
    parser.add_argument("--data", default=None)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--learning_rate", type=float, default=1e-5)
    options = parser.parse_args(arguments)
    recipe = load_recipe(options.config)
    recipe.training.steps, recipe.training.batch_size = options.steps, options.batch_size
    recipe.training.learning_rate = options.learning_rate
    with tempfile.TemporaryDirectory() as folder:
        catalog = Catalog.open(options.data) if options.data else write_shop(out=Path(folder) / "shop")
        print("| seed | weights | loss | mean \\|Δw\\| of a step | distance from the start |\n|---|---|---|---|---|")
        for seed in options.seeds:
            recipe.training.seed = seed
            compare(recipe, catalog)


def compare(recipe: Recipe, catalog: Catalog, different_batches: int = 50) -> None:
    """Trains from one start with each kind of weights and prints a row for each, beside float32's."""
    settings = recipe.training
    triplets = training_triplets(catalog, settings.seed)
    encoder = Encoder.from_recipe(recipe, [triplet.query.text for triplet in triplets])
    length = different_batches * settings.batch_size
    transforms, augmentations = recipe.image_transforms, recipe.augmentations
    stream = TripletStream(
        triplets, catalog, encoder.processor, transforms, augmentations, length=length, seed=settings.seed
    )
    layout = ChunkLayout(encoder.processor, text=encoder.model.text_rows(needed_views(recipe)))
    stream_in_batches = TripletBatches(stream, settings.batch_size, layout)
    batches = [stream_in_batches[number] for number in range(different_batches)]
    outcomes: dict[str, Outcome] = {}
    for weights in get_args(Weights):
        outcomes[weights] = found = train_copy(encoder.model, batches, recipe, weights)
        cells = [
            f"{value:.4g} ({100 * (value / reference - 1):+.2f} %)"
            for value, reference in zip(found, outcomes["float32"], strict=True)
        ]
        print(f"| {settings.seed} | {NAMES[weights]} | {' | '.join(cells)} |", flush=True)


def train_copy(model: MoonModel, batches: Sequence[TripletBatch], recipe: Recipe, weights: Weights) -> Outcome:
    """Trains a copy of the model for `recipe.training.steps` steps, at a constant rate, over the batches in turn."""
    settings, views = recipe.training, needed_views(recipe)
    working = copy.deepcopy(model).train()  # always float32: what runs
    with torch.no_grad():  # a start that both formats can hold
        for weight in working.parameters():
            weight.copy_(weight.bfloat16())
    held = copy.deepcopy(working)  # what the optimizer holds
    if weights != "float32":
        held.backbone.bfloat16()  # W* stays in float32
    optimizer = make_optimizer(held, replace(settings, optimizer="adamw" if weights == "float32" else "adamw_bf16"))
    start = [weight.detach().clone() for weight in working.parameters()]
    number = sum(weight.numel() for weight in start)
    losses, moved = [], torch.zeros(())
    with rounding_of(weights):
        for step in range(settings.steps):
            working.zero_grad()
            batch = batches[step % len(batches)]
            (items,) = batch.chunks
            loss = triplet_loss(working(items, views), batch.masks, working.dual_alignment, recipe, step).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(working.parameters(), settings.max_grad_norm)
            losses.append(loss.detach())
            for weight, copied in zip(held.parameters(), working.parameters(), strict=True):
                weight.grad = None if copied.grad is None else copied.grad.to(weight.dtype)
            optimizer.step()
            with torch.no_grad():
                for weight, copied in zip(held.parameters(), working.parameters(), strict=True):
                    moved += (weight - copied).abs().sum()
                    copied.copy_(weight)
        distance = sum(
            (weight.detach() - before).abs().sum() for weight, before in zip(working.parameters(), start, strict=True)
        )
    last = torch.stack(losses[-50:]).mean()
    return Outcome(float(last), float(moved) / settings.steps / number, float(distance) / number)


@contextmanager
def rounding_of(weights: Weights) -> Iterator[None]:
    """Within it `adamw_bf16` rounds in that way."""
    rounding, noise = adamw_bf16.round_stochastically, adamw_bf16.draw_noise
    if weights == "nearest":
        adamw_bf16.round_stochastically = lambda values, noise: values.bfloat16()
    if weights == "independent":
        adamw_bf16.draw_noise = lambda number, *_: torch.randint(2**16, (number,), dtype=torch.int32)
    try:
        yield
    finally:
        adamw_bf16.round_stochastically, adamw_bf16.draw_noise = rounding, noise


if __name__ == "__main__":
    main()
