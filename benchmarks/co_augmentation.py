"""What the augmentations of `moon2 augment` do to retrieval: the same recipe with and without them, over several seeds.

    python benchmarks/co_augmentation.py DATA+ --steps 150 --seeds 0 1 2 --at_once 2 \\
        --modes none concatenate:0.5 draw:0.5 draw:0.0 --out runs/co-augmentation

A mode is `none`, or a use of the augmentations with the share of products that a step gives without them. Runs are kept
as `moon2 compare` keeps them: OUT/results.json has a row a run, and the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from moon2.errors import UserError
from moon2.experiments.runner import Experiment, run_same_steps
from moon2.experiments.tables import differences_table, means_table
from moon2.experiments.variants import Variant
from moon2.recipe import load_recipe

MODES = ("none", "concatenate:0.5", "draw:0.5", "draw:0.0")


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, evaluates, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a catalog that `moon2 augment` wrote, with test queries")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--modes", nargs="+", default=MODES)
    parser.add_argument("--config", default="recipes/tiny.yaml")
    parser.add_argument("--out", type=Path, default=Path("runs/co-augmentation"), metavar="FOLDER")
    parser.add_argument("--at_once", type=int, default=1, help="runs side by side, with one core each")
    options = parser.parse_args(arguments)
    command = shlex.join(["python", "benchmarks/co_augmentation.py", *(arguments or sys.argv[1:])])
    try:
        variants = [variant_of(mode) for mode in options.modes]
        recipe = load_recipe(options.config, [f"training.steps={options.steps}", "training.evaluate_every=0"])
        experiment = Experiment(
            options.out, options.data, recipe, options.seeds, at_once=options.at_once, command=command
        )
        rows = run_same_steps(experiment, variants)
    except UserError as error:
        raise SystemExit(str(error)) from None
    print(f"{means_table(rows)}\n\n{differences_table(rows, variants[0].name)}")


def variant_of(mode: str) -> Variant:
    """The settings of a mode.

    Raises:
        UserError: there is no such mode.
    """
    use, _, share = mode.partition(":")
    if mode == "none":
        return Variant(mode, ("augmentations.use=none",))
    if use not in ("concatenate", "draw") or not share:
        raise UserError(f"--modes: there is no mode {mode!r}; give none, or one such as concatenate:0.5 or draw:0.25")
    variant = Variant(mode, (f"augmentations.use={use}", f"augmentations.keep_original={share}"))
    load_recipe(None, variant.settings)  # refuses a share that is none
    return variant


if __name__ == "__main__":
    main()
