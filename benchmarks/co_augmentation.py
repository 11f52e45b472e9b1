"""What the additions of `moon2 augment` do to retrieval: the same recipe with and without them, over several seeds.

    python benchmarks/co_augmentation.py DATA+ --steps 400 --seeds 0 1 2 --at_once 2 \\
        --modes none concatenate:0.5 draw:0.5 draw:0.0 --out runs/co-augmentation.json

A mode is `none`, or a way to use the additions and the share of products that are given without them in a step. Each
run is trained and evaluated as a user would do it, in a folder beside FILE. Runs side by side get one thread and one
core each. FILE gets the raw figures after every run; what is in it already is not run again, and a run that was cut
short goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from statistics import mean, median, stdev
from typing import Any

from moon2.evaluate.evaluation import DIRECTIONS, Evaluation
from moon2.train.history import read_history

WRITING = threading.Lock()


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, evaluates, writes, prints."""
    options = parse(arguments)
    out = Path(options.out)
    rows = finished(out, options)
    done = {(row["mode"], row["seed"]) for row in rows}
    # Seed after seed, so that a measurement that is stopped has compared all modes on the seeds it did.
    jobs = [(mode, seed) for seed in options.seeds for mode in options.modes if (mode, seed) not in done]
    cores: Queue[int] = Queue()
    for number in range(options.at_once):
        available = sorted(os.sched_getaffinity(0))
        cores.put(available[number % len(available)])

    def pin() -> None:
        # On Linux this is the thread's own affinity, and the processes it starts inherit it.
        if options.at_once > 1:
            os.sched_setaffinity(0, {cores.get()})

    def measure(job: tuple[str, int]) -> None:
        row = run(*job, options)
        with WRITING:
            rows.append(row)
            write(out, options, rows)
            print(f"{row['mode']}, seed {row['seed']}: mean R@10 {scores(row)['mean']:.1f}", flush=True)

    with ThreadPoolExecutor(options.at_once, initializer=pin) as pool:
        for result in [pool.submit(measure, job) for job in jobs]:
            result.result()
    wanted = [row for row in rows if row["mode"] in options.modes and row["seed"] in options.seeds]
    print(table(wanted))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a catalogue that `moon2 augment` wrote, with test queries")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--modes", nargs="+", default=["none", "concatenate:0.5", "draw:0.5", "draw:0.0"])
    parser.add_argument("--config", default="recipes/tiny.yaml")
    parser.add_argument("--out", default="runs/co-augmentation.json", metavar="FILE.json")
    parser.add_argument("--at_once", type=int, default=1, help="runs side by side, with one core each")
    options = parser.parse_args(arguments)
    for mode in options.modes:
        try:
            settings_of(mode)
        except ValueError:
            parser.error(f"--modes: {mode!r} is no mode; give none, or such as concatenate:0.5 or draw:0.25")
    return options


def settings_of(mode: str) -> list[str]:
    """The options of `moon2 train` that make the mode; ValueError where it is none."""
    use, _, kept = mode.partition(":")
    if mode == "none":
        return ["--additions.use", "none"]
    if use not in ("concatenate", "draw") or not 0 <= float(kept) <= 1:
        raise ValueError(mode)
    return ["--additions.use", use, "--additions.keep_original", kept]


def finished(out: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The runs that FILE holds already, of the same data, recipe and steps."""
    if not out.exists():
        return []
    written = json.loads(out.read_text())
    for name in ("data", "steps", "config"):
        if written[name] != getattr(options, name):
            raise SystemExit(
                f"{out}: holds runs with {name} {written[name]!r}, not {getattr(options, name)!r}; give another --out"
            )
    return list(written["runs"])


def write(out: Path, options: argparse.Namespace, rows: Sequence[dict[str, Any]]) -> None:
    """Writes FILE whole or not at all."""
    command = f"python benchmarks/co_augmentation.py {' '.join(sys.argv[1:])}"
    held = {"command": command, "data": options.data, "steps": options.steps, "config": options.config, "runs": rows}
    fresh = out.with_name(out.name + ".new")
    fresh.write_text(json.dumps(held, ensure_ascii=False, indent=1))
    fresh.replace(out)


def run(mode: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One mode and seed, trained and evaluated in its own folder, and what came of it."""
    out = Path(options.out)
    folder = out.with_name(f"{out.stem}-runs") / f"{mode.replace(':', '-')}-{seed}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1"} if options.at_once > 1 else dict(os.environ)
    moon2 = [str(Path(sys.executable).parent / "moon2")]
    # Held-out queries would choose among checkpoints differently for each mode: here the last weights count.
    settings = ["--training.steps", str(options.steps), "--training.seed", str(seed), "--training.evaluate_every", "0"]
    train = ["train", "--config", options.config, "--data", options.data, "--out", str(folder), "--resume"]
    log_path = folder.parent / f"{folder.name}.log"
    with log_path.open("a") as log:
        for command in ([*train, *settings, *settings_of(mode)], ["evaluate", str(folder), "--data", options.data]):
            result = subprocess.run([*moon2, *command], env=environment, check=False, stdout=log, stderr=log)
            if result.returncode:
                raise SystemExit(f"{mode}, seed {seed}: moon2 {command[0]} failed; see {log_path}")
    evaluation = Evaluation.from_json((folder / "evaluation.json").read_text())
    history = [line for line in read_history(folder / "history.jsonl") if "triplets_per_second" in line]
    return {
        "mode": mode,
        "seed": seed,
        "recall": {d: {str(k): recall for k, recall in row.items()} for d, row in evaluation.recalls.items()},
        "class_accuracy": {view: found["accuracy"] for view, found in evaluation.zero_shot.get("class", {}).items()},
        "triplets_per_second": median(line["triplets_per_second"] for line in history),
        "queries": evaluation.queries,
        "gallery": evaluation.gallery,
    }


def scores(row: dict[str, Any]) -> dict[str, float]:
    """R@10 by direction, their mean, and how often the class is right from picture and text, of one run."""
    recall = {direction: row["recall"][direction]["10"] for direction in DIRECTIONS if direction in row["recall"]}
    return recall | {"mean": mean(recall.values())} | {"class": row["class_accuracy"].get("mm", float("nan"))}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: by mode the mean ± standard deviation over seeds, and the difference to `none` seed by seed."""
    by_mode: dict[str, dict[int, dict[str, float]]] = {}
    for row in rows:
        by_mode.setdefault(row["mode"], {})[row["seed"]] = scores(row)
    speeds = {mode: median(row["triplets_per_second"] for row in rows if row["mode"] == mode) for mode in by_mode}
    columns = list(scores(rows[0]))
    lines = ["| R@10 | seeds | " + " | ".join(columns) + " | triplets/s |", "|---" * (len(columns) + 3) + "|"]
    for mode, seeds in by_mode.items():
        cells = [spread([one[column] for one in seeds.values()]) for column in columns]
        lines.append(f"| {mode} | {len(seeds)} | {' | '.join(cells)} | {speeds[mode]:.1f} |")
    plain = by_mode.get("none", {})
    for mode, seeds in by_mode.items():
        shared = sorted(seeds.keys() & plain.keys())
        if mode != "none" and shared:
            cells = [spread([seeds[seed][c] - plain[seed][c] for seed in shared], "+") for c in columns]
            lines.append(f"| {mode} − none | {len(shared)} | {' | '.join(cells)} | |")
    return "\n".join(lines)


def spread(values: Sequence[float], sign: str = "") -> str:
    """Mean ± sample standard deviation; of one value the value alone."""
    shown = f"{mean(values):{sign}.1f}"
    return f"{shown} ± {stdev(values):.1f}" if len(values) > 1 else shown


if __name__ == "__main__":
    main()
