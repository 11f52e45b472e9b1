"""What the balance modes do to the objectives' weights over a whole run, and to retrieval.

    python benchmarks/balance_modes.py DATA --out runs/balance --steps 400 [--at-once 2] [--seeds 0]

Trains the recipe once a mode and seed: `paper` (ω as printed), `guarded` with a low and a high floor, and equal weights
(a floor of one). Runs side by side get one thread each, so all have the same budget. Prints M·ω along the run and R@10
on the test queries, and writes balance.json and balance.html there. Finished runs are not repeated, and one that was
cut short goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean

from moon2.evaluate.report.charts import line_chart
from moon2.evaluate.report.report import TEMPLATES
from moon2.evaluate.result import DIRECTIONS, Evaluation
from moon2.train.history import read_history

MODES = {
    "paper": ("--alignment.balance", "paper"),
    "guarded, floor 0.5": ("--alignment.balance", "guarded", "--alignment.floor_share", "0.5"),
    "guarded, floor 0.8": ("--alignment.balance", "guarded", "--alignment.floor_share", "0.8"),
    "equal weights": ("--alignment.balance", "guarded", "--alignment.floor_share", "1.0"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, evaluates, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--out", default="runs/balance")
    parser.add_argument("--config", default="recipes/tiny.yaml")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", default="0", help="comma-separated")
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument(
        "--modes", default=",".join(str(number) for number in range(len(MODES))), help="numbers of modes"
    )
    options = parser.parse_args(arguments)
    names = [list(MODES)[int(number)] for number in options.modes.split(",")]
    jobs = [(name, int(seed)) for seed in options.seeds.split(",") for name in names]
    with ThreadPoolExecutor(options.at_once) as pool:
        folders = list(pool.map(lambda job: run(*job, options), jobs))
    rows = [read(name, seed, folder) for (name, seed), folder in zip(jobs, folders, strict=True)]
    out = Path(options.out)
    command = f"python benchmarks/balance_modes.py {options.data} --steps {options.steps} --seeds {options.seeds}"
    (out / "balance.json").write_text(json.dumps({"command": command, "runs": rows}, ensure_ascii=False, indent=1))
    text = table(rows)
    print(text)
    charts = [line_chart(f"M·ω, {row['mode']}, seed {row['seed']}", row["weights"], low=0.0, high=2.0) for row in rows]
    page = TEMPLATES.from_string(Path(__file__).with_suffix(".html.j2").read_text())
    (out / "balance.html").write_text(page.render(text=text, charts=charts))


def run(name: str, seed: int, options: argparse.Namespace) -> Path:
    """One mode trained and evaluated in its own folder, as a user would do it."""
    folder = Path(options.out) / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
    environment = os.environ | {"OMP_NUM_THREADS": "1"} if options.at_once > 1 else dict(os.environ)
    moon2 = [str(Path(sys.executable).parent / "moon2")]
    settings = ["--training.steps", str(options.steps), "--training.seed", str(seed), "--training.evaluate_every", "0"]
    train = ["train", "--config", options.config, "--data", options.data, "--out", str(folder), "--resume"]
    if not (folder / "evaluation.json").exists():
        Path(options.out).mkdir(parents=True, exist_ok=True)
        with (Path(options.out) / f"{folder.name}.log").open("w") as log:
            for command in ([*train, *settings, *MODES[name]], ["evaluate", str(folder), "--data", options.data]):
                subprocess.run([*moon2, *command], env=environment, check=True, stdout=log, stderr=log)
    return folder


def read(name: str, seed: int, folder: Path) -> dict:
    """What a finished run says: weights and losses along it, recall at its end."""
    history = [line for line in read_history(folder / "history.jsonl") if "weight/t→mm" in line]
    evaluation = Evaluation.from_json((folder / "evaluation.json").read_text())
    return {
        "mode": name,
        "seed": seed,
        "weights": {m: [(line["step"], line[f"weight/{m}"]) for line in history] for m in DIRECTIONS},
        "losses": {m: [(h["step"], h[f"loss/{m}"]) for h in history if f"loss/{m}" in h] for m in DIRECTIONS},
        "recall": {direction: evaluation.recalls[direction][10] for direction in DIRECTIONS},
        "class_accuracy": evaluation.zero_shot["class"]["mm"]["accuracy"],
    }


def table(rows: Sequence[dict]) -> str:
    """Two Markdown tables: the weights along the run, and what came of it."""
    lines = ["| mode, seed | share of run | " + " | ".join(DIRECTIONS) + " |", "|---|---|" + "---|" * len(DIRECTIONS)]
    for row in rows:
        for share in (0.1, 0.5, 1.0):
            cells = [row["weights"][m][round(share * (len(row["weights"][m]) - 1))][1] for m in DIRECTIONS]
            shown = " | ".join(f"{cell:.2f}" for cell in cells)
            lines.append(f"| {row['mode']}, {row['seed']} | {share:.0%} | {shown} |")
    lines += ["", "| mode, seed | " + " | ".join(f"{d} R@10" for d in DIRECTIONS) + " | mean | class |"]
    lines.append("|---|" + "---|" * (len(DIRECTIONS) + 2))
    for row in rows:
        scores = [row["recall"][d] for d in DIRECTIONS]
        shown = " | ".join(f"{score:.1f}" for score in [*scores, mean(scores), row["class_accuracy"]])
        lines.append(f"| {row['mode']}, {row['seed']} | {shown} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
