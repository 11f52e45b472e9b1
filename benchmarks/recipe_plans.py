"""What each recipe takes and costs, and how that grows: the computed tables of docs/performance.md.

    python benchmarks/recipe_plans.py

Everything is computed by `moon2 train --plan`; nothing is measured. Hours and prices are at --share of an H100's 989
TFLOP/s and at --price dollars an hour, which are assumptions. It takes some minutes.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from moon2.recipe import Recipe, load_recipe
from moon2.train.dry_step import embedding_operations, plan_run

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
H100 = 989e12
GIB = 2**30
DEVICES = (2, 4, 8)


def recipe_rows(share: float, price: float) -> Iterator[str]:
    """A row a recipe."""
    columns = "recipe", "weights", "active", "batch", "TFLOP a triplet", "GPUs", "GiB each", "GPU hours", "run, $"
    yield f"| {' | '.join(columns)} | 1M products, $ |"
    yield "|---" * (len(columns) + 1) + "|"
    for path in sorted(RECIPES.glob("*.yaml")):
        claim = re.search(r"GiB on (\d+) × (\d+) GB", path.read_text(encoding="utf-8"))
        assert claim is not None
        recipe, devices = load_recipe(path), int(claim[1])
        plan = plan_run(recipe, devices)
        costs = ["–"] * 3
        if recipe.backbone.name != "tiny":  # too small to keep a GPU busy
            hours = plan.operations * plan.batch_size * plan.steps / (share * H100) / 3600
            embedding = 1e6 * embedding_operations(recipe) / (share * H100) / 3600
            figures = (hours, hours * price, embedding * price)
            costs = [f"{figure:.0f}" if figure >= 10 else f"{figure:.1f}" for figure in figures]
        yield (
            f"| `{path.name}` | {plan.parameters / 1e6:,.0f} M | {plan.active / 1e6:,.0f} M | {plan.batch_size} | "
            f"{plan.operations / 1e12:.3g} | {devices} × {claim[2]} GB | {plan.peak / GIB:.1f} | {' | '.join(costs)} |"
        )


def growth_rows(recipe: Recipe, changes: Sequence[tuple[str, Recipe, int]]) -> Iterator[str]:
    """A row a change to a recipe."""
    yield "| | weights | TFLOP a triplet | weights + optimizer | gradients + activations | GiB in all |"
    yield "|---|---|---|---|---|---|"
    for name, changed, devices in [("as it is", recipe, 1), *changes]:
        plan = plan_run(changed, devices)
        held, passing = plan.weights + plan.optimizer, plan.gradients + plan.activations
        yield (
            f"| {name} | {plan.parameters / 1e9:.2f} B | {plan.operations / 1e12:.1f} | {held / GIB:.1f} | "
            f"{passing / GIB:.1f} | {plan.peak / GIB:.1f} |"
        )


def changes_of(recipe: Recipe) -> list[tuple[str, Recipe, int]]:
    """Batch, tokens, experts and devices, one at a time."""
    training, inputs, experts = recipe.training, recipe.input, recipe.experts
    shared = replace(training, shard_weights=True)
    chunked = replace(training, chunk_tokens=17_000)
    return [
        ("batch 16", replace(recipe, training=replace(training, batch_size=16)), 1),
        ("batch 256", replace(recipe, training=replace(training, batch_size=256)), 1),
        ("batch 64, chunks of 17,000 tokens", replace(recipe, training=chunked), 1),
        ("batch 1,024, chunks of 17,000 tokens", replace(recipe, training=replace(chunked, batch_size=1024)), 1),
        ("no activation checkpointing", replace(recipe, training=replace(training, activation_checkpointing=0.0)), 1),
        ("64 visual tokens an image", replace(recipe, input=replace(inputs, max_pixels=65_536)), 1),
        ("1,024 visual tokens an image", replace(recipe, input=replace(inputs, max_pixels=1_048_576)), 1),
        ("no experts", replace(recipe, experts=replace(experts, layers=[])), 1),
        ("experts in all 28 layers", replace(recipe, experts=replace(experts, layers=None)), 1),
        ("8 experts, 2 active", replace(recipe, experts=replace(experts, count=8)), 1),
        ("4 experts, 1 active", replace(recipe, experts=replace(experts, active=1)), 1),
        *((f"{count} devices, weights shared out", replace(recipe, training=shared), count) for count in DEVICES),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.22, help="useful operations over 989 TFLOP/s")
    parser.add_argument("--price", type=float, default=2.5, help="dollars for an hour of one GPU")
    parser.add_argument("--growth", default="qwen3-vl-2b", help="the recipe that is changed")
    options = parser.parse_args(arguments)
    for line in recipe_rows(options.share, options.price):
        print(line, flush=True)
    recipe = load_recipe(RECIPES / f"{options.growth}.yaml")
    print()
    for line in growth_rows(recipe, changes_of(recipe)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
