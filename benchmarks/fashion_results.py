"""Gathers what benchmarks/fashion.sh left behind into one JSON file, OUT/fashion.json, and prints README's table of it.

python benchmarks/fashion_results.py OUT --seconds IMPORT TRAIN EVALUATE
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from moon2.evaluate.result import DIRECTIONS, KS
from moon2.experiments.runner import commit


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the file, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--seconds", type=int, nargs=3, required=True)
    options = parser.parse_args(arguments)
    out = Path(options.out)
    evaluation = json.loads((out / "run" / "evaluation.json").read_text())
    for products_to_look_at in ("examples", "hard"):
        evaluation.pop(products_to_look_at, None)
    lines = (out / "run" / "history.jsonl").read_text().splitlines()
    weighed = [line for line in map(json.loads, lines) if "weight/t→mm" in line]
    result = {
        "command": "bash benchmarks/fashion.sh",
        "commit": commit(),
        "machine": {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()},
        "seconds": dict(zip(("import", "train", "evaluate"), options.seconds, strict=True)),
        "recipe": (out / "run" / "recipe.yaml").read_text(),
        "weights_at_the_end": {name: weighed[-1][f"weight/{name}"] for name in DIRECTIONS},
        "evaluation": evaluation,
        "filter": json.loads((out / "run" / "filter.json").read_text()),
    }
    (out / "fashion.json").write_text(json.dumps(result, ensure_ascii=False, indent=1))
    print("| in percent | " + " | ".join(DIRECTIONS) + " |")
    print("|---|" + "---|" * len(DIRECTIONS))
    for k in KS:
        print(f"| R@{k} | " + " | ".join(f"{evaluation['recalls'][name][str(k)]:.1f}" for name in DIRECTIONS) + " |")


if __name__ == "__main__":
    main()
