"""What the balance modes do to the objectives' weights over a whole run, and to retrieval.

    python benchmarks/balance_modes.py DATA --steps 400 --seeds 0 1 --at_once 2 --out runs/balance \\
        --modes guarded:0.7 fixed minimax:0.8 minimax_routing:0.8 minimax:0.8+modalities \\
        --beside "CLIP-style dual encoder" "dense, equal active size" --noise 0.12 0.3 --noise_labels NOISE.parquet

A mode is `paper` (ω as printed), `fixed` (equal weights), or `guarded`, `minimax` or `minimax_routing` with its floor;
a floor of 1 makes the weights equal. The joint view is the mean of all tokens; with `+modalities`, that of both
modalities' means.
`--beside` adds what `moon2 compare` and `moon2 ablate` try, by name. `--noise` repeats each with such shares of false
purchases.

Prints M·ω and the entropy of W* along the runs, R@10 and accuracy on the test queries, and the first mode less each
other row, query by query. Runs are kept as `moon2 compare` keeps them: the same command goes on where it was stopped.
OUT/results.json has a row a run, OUT/runs/… the whole evaluation of each, OUT/balance.json the weights at each line of
its log.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from compare_settings import beside

from moon2.errors import UserError
from moon2.evaluate.format import markdown_table
from moon2.experiments.noisy_log import read_noise_labels
from moon2.experiments.paired import paired_table
from moon2.experiments.runner import Experiment, run_same_steps
from moon2.experiments.tables import means_table
from moon2.experiments.variants import Variant, name_with_noise
from moon2.recipe import load_recipe
from moon2.run_folder import RunFolder
from moon2.views import DIRECTIONS

MODES = ("guarded:0.7", "fixed", "minimax:0.8", "minimax_routing:0.8", "minimax:0.8+modalities")
ENTROPY = "entropy of W*"
WITH_FLOOR = ("guarded", "minimax", "minimax_routing")


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, evaluates, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a catalog with test queries")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--modes", nargs="+", default=MODES)
    parser.add_argument("--beside", nargs="+", default=[], metavar="NAME", help="a peer, or an ablation")
    parser.add_argument("--noise", type=float, nargs="+", default=[], metavar="SHARE", help="of false purchases")
    parser.add_argument("--noise_labels", type=Path, metavar="FILE", help="Parquet of known false purchases")
    parser.add_argument("--config", default="recipes/tiny.yaml")
    parser.add_argument("--out", type=Path, default=Path("runs/balance"), metavar="FOLDER")
    parser.add_argument("--at_once", type=int, default=1, help="runs side by side, with one core each")
    options = parser.parse_args(arguments)
    command = shlex.join(["python", "benchmarks/balance_modes.py", *(arguments or sys.argv[1:])])
    try:
        recipe = load_recipe(options.config, [f"training.steps={options.steps}", "training.evaluate_every=0"])
        known = read_noise_labels(options.noise_labels) if options.noise_labels else frozenset()
        experiment = Experiment(
            options.out, options.data, recipe, options.seeds, options.at_once, known_noise=known, command=command
        )
        variants = [variant_of(mode) for mode in options.modes] + beside(options.beside, recipe)
        noisy = [
            replace(variant, name=name_with_noise(variant.name, share), log_noise=share)
            for share in options.noise
            for variant in variants
        ]
        rows = run_same_steps(experiment, variants + noisy)
    except UserError as error:
        raise SystemExit(str(error)) from None
    runs = [
        {"mode": row["variant"], "seed": row["seed"], "weights": weights(options.out / "runs" / row["run"])}
        for row in rows
    ]
    (options.out / "balance.json").write_text(json.dumps({"command": command, "runs": runs}, ensure_ascii=False))
    print(f"{weights_table(runs)}\n\n{means_table(rows)}\n\n{paired_table(options.out, rows, options.modes[0])}")


def variant_of(mode: str) -> Variant:
    """The settings of a mode.

    Raises:
        UserError: there is no such mode.
    """
    weighing, plus, pooling = mode.partition("+")
    balance, _, floor = weighing.partition(":")
    has_floor = balance in WITH_FLOOR
    if (
        not (has_floor or balance in ("paper", "fixed"))
        or has_floor != bool(floor)
        or (plus and pooling != "modalities")
    ):
        raise UserError(
            f"--modes: there is no mode {mode!r}; give paper, fixed, or one such as minimax:0.8 "
            f"({', '.join(WITH_FLOOR)} have a floor), each with or without +modalities"
        )
    settings = [f"alignment.balance={balance}"]
    settings += [f"alignment.floor_share={floor}"] if floor else []
    settings += [f"backbone.pooling={pooling or 'tokens'}"]
    load_recipe(None, settings)  # refuses a floor that is none
    return Variant(mode, tuple(settings))


def weights(run: Path) -> dict[str, list[tuple[float, float]]]:
    """Objective → (step, M·ω) of each line of the run's log, and ENTROPY → (step, that of W*, at most log 5)."""
    lines = [line for line in RunFolder(run).read_history() if "loss" in line]
    names = {str(m): f"weight/{m}" for m in DIRECTIONS} | {ENTROPY: "sparsity"}
    return {name: [(line["step"], line[key]) for line in lines if key in line] for name, key in names.items()}


def weights_table(runs: Sequence[dict[str, Any]]) -> str:
    """Markdown: M·ω and the entropy of W* early, halfway and at the end of each run; peers may have none."""
    rows = []
    for run in runs:
        for share in (0.1, 0.5, 1.0):
            curves = [run["weights"][name] for name in (*map(str, DIRECTIONS), ENTROPY)]
            cells = [f"{curve[round(share * (len(curve) - 1))][1]:.2f}" if curve else "–" for curve in curves]
            rows.append((f"{run['mode']}, seed {run['seed']}", f"{share:.0%}", *cells))
    return markdown_table(("M·ω", "of the run", *map(str, DIRECTIONS), ENTROPY), rows)


if __name__ == "__main__":
    main()
