"""How well `moon2 predict` tells the class and colour of the fashion data, and finds labels that were made wrong.

    python benchmarks/predict_labels.py MODEL --data DATA --vectors VECTORS --out OUT [--wrong 0.02]

DATA is the catalog that fashion_log.py writes, VECTORS what `moon2 embed` made of it. The figures are those that
`moon2 predict` prints: of half of the test split, the other half being for confidence. Then a share of the training
labels is exchanged for others, drawn as they are frequent, and what is listed as doubtful is compared with that. Labels
that were wrong before count as found wrongly, so precision is a lower bound. OUT is a JSON file.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from moon2.catalog.store import Catalog
from moon2.encoders.load import load_encoder
from moon2.experiments.runner import source_commit
from moon2.search.labelled_products import LabelledProducts, read_labelled_products
from moon2.search.predict import predict_tasks, read_vectors

TASKS = ("class", "base_colour")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints the tables, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--wrong", type=float, default=0.02, help="share of the training labels that are exchanged")
    parser.add_argument("--attributes", nargs="*", default=list(TASKS[1:]))
    options = parser.parse_args(arguments)
    catalog = Catalog.open(options.data)
    shop = read_labelled_products(catalog, options.attributes)
    encoder = load_encoder(options.model)
    rows, matrix = read_vectors(options.model, catalog, options.vectors)
    tasks, names = predict_tasks(shop, encoder, rows, matrix, "{}")
    spoiled, wrong = with_wrong_labels(shop, options.wrong)
    doubted, _ = predict_tasks(spoiled, encoder, rows, matrix, "{}")
    result = {"commit": source_commit(), "cores": os.cpu_count(), "products": len(shop.ids), "wrong": options.wrong}
    result["tasks"] = {
        task: {
            "labels": len(names[task]),
            "weight": predicted.weight,
            "ways": {way: asdict(figures) for way, figures in predicted.figures.items()},
            "doubtful": len(predicted.doubts),
            "planted": found(wrong[task], [int(rows[doubt.row]) for doubt in doubted[task].doubts]),
        }
        for task, predicted in tasks.items()
    }
    options.out.write_text(json.dumps(result, ensure_ascii=False, indent=1))
    print("| | told by | accuracy | of the surest 80 % | calibration error |\n|---|---|---:|---:|---:|")
    for task, of in result["tasks"].items():
        for way, figures in of["ways"].items():
            shares = [f"{100 * figures[key]:.1f}" for key in list(figures)[1:]]
            print(f"| {task} | {way} | {' | '.join(shares)} |")
    for task, of in result["tasks"].items():
        print(f"{task}: {of['doubtful']} doubtful before; wrong labels put in: {of['planted']}")


def with_wrong_labels(shop: LabelledProducts, share: float) -> tuple[LabelledProducts, dict[str, set[int]]]:
    """The products with a share of each task's training labels exchanged, and which were."""
    generator = np.random.default_rng(0)
    labels, wrong = {}, {}
    learned = [row for row, part in enumerate(shop.parts) if part == "learned"]
    for task, of in shop.labels.items():
        changed = list(of)
        candidates = [row for row in learned if of[row]]
        chosen = generator.choice(candidates, round(share * len(candidates)), replace=False)
        for row in chosen:
            while changed[row] == of[row]:
                changed[row] = of[candidates[generator.integers(len(candidates))]]
        labels[task], wrong[task] = changed, {int(row) for row in chosen}
    return replace(shop, labels=labels), wrong


def found(wrong: set[int], doubted: Sequence[int]) -> dict[str, float]:
    """How many labels are wrong, what share of them is listed, and what share of the first so many listed are wrong."""
    first = doubted[: len(wrong)]
    return {
        "labels": len(wrong),
        "found": len(wrong & set(doubted)) / len(wrong),
        "listed": len(doubted),
        "precision_of_the_first": len(wrong & set(first)) / max(1, len(first)),
    }


if __name__ == "__main__":
    main()
