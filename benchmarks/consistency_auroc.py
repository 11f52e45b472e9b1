"""How well the consistency filter tells a product's own title from another's, on products the judge was not trained on.

    python benchmarks/consistency_auroc.py CHECKPOINT --data DATA [--pairs 2000] [--out FILE.json]

Takes products of the test split with a title and a picture. The threshold is found on the training split, as
`moon2 augment` finds it. Mismatched pairs come in two kinds: any other product's title, and, harder, one of the same
category.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moon2.augment.consistency import auroc, calibrate, load_scorer, pairs_of
from moon2.catalog.store import Catalog
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
    scorer, catalog = load_scorer(options.checkpoint), Catalog.open(options.data)
    threshold = calibrate(scorer, pairs_of(catalog, "train", options.seed, options.pairs), options.seed).threshold
    any_other = calibrate(scorer, pairs_of(catalog, "test", options.seed, options.pairs), options.seed)
    same_category = within_categories(catalog, options.pairs, options.seed)
    pictures = [picture for picture, _, _ in same_category]
    own, others = (scorer.similarities(pictures, [row[place] for row in same_category]) for place in (1, 2))
    result = {
        "checkpoint": options.checkpoint,
        "pairs": len(any_other.matched),
        "auroc": any_other.auroc,
        "threshold": threshold,
        "matched_kept": float((any_other.matched >= threshold).mean()),
        "mismatched_kept": float((any_other.shuffled >= threshold).mean()),
        "same_category": {
            "pairs": len(same_category),
            "auroc": auroc(own, others),
            "mismatched_kept": float((others >= threshold).mean()),
        },
    }
    print(json.dumps(result, indent=1))
    if options.out:
        Path(options.out).write_text(json.dumps(result, indent=1))


def within_categories(catalog: Catalog, number: int, seed: int) -> list[tuple]:
    """(picture, its title, the title of another product of the same category with other words)."""
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
    chosen = [drawn[place] for place in random.permutation(len(drawn))[:number]]
    products = [(catalog.product(id), title, other) for id, title, other in chosen]
    return [(open_image(product.images[0]), title, other) for product, title, other in products if product.images]


if __name__ == "__main__":
    main()
