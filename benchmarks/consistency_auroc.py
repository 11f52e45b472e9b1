"""How well the consistency filter tells a product's own title from another's, on products the judge was not trained on.

    python benchmarks/consistency_auroc.py CHECKPOINT --data DATA [--pairs 2000] [--out FILE.json]

Takes products of the test split with a title and an image. The threshold is calibrated on the training split, as
`moon2 augment` does it. Mismatched pairs come in two kinds: any other product's title, and, harder, one of the same
category.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.metrics import roc_auc_score

from moon2.augment.consistency import calibrated_threshold, sample_pairs, similarities
from moon2.catalog.store import Catalog
from moon2.encoders.load import load_encoder
from moon2.images import open_image


def main(arguments: Sequence[str] | None = None) -> None:
    """Scores, prints, writes JSON with --out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--data", required=True)
    parser.add_argument("--pairs", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out")
    options = parser.parse_args(arguments)
    encoder, catalog = load_encoder(options.checkpoint), Catalog.open(options.data)
    threshold = calibrated_threshold(encoder, catalog, "train", options.seed)

    pairs = list(sample_pairs(catalog, "test", options.seed, options.pairs))
    images, titles = [image for image, _ in pairs], [title for _, title in pairs]
    matched = similarities(encoder, pairs)
    others = [titles[row] for row in shuffled(titles, options.seed)]
    mismatched = similarities(encoder, list(zip(images, others, strict=True)))

    triples = within_categories(catalog, options.pairs, options.seed)
    same_category_matched = similarities(encoder, [(image, title) for image, title, _ in triples])
    same_category_mismatched = similarities(encoder, [(image, other) for image, _, other in triples])
    result = {
        "checkpoint": options.checkpoint,
        "pairs": len(pairs),
        "auroc": auroc(matched, mismatched),
        "threshold": threshold,
        "matched_kept": float((matched >= threshold).mean()),
        "mismatched_kept": float((mismatched >= threshold).mean()),
        "same_category": {
            "pairs": len(triples),
            "auroc": auroc(same_category_matched, same_category_mismatched),
            "mismatched_kept": float((same_category_mismatched >= threshold).mean()),
        },
    }
    print(json.dumps(result, indent=1))
    if options.out:
        Path(options.out).write_text(json.dumps(result, indent=1))


def auroc(matched: np.ndarray, mismatched: np.ndarray) -> float:
    """The chance that a matched pair scores above a mismatched one."""
    labels = [1] * len(matched) + [0] * len(mismatched)
    return float(roc_auc_score(labels, np.concatenate([matched, mismatched])))


def shuffled(titles: Sequence[str], seed: int) -> list[int]:
    """For each title the row of another, with other words where there is such a title."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(titles))
    others = np.empty(len(titles), np.int64)
    others[order] = np.roll(order, 1)  # a rotation of a random order gives no title itself
    for row, title in enumerate(titles):
        if titles[others[row]].casefold() == title.casefold():
            candidates = [int(one) for one in random.permutation(len(titles))]
            different = (one for one in candidates if titles[one].casefold() != title.casefold())
            others[row] = next(different, others[row])
    return others.tolist()


def within_categories(catalog: Catalog, number: int, seed: int) -> list[tuple[Image.Image, str, str]]:
    """(image, its title, the title of another product of the same category with other words)."""
    random = np.random.default_rng(seed)
    members = defaultdict(list)
    for row in catalog.rows("test", ["id", "title", "category"]):
        if (row["title"] or "").strip() and row["category"]:
            members[tuple(row["category"])].append((row["id"], row["title"]))
    drawn = []
    for group in members.values():
        for id, title in group:
            others = [other for _, other in group if other.casefold() != title.casefold()]
            if others:
                drawn.append((id, title, others[random.integers(len(others))]))
    chosen = [drawn[row] for row in random.permutation(len(drawn))[:number]]
    products = [(catalog.product(id), title, other) for id, title, other in chosen]
    return [(open_image(product.images[0]), title, other) for product, title, other in products if product.images]


if __name__ == "__main__":
    main()
