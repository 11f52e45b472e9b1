"""How much of each view's routing goes to each expert: whether titles, photos and both are served by different ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from moon2.catalog.store import Catalog
from moon2.evaluate.result import VIEWS
from moon2.model.encoder import Encoder
from moon2.model.processor import Item

PRODUCTS = 64
"""Gallery products looked at, evenly spaced: the mean of a share between 0 and 1 is then good to a few hundredths."""


def expert_use(
    encoder: Any, catalog: Catalog, ids: Sequence[str], batch_size: int
) -> tuple[dict[str, list[float]], int]:
    """Mean routing share G̃ of each expert, by view, over products that have both a title and readable pictures.

    Args:
        encoder: any; one that is no `moon2.Encoder`, or has no experts, gives nothing.
        catalog: where the products are.
        ids: of the gallery's products.
        batch_size: products a pass.

    Returns:
        View → share of each of the Z experts, summing to 1, averaged over tokens, layers and products; and the number
        of products. Without experts, or products of both forms, empty and 0.
    """
    if not isinstance(encoder, Encoder):
        return {}, 0
    places = np.unique(np.linspace(0, len(ids) - 1, min(PRODUCTS, len(ids))).round().astype(int))
    items = list(_items(encoder, catalog, [ids[place] for place in places]))
    sums: dict[str, torch.Tensor] = {}
    was_training = encoder.model.training
    encoder.model.eval()
    try:
        with torch.inference_mode():
            for start in range(0, len(items), batch_size):
                text = encoder.model.needs_text_pass(VIEWS)
                batch = encoder.processor.batch(items[start : start + batch_size], text=text).to(encoder.device)
                for view, shares in encoder.model(batch, VIEWS).routing.items():
                    total = shares.double().sum(dim=0).cpu()
                    sums[view] = sums[view] + total if view in sums else total
    finally:
        encoder.model.train(was_training)
    if not all(total.numel() and bool(torch.isfinite(total).all()) for total in sums.values()) or not sums:
        return {}, 0
    return {
        view: [round(share, 6) for share in (sums[view] / len(items)).tolist()] for view in VIEWS if view in sums
    }, len(items)


def _items(encoder: Encoder, catalog: Catalog, ids: Sequence[str]) -> Iterator[Item]:
    for id in ids:
        try:
            item = encoder.processor.item(catalog.product(id), views=VIEWS)
        except ValueError:
            continue  # a picture that cannot be read; the benchmark itself counts such products
        if item.text and item.images:
            yield item
