"""What the augmentations of `moon2 augment` do to retrieval: the same recipe with and without them, over several seeds.

    python benchmarks/co_augmentation.py DATA+ --steps 150 --seeds 0 1 2 --at_once 2 \\
        --modes none concatenate:0.5 draw:0.5 draw:0.0 --out runs/co-augmentation

A mode is `none`, or a way to use the augmentations and the share of products that are given without them in a
step. Runs are kept as `moon2 compare` keeps them: FOLDER/results.json has a row a run, and the same command goes on
where it was stopped.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from moon2.catalog.store import CatalogError
from moon2.experiments.runner import Experiment, ExperimentError, run_same_steps
from moon2.experiments.tables import differences_table, means_table
from moon2.experiments.variants import Variant
from moon2.recipe import load_recipe


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, evaluates, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a catalog that `moon2 augment` wrote, with test queries")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--modes", nargs="+", default=["none", "concatenate:0.5", "draw:0.5", "draw:0.0"])
    parser.add_argument("--config", default="recipes/tiny.yaml")
    parser.add_argument("--out", default="runs/co-augmentation", metavar="FOLDER")
    parser.add_argument("--at_once", type=int, default=1, help="runs side by side, with one core each")
    options = parser.parse_args(arguments)
    try:
        variants = [variant_of(mode) for mode in options.modes]
        recipe = load_recipe(options.config, [f"training.steps={options.steps}", "training.evaluate_every=0"])
        experiment = Experiment(
            Path(options.out),
            Path(options.data),
            recipe,
            options.seeds,
            at_once=options.at_once,
            command=shlex.join(["python", "benchmarks/co_augmentation.py", *(arguments or sys.argv[1:])]),
        )
        rows = run_same_steps(experiment, variants)
    except (ValueError, ExperimentError, CatalogError) as error:
        raise SystemExit(str(error)) from None
    print(f"{means_table(rows)}\n\n{differences_table(rows, variants[0].name)}")


def variant_of(mode: str) -> Variant:
    """The settings that make a mode; ValueError where it is none."""
    use, _, kept = mode.partition(":")
    if mode == "none":
        return Variant(mode, ("augmentations.use=none",))
    try:
        if use in ("concatenate", "draw") and 0 <= float(kept) <= 1:
            return Variant(mode, (f"augmentations.use={use}", f"augmentations.keep_original={kept}"))
    except ValueError:
        pass
    raise ValueError(f"--modes: {mode!r} is no mode; give none, or such as concatenate:0.5 or draw:0.25")


if __name__ == "__main__":
    main()
