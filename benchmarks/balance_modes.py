"""What the balance modes do to the objectives' weights over a whole run, and to retrieval.

    python benchmarks/balance_modes.py DATA --steps 400 --seeds 0 --at_once 2 --out runs/balance

A mode is `paper` (ω as printed), or `guarded` with its floor; a floor of 1 makes the weights equal. Prints M·ω along
the runs and R@10 on the test queries. Runs are kept as `moon2 compare` keeps them: the same command goes on where it
was stopped. OUT/balance.json has the weights at each line of the log.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moon2.errors import UserError
from moon2.evaluate.format import markdown_table
from moon2.experiments.runner import Experiment, run_same_steps
from moon2.experiments.tables import means_table
from moon2.experiments.variants import Variant
from moon2.recipe import load_recipe
from moon2.run_folder import RunFolder
from moon2.views import DIRECTIONS

MODES = ("paper", "guarded:0.5", "guarded:0.8", "guarded:1.0")


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, evaluates, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a catalog with test queries")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--modes", nargs="+", default=MODES)
    parser.add_argument("--config", default="recipes/tiny.yaml")
    parser.add_argument("--out", type=Path, default=Path("runs/balance"), metavar="FOLDER")
    parser.add_argument("--at_once", type=int, default=1, help="runs side by side, with one core each")
    options = parser.parse_args(arguments)
    command = shlex.join(["python", "benchmarks/balance_modes.py", *(arguments or sys.argv[1:])])
    try:
        recipe = load_recipe(options.config, [f"training.steps={options.steps}", "training.evaluate_every=0"])
        experiment = Experiment(
            options.out, options.data, recipe, options.seeds, at_once=options.at_once, command=command
        )
        rows = run_same_steps(experiment, [variant_of(mode) for mode in options.modes])
    except UserError as error:
        raise SystemExit(str(error)) from None
    runs = [
        {"mode": row["variant"], "seed": row["seed"], "weights": weights(options.out / "runs" / row["run"])}
        for row in rows
    ]
    (options.out / "balance.json").write_text(json.dumps({"command": command, "runs": runs}, ensure_ascii=False))
    print(f"{weights_table(runs)}\n\n{means_table(rows)}")


def variant_of(mode: str) -> Variant:
    """The settings of a mode.

    Raises:
        UserError: there is no such mode.
    """
    balance, _, floor = mode.partition(":")
    if balance not in ("paper", "guarded") or (balance == "guarded") != bool(floor):
        raise UserError(f"--modes: there is no mode {mode!r}; give paper, or one such as guarded:0.8")
    variant = Variant(mode, (f"alignment.balance={balance}", *([f"alignment.floor_share={floor}"] if floor else [])))
    load_recipe(None, variant.settings)  # refuses a floor that is none
    return variant


def weights(run: Path) -> dict[str, list[tuple[float, float]]]:
    """Objective → (step, M·ω) of each line of the run's log."""
    lines = [line for line in RunFolder(run).read_history() if "loss" in line]
    return {str(m): [(line["step"], line[f"weight/{m}"]) for line in lines] for m in DIRECTIONS}


def weights_table(runs: Sequence[dict[str, Any]]) -> str:
    """Markdown: M·ω early, halfway and at the end of each run."""
    rows = []
    for run in runs:
        for share in (0.1, 0.5, 1.0):
            curves = [run["weights"][str(m)] for m in DIRECTIONS]
            cells = [f"{curve[round(share * (len(curve) - 1))][1]:.2f}" for curve in curves]
            rows.append((f"{run['mode']}, seed {run['seed']}", f"{share:.0%}", *cells))
    return markdown_table(("M·ω", "of the run", *map(str, DIRECTIONS)), rows)


if __name__ == "__main__":
    main()
