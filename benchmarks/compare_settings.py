"""What chosen settings do: one recipe with each of them, over several seeds.

    python benchmarks/compare_settings.py DATA --steps 400 --seeds 0 1 2 --at_once 2 --out runs/settings \\
        --beside "dense, equal active size" "without filtering" \\
        --try "one active expert: experts.active=1" --try "brand and colour too: input.fields=[title,brand,colour]"

`--beside` adds what `moon2 compare` and `moon2 ablate` try, by name; `--try` adds settings of the recipe under a name.
The first row is the recipe as it is, which each other is compared with seed by seed. Runs are kept as `moon2 compare`
keeps them: OUT/results.json has one row per run, and the same command goes on where it was stopped. Co-augmentation is
`--try "drawn: augmentations.use=draw augmentations.keep_original=0.5"` on a catalog that `moon2 augment` wrote.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from moon2.errors import UserError
from moon2.experiments.paired import paired_table
from moon2.experiments.runner import Experiment, run_same_steps
from moon2.experiments.tables import differences_table, means_table
from moon2.experiments.variants import OURS, Variant, ablations, peers
from moon2.recipe import Recipe, load_recipe


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, evaluates, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a catalog with test queries")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--warmup_steps", type=int, default=50)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--beside", nargs="+", default=[], metavar="NAME", help="a peer, or an ablation")
    parser.add_argument("--try", dest="tried", action="append", default=[], metavar='"NAME: SETTINGS"')
    parser.add_argument("--config", default="recipes/tiny.yaml")
    parser.add_argument("--out", type=Path, default=Path("runs/settings"), metavar="FOLDER")
    parser.add_argument("--at_once", type=int, default=1, help="runs side by side, with one core each")
    options = parser.parse_args(arguments)
    command = shlex.join(["python", "benchmarks/compare_settings.py", *(arguments or sys.argv[1:])])
    steps, warmup = f"training.steps={options.steps}", f"training.warmup_steps={options.warmup_steps}"
    common = (steps, warmup, "training.evaluate_every=0")
    try:
        recipe = load_recipe(options.config, common)
        given = [tried(text, Variant(OURS)) for text in options.tried]
        for variant in given:
            load_recipe(options.config, [*common, *variant.settings])  # refuses what is mistaken
        variants = [Variant(OURS), *beside(options.beside, recipe), *given]
        experiment = Experiment(options.out, options.data, recipe, options.seeds, options.at_once, command=command)
        rows = run_same_steps(experiment, variants)
    except UserError as error:
        raise SystemExit(str(error)) from None
    print(f"{means_table(rows)}\n\n{differences_table(rows)}\n\n{paired_table(options.out, rows)}")


def beside(names: Sequence[str], recipe: Recipe) -> list[Variant]:
    """The peers and ablations of these names.

    Raises:
        UserError: there is none of such a name.
    """
    known = {variant.name: variant for variant in (*ablations(recipe, augmented=False), *peers(recipe))}
    for name in names:
        if name not in known:
            raise UserError(f"--beside: there is no {name!r}; there are {', '.join(map(repr, known))}")
    return [known[name] for name in names]


def tried(text: str, base: Variant) -> Variant:
    """The variant of "NAME: SETTING SETTING …", by these settings over those of `base`.

    Raises:
        UserError: it has no name.
    """
    name, colon, settings = text.partition(":")
    if not colon or not name.strip():
        raise UserError(f"--try {text!r}: put a name before the settings, as in 'one active expert: experts.active=1'")
    return replace(base, name=name, settings=(*base.settings, *shlex.split(settings)))


if __name__ == "__main__":
    main()
