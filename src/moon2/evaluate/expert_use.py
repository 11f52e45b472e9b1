"""How much of each view's routing goes to each expert: whether text, images and both are served by different ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from moon2.catalog.store import Catalog
from moon2.encoders.protocol import VectorEncoder
from moon2.errors import UserError
from moon2.model.encoder import Encoder
from moon2.model.items import Item
from moon2.views import VIEWS, View

PRODUCTS = 64
"""Gallery products looked at, evenly spaced: the mean of a share between 0 and 1 is then good to a few hundredths."""


def expert_use(
    encoder: VectorEncoder, catalog: Catalog, ids: Sequence[str], batch_size: int
) -> tuple[dict[View, list[float]], int]:
    """Mean routing share G̃ of each expert, by view, over products that have both a title and readable images.

    Args:
        encoder: one that is no `moon2.Encoder`, or has no experts, gives nothing.
        catalog: holds the products.
        ids: of the gallery's products.
        batch_size: products in a forward pass.

    Returns:
        View → share of each of the Z experts, summing to 1, averaged over tokens, layers and products; and the number
        of products. Without experts, or without such products, empty and 0.
    """
    if not isinstance(encoder, Encoder):
        return {}, 0
    chosen = np.unique(np.linspace(0, len(ids) - 1, min(PRODUCTS, len(ids))).round().astype(int))
    items = _complete_items(encoder, catalog, [ids[index] for index in chosen])
    sums = dict.fromkeys(VIEWS, torch.zeros(0, dtype=torch.float64))
    with torch.inference_mode():
        for start in range(0, len(items), batch_size):
            batch = encoder.item_batch(items[start : start + batch_size], VIEWS)
            for view, shares in encoder.model(batch, VIEWS).routing.items():
                total = shares.double().sum(dim=0).cpu()
                sums[view] = sums[view] + total if len(sums[view]) else total
    if not all(len(total) and bool(torch.isfinite(total).all()) for total in sums.values()):
        return {}, 0
    return {view: [round(share, 6) for share in (sums[view] / len(items)).tolist()] for view in VIEWS}, len(items)


def _complete_items(encoder: Encoder, catalog: Catalog, ids: Sequence[str]) -> list[Item]:
    items = []
    for id in ids:
        try:
            item = encoder.processor.item(catalog.product(id))
        except UserError:
            continue  # an image that cannot be read; the evaluation itself counts such products
        if item.text and item.images:
            items.append(item)
    return items
