"""How much faster a training step is with prefix-shared views than with three separate passes, on `tiny`.

    python benchmarks/prefix_sharing.py [--config recipes/tiny.yaml] [--data DATA] [--pairs 7]

Both kinds of step get the same triplets and weights: forward, the whole loss, backward, the optimizer's step. They
run in turn, pair by pair, so that a machine whose speed drifts slows both; the ratio is taken within each pair. It
also prints the largest difference between the two kinds' vectors. Without --data the generated shop is used.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from moon2.catalog.generated_shop.generate import write_shop
from moon2.catalog.store import Catalog
from moon2.catalog.triplets import training_triplets
from moon2.model.encoder import Encoder
from moon2.model.moon_model import MoonModel, Views
from moon2.model.processor import ItemBatch
from moon2.recipe import Recipe, load_recipe
from moon2.train.batches import TripletCollator, TripletStream
from moon2.train.optimizer import make_optimizer
from moon2.train.step import training_step
from moon2.views import VIEWS, View


class SeparatePasses:
    """Stands for the model in `training_step`: the same weights, each view from a pass of its own."""

    def __init__(self, model: MoonModel, images_alone: ItemBatch) -> None:
        self.model = model
        self.images_alone = images_alone
        self.dual_alignment = model.dual_alignment

    def __call__(self, batch: ItemBatch, views: Collection[View] = VIEWS) -> Views:
        results = {
            "t": self.model(replace(batch, joint=None), ("t",)),
            "i": self.model(self.images_alone, ("i",)),
            "mm": self.model(replace(batch, text=None), ("mm",)),
        }
        return Views(
            {view: results[view].vectors[view] for view in views},
            {view: results[view].valid[view] for view in views},
            {view: results[view].routing[view] for view in views},
            [routing for view in views for routing in results[view].passes],
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Times the pairs and prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="recipes/tiny.yaml")
    parser.add_argument("--data", default=None)
    parser.add_argument("--pairs", type=int, default=7)
    options = parser.parse_args(arguments)
    recipe = load_recipe(options.config)
    with tempfile.TemporaryDirectory() as folder:
        catalog = Catalog.open(options.data) if options.data else write_shop(out=Path(folder) / "shop")
        compare(recipe, catalog, options.pairs)


def compare(recipe: Recipe, catalog: Catalog, pairs: int) -> None:
    """Runs `pairs` + 1 pairs of steps (the first one unmeasured) and prints what they took."""
    # Only products with both text and an image: without one of them there is nothing to share.
    complete = {row["id"] for row in catalog.rows("train", ["id", "title", "images"]) if row["title"] and row["images"]}
    triplets = [
        triplet
        for triplet in training_triplets(catalog, recipe.training.seed)
        if triplet.query.text and {triplet.positive_id, triplet.query.product_id, *triplet.negative_ids} <= complete
    ]
    encoder = Encoder.from_recipe(recipe, [triplet.query.text for triplet in triplets])
    size = recipe.training.batch_size
    stream = TripletStream(
        triplets,
        catalog,
        encoder.processor,
        recipe.image_transforms,
        recipe.augmentations,
        length=size * (pairs + 1),
        seed=recipe.training.seed,
    )
    collate = TripletCollator(encoder.processor)
    encoder.model.train()
    optimizer = make_optimizer(encoder.model, recipe.training)
    for group in optimizer.param_groups:
        group["lr"] = 0.0  # a step costs what any step costs, and both kinds keep the same weights
    seconds: dict[str, list[float]] = {"shared": [], "separate": []}
    difference = 0.0
    for number in range(pairs + 1):
        examples = [stream[index] for index in range(number * size, (number + 1) * size)]
        batch = collate(examples)
        items = [example.query for example in examples if example]
        items += [example.positive for example in examples if example]
        items += [example.negative for example in examples if example and example.negative]
        alone = encoder.processor.batch([replace(item, text="") for item in items])
        separate = SeparatePasses(encoder.model, alone)
        kinds = [("shared", encoder.model), ("separate", separate)]
        for kind, model in kinds if number % 2 else reversed(kinds):
            optimizer.zero_grad()
            started = time.perf_counter()
            result = training_step(model, batch, recipe, step=0)
            result.loss.backward()
            optimizer.step()
            seconds[kind].append(time.perf_counter() - started)
        with torch.no_grad():
            shared, apart = encoder.model(batch.items), separate(batch.items)
        differences = [float((shared.vectors[view] - apart.vectors[view]).abs().max()) for view in VIEWS]
        difference = max(difference, *differences)
        print(f"pair {number}: " + "  ".join(f"{kind} {times[-1]:.3f} s" for kind, times in seconds.items()))
    ratios = [b / a for a, b in zip(seconds["shared"][1:], seconds["separate"][1:], strict=True)]
    print(f"\n{size} triplets a step, {len(ratios)} pairs after one unmeasured, {torch.get_num_threads()} threads")
    print(f"separate / shared: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")
    print(f"largest difference between the vectors: {difference:.1e}")


if __name__ == "__main__":
    main()
