"""How well dynamic sample filtering finds the wrong purchases of a log, given which ones are wrong.

    python benchmarks/filter_auroc.py RUN --data DATA --noise noise.parquet

Embeds every triplet of the training log with the run's encoder, and computes φ with the margin of the end of training,
averaged over the triplet's negatives. Prints the AUROC of 1 − φ for `purchase_is_noise`, and writes RUN/filter.json.
The labels (columns `query_id` and `purchase_is_noise`) are read here, for measuring, and nowhere else.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from moon2.catalog.store import Catalog
from moon2.catalog.triplets import Triplet, triplets_from_log
from moon2.encoders.load import load_own
from moon2.experiments.noisy_log import read_noise_labels
from moon2.model.encoder import Encoder
from moon2.objective.sample_filter import reliability
from moon2.recipe import FilterSettings, load_recipe
from moon2.run_folder import RunFolder

BATCH, CHUNK = 192, 2048


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--noise", required=True)
    options = parser.parse_args(arguments)
    run, catalog = RunFolder(options.run), Catalog.open(options.data)
    triplets = [triplet for triplet in triplets_from_log(catalog.interactions("train")) if triplet.negative_ids]
    doubt = 1 - mean_phi(load_own(options.run), catalog, triplets, load_recipe(run.recipe).filter)
    wrong_ids = read_noise_labels(options.noise)
    wrong = np.array([triplet.query.id in wrong_ids for triplet in triplets])
    result = {
        "auroc": float(roc_auc_score(wrong, doubt)),
        "triplets": len(triplets),
        "wrong": int(wrong.sum()),
        "mean_phi_wrong": float(np.mean(1 - doubt[wrong])),
        "mean_phi_right": float(np.mean(1 - doubt[~wrong])),
    }
    (options.run / "filter.json").write_text(json.dumps(result, indent=1))
    print(f"AUROC of 1 − φ for wrong purchases: {result['auroc']:.3f}")
    print(f"{result['wrong']} of {result['triplets']} triplets are wrong; mean φ is", end=" ")
    print(f"{result['mean_phi_wrong']:.2f} for those, {result['mean_phi_right']:.2f} for the others")


def mean_phi(encoder: Encoder, catalog: Catalog, triplets: Sequence[Triplet], settings: FilterSettings) -> np.ndarray:
    """[triplets] float64: φ of each with the last margin, averaged over its negatives."""
    ids = sorted({id for triplet in triplets for id in (triplet.positive_id, *triplet.negative_ids)})
    row_of = {id: row for row, id in enumerate(ids)}
    chunks = [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]
    parts = [
        encoder.encode([catalog.product(id) for id in chunk], batch_size=BATCH) for chunk in tqdm(chunks, "products")
    ]
    products = torch.from_numpy(np.concatenate(parts))
    phi = []
    for start in tqdm(range(0, len(triplets), CHUNK), desc="queries"):
        chunk = triplets[start : start + CHUNK]
        queries = torch.from_numpy(encoder.encode([catalog.with_image(t.query) for t in chunk], batch_size=BATCH))
        for query, triplet in zip(queries, chunk, strict=True):
            negatives = products[[row_of[id] for id in triplet.negative_ids]] @ query
            positive = (products[row_of[triplet.positive_id]] @ query).expand_as(negatives)
            phi.append(float(reliability(positive, negatives, settings.margin_end, settings.sharpness).mean()))
    return np.array(phi)


if __name__ == "__main__":
    main()
