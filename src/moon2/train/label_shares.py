"""How frequent the labels of an attribute are in a shop, for a loss that learns it too."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import TypeAlias

from moon2.catalog.schema import pairs_to_dict
from moon2.catalog.store import Catalog, CatalogError
from moon2.meant import did_you_mean
from moon2.records import Product

LogShares: TypeAlias = Mapping[str, Mapping[str, float]]
"""By attribute and label: α · log of the share of the products that have it; "" is the label of those without."""


def label_log_shares(catalog: Catalog, weights: Mapping[str, float]) -> LogShares:
    """α · log q of every label of the training products.

    Args:
        catalog: of the run.
        weights: by attribute, α.

    Raises:
        CatalogError: no training product has such an attribute.
    """
    counts: dict[str, Counter[str]] = {name: Counter() for name in weights}
    for row in catalog.rows("train", ["attributes"]) if weights else ():
        attributes = pairs_to_dict(row["attributes"])
        for name, count in counts.items():
            count[attributes.get(name, "")] += 1
    for name, count in counts.items():
        if not any(count.keys() - {""}):
            near = did_you_mean(name, catalog.attribute_names("train"))
            raise CatalogError(f"{catalog.folder}: no product to train on has the attribute {name!r}{near}")
    return {
        name: {label: weights[name] * math.log(n / count.total()) for label, n in count.items()}
        for name, count in counts.items()
    }


def log_share_of(product: Product, shares: LogShares) -> float:
    """The sum over the attributes of a product's labels; 0 for a label that no training product has."""
    return sum(of_label.get(product.attributes.get(name, ""), 0.0) for name, of_label in shares.items())
