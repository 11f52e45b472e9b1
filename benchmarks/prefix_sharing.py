"""How much faster a training step is with prefix-shared views than with a separate pass for each, on `tiny`.

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
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from moon2.catalog.generated_shop.generate import write_shop
from moon2.catalog.store import Catalog
from moon2.catalog.triplets import training_triplets
from moon2.model.encoder import Encoder
from moon2.model.item_batch import ItemBatch
from moon2.model.moon_model import MoonModel, RouterSums, Views
from moon2.model.processor import Item, Processor
from moon2.recipe import Recipe, load_recipe
from moon2.train.batches import ChunkLayout, TripletExample, collate
from moon2.train.optimizer import make_optimizer
from moon2.train.step import triplet_loss
from moon2.train.stream import TripletStream
from moon2.views import VIEWS, View


def batches_apart(processor: Processor, examples: Sequence[TripletExample]) -> dict[View, ItemBatch]:
    """For each view the rows that it needs, and no others."""
    items = [example.query for example in examples] + [example.positive for example in examples]
    items += [example.negative for example in examples if example.negative is not None]
    return {
        "t": processor.batch(items, images=False),
        "i": processor.batch([Item("", item.images) for item in items]),
        "mm": processor.batch(items, text=False),
    }


def views_apart(model: MoonModel, batches: Mapping[View, ItemBatch]) -> Views:
    """The same weights, each view from a pass of its own."""
    parts = {view: model(batch, (view,)) for view, batch in batches.items()}
    sums = [part.router_sums for part in parts.values()]
    return Views(
        parts["t"].has_text,
        parts["i"].has_images,
        {view: part.vectors[view] for view, part in parts.items()},
        {view: part.routing[view] for view, part in parts.items()},
        RouterSums(
            torch.stack([part.assigned for part in sums]).sum(dim=0),
            torch.stack([part.probability for part in sums]).sum(dim=0),
        ),
        {},
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
    layout = ChunkLayout(encoder.processor)
    encoder.model.train()
    optimizer = make_optimizer(encoder.model, recipe.training)
    for group in optimizer.param_groups:
        group["lr"] = 0.0  # a step costs what any step costs, and both kinds keep the same weights
    seconds: dict[str, list[float]] = {"shared": [], "separate": []}
    difference = 0.0
    for number in range(pairs + 1):
        examples = [stream[index] for index in range(number * size, (number + 1) * size)]
        batch = collate(examples, [[example.outline for example in examples]], layout)
        apart = batches_apart(encoder.processor, examples)
        (whole,) = batch.chunks
        runs = {"shared": lambda b=whole: encoder.model(b), "separate": lambda b=apart: views_apart(encoder.model, b)}
        for kind in ("shared", "separate") if number % 2 else ("separate", "shared"):
            optimizer.zero_grad()
            started = time.perf_counter()
            result = triplet_loss(runs[kind](), batch.masks, encoder.model.dual_alignment, recipe, step=0)
            result.loss.backward()
            optimizer.step()
            seconds[kind].append(time.perf_counter() - started)
        with torch.no_grad():
            one, other = runs["shared"](), runs["separate"]()
        differences = [float((one.vectors[view] - other.vectors[view]).abs().max()) for view in VIEWS]
        difference = max(difference, *differences)
        print(f"pair {number}: " + "  ".join(f"{kind} {times[-1]:.3f} s" for kind, times in seconds.items()))
    ratios = [b / a for a, b in zip(seconds["shared"][1:], seconds["separate"][1:], strict=True)]
    print(f"\n{size} triplets a step, {len(ratios)} pairs after one unmeasured, {torch.get_num_threads()} threads")
    print(f"separate / shared: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")
    print(f"largest difference between the vectors: {difference:.1e}")


if __name__ == "__main__":
    main()
