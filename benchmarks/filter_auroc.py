"""How well dynamic sample filtering finds the wrong purchases of a log, given which ones are wrong.

    python benchmarks/filter_auroc.py RUN --data DATA --noise noise.parquet

Embeds every triplet of the training log with the run's encoder, computes φ with the margin of the end of training,
averaged over the triplet's negatives, and prints the AUROC of 1 − φ for `purchase_is_noise`. The labels (columns
`query_id` and `purchase_is_noise`) are read here, for measuring, and nowhere else.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import torch
from sklearn.metrics import roc_auc_score

from moon2.catalog.store import Catalog
from moon2.catalog.triplets import triplets_from_log
from moon2.model.encoder import Encoder
from moon2.objective.sample_filter import reliability
from moon2.recipe import load_recipe


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the AUROC and writes RUN/filter.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--data", required=True)
    parser.add_argument("--noise", required=True)
    options = parser.parse_args(arguments)
    recipe = load_recipe(Path(options.run) / "recipe.yaml")
    encoder = Encoder.from_pretrained(options.run)
    catalog = Catalog.open(options.data)
    labels = parquet.read_table(options.noise).to_pydict()
    wrong = dict(zip(labels["query_id"], labels["purchase_is_noise"], strict=True))
    triplets = [triplet for triplet in triplets_from_log(catalog.interactions("train")) if triplet.negative_ids]

    needed = sorted({id for triplet in triplets for id in (triplet.positive_id, *triplet.negative_ids)})
    place = {id: row for row, id in enumerate(needed)}
    chunks = range(0, len(needed), 2048)
    products = torch.from_numpy(
        np.concatenate(
            [encoder.encode([catalog.product(id) for id in needed[at : at + 2048]], batch_size=192) for at in chunks]
        )
    )
    phi = []
    for at in range(0, len(triplets), 2048):
        part = triplets[at : at + 2048]
        asked = [catalog.with_image(triplet.query) for triplet in part]
        vectors = torch.from_numpy(encoder.encode(asked, batch_size=192))
        for vector, triplet in zip(vectors, part, strict=True):
            shown = products[[place[id] for id in triplet.negative_ids]] @ vector
            bought = (products[place[triplet.positive_id]] @ vector).expand_as(shown)
            phi.append(float(reliability(bought, shown, recipe.filter.margin_end, recipe.filter.sharpness).mean()))
    doubt = 1 - np.asarray(phi)
    noisy = np.asarray([bool(wrong[triplet.query.id]) for triplet in triplets])
    result = {
        "auroc": float(roc_auc_score(noisy, doubt)),
        "triplets": len(triplets),
        "wrong": int(noisy.sum()),
        "mean_phi_wrong": float(np.mean(1 - doubt[noisy])),
        "mean_phi_right": float(np.mean(1 - doubt[~noisy])),
    }
    (Path(options.run) / "filter.json").write_text(json.dumps(result, indent=1))
    print(f"AUROC of 1 − φ for wrong purchases: {result['auroc']:.3f}")
    print(f"{result['wrong']} of {result['triplets']} triplets are wrong; mean φ is", end=" ")
    print(f"{result['mean_phi_wrong']:.2f} for those, {result['mean_phi_right']:.2f} for the others")


if __name__ == "__main__":
    main()
