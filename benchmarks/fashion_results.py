"""Gathers what benchmarks/fashion.sh wrote into one JSON file, OUT/fashion.json, and prints its table of recalls.

python benchmarks/fashion_results.py OUT --seconds IMPORT TRAIN EVALUATE
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from moon2.evaluate.format import RETRIEVAL_HEAD, markdown_table, retrieval_rows
from moon2.evaluate.result import Evaluation
from moon2.experiments.runner import source_commit
from moon2.run_folder import RunFolder
from moon2.views import OBJECTIVES


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the file, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=int, nargs=3, required=True)
    options = parser.parse_args(arguments)
    run = RunFolder(options.out / "run")
    evaluation = Evaluation.read(run.evaluation)
    last = [line for line in run.read_history() if "loss" in line][-1]
    result = {
        "command": "bash benchmarks/fashion.sh",
        "commit": source_commit(),
        "machine": {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()},
        "seconds": dict(zip(("import", "train", "evaluate"), options.seconds, strict=True)),
        "recipe": run.recipe.read_text(encoding="utf-8"),
        "weights_at_the_end": {str(m): last[f"weight/{m}"] for m in OBJECTIVES if f"weight/{m}" in last},
        "evaluation": {name: value for name, value in asdict(evaluation).items() if name not in ("examples", "hard")},
        "filter": json.loads((run.path / "filter.json").read_text(encoding="utf-8")),
    }
    (options.out / "fashion.json").write_text(json.dumps(result, ensure_ascii=False, indent=1), encoding="utf-8")
    print(markdown_table(RETRIEVAL_HEAD, retrieval_rows(evaluation)))


if __name__ == "__main__":
    main()
