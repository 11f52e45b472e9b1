"""Dual-level alignment: contrastive losses between a query and products, and between a product's picture and its text.

Every loss is InfoNCE and comes per sample, not averaged: the filter and the balance weigh samples and objectives later
(`moon2.objective.total`). What may not serve as a negative is said by a mask, because in a shop's log most "negatives"
that hurt are products which somebody did buy after the same query.

Equations are those of MOON2.0, arXiv 2511.12449, "Dual-level Alignment".
"""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from moon2.objective.precision import at_least_float32
from moon2.recipe import OBJECTIVES

INTER_OBJECTIVES, INTRA_OBJECTIVES = OBJECTIVES[:3], OBJECTIVES[3:]


def info_nce(anchors: Tensor, candidates: Tensor, positive: Tensor, excluded: Tensor, temperature: float) -> Tensor:
    """InfoNCE of each anchor: the cross-entropy of finding its positive among the candidates.

        ℓ_b = − log( exp(a_b·c_{p(b)} / ε) / Σ_{c ∈ {p(b)} ∪ N_b} exp(a_b·c / ε) )

    (arXiv 2511.12449, the form of both L_inter and L_intra; N_b are the candidates not excluded.)

    Args:
        anchors: [B, D] unit vectors, any float dtype.
        candidates: [C, D] unit vectors, any float dtype.
        positive: [B] long, the candidate that is each anchor's positive.
        excluded: [B, C] bool, True where a candidate is no negative of the anchor. The positive may be flagged too; it
            stays the positive.
        temperature: ε, above 0.

    Returns:
        [B] losses, float32 (float64 for float64 vectors), each ≥ 0; exactly 0 where no negative is left.

    Raises:
        ValueError: `excluded` is not a bool tensor of shape [B, C].
    """
    expected = (anchors.shape[0], candidates.shape[0])
    if excluded.dtype != torch.bool or tuple(excluded.shape) != expected:
        raise ValueError(f"info_nce: excluded is {excluded.dtype} {tuple(excluded.shape)}; it must be bool {expected}")
    # Mixed-precision training would compute this product in bfloat16 whatever its inputs are.
    with torch.autocast(anchors.device.type, enabled=False):
        logits = at_least_float32(anchors) @ at_least_float32(candidates).T / temperature
    is_positive = torch.zeros_like(excluded).scatter_(1, positive[:, None], True)
    logits = logits.masked_fill(excluded & ~is_positive, float("-inf"))
    return functional.cross_entropy(logits, positive, reduction="none")


def inter_product(
    queries: Mapping[str, Tensor],
    candidates: Tensor,
    positive: Tensor,
    excluded: Tensor,
    temperature: float,
    valid: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Query against product, for each form ϑ of the query: L_inter^ϑ is the InfoNCE of r_q^ϑ against r_p^mm.

    (arXiv 2511.12449, inter-product alignment, ϑ ∈ {t, i, mm}; the weights ω^ϑ are applied in `total_loss`.) N_q holds
    the triplet's own negatives and all other positives and negatives of the batch, less what `excluded` says.

    Args:
        queries: for each view of "t", "i", "mm" that the batch has, [B, D] unit vectors.
        candidates: [C, D] unit vectors, the `mm` view of the batch's positives and negatives.
        positive, excluded, temperature: as in `info_nce`.
        valid: for a view, [B] bool: False where the query has no such view (no text, no picture). A view that is not
            named is valid everywhere. The vectors of such rows are not looked at and may be anything, NaN included.

    Returns:
        For each view given, under "t→mm", "i→mm" or "mm→mm": [B] losses, 0 with no gradient where not valid. Hand the
        masks to `total_loss` too, so that those zeros are not averaged.

    Raises:
        ValueError: a view has another name, or `excluded` the wrong shape.
    """
    losses = {}
    for view, anchors in queries.items():
        objective = f"{view}→mm"
        if objective not in INTER_OBJECTIVES:
            raise ValueError(f"inter_product: there is no view {view!r} of a query; use t, i or mm")
        mask = (valid or {}).get(view)
        if mask is not None:
            # Before the loss, not only after it: a NaN that is masked afterwards still has a NaN gradient.
            anchors = torch.where(mask[:, None], anchors, torch.zeros_like(anchors))
        loss = info_nce(anchors, candidates, positive, excluded, temperature)
        losses[objective] = loss if mask is None else torch.where(mask, loss, torch.zeros_like(loss))
    return losses


def intra_product(image: Tensor, text: Tensor, excluded: Tensor, temperature: float) -> dict[str, Tensor]:
    """A product's picture against its own text among other products' texts, and the reverse.

    (arXiv 2511.12449, intra-product alignment, temperature ε̃; positives and negatives of the triplets both take part.)

    Args:
        image: [N, D] unit vectors, view `i` of N products that have both text and picture.
        text: [N, D] unit vectors, view `t` of the same products in the same order.
        excluded: [N, N] bool, True where picture n and text n' are no negatives of each other (`same_product_mask`).
        temperature: ε̃, above 0.

    Returns:
        {"i→t": [N], "t→i": [N]} losses, float32 (float64 for float64 vectors).
    """
    own = torch.arange(image.shape[0], device=image.device)
    return {
        "i→t": info_nce(image, text, own, excluded, temperature),
        "t→i": info_nce(text, image, own, excluded.T, temperature),
    }


def known_positive_mask(row_known: Sequence[Collection[str]], candidate_ids: Sequence[str]) -> Tensor:
    """Which candidates are never negatives of a row: those whose product is known to be right for its query.

    Args:
        row_known: for each of B rows, the ids of its query's known positives; the row's own positive belongs among
            them, so that a second copy of it in the batch is no negative either.
        candidate_ids: the product id of each of C candidates; an id may come several times.

    Returns:
        [B, C] bool on the CPU, True: no negative. It is `excluded` of `info_nce` and `inter_product`.
    """
    columns: dict[str, list[int]] = {}
    for column, product in enumerate(candidate_ids):
        columns.setdefault(product, []).append(column)
    mask = torch.zeros(len(row_known), len(candidate_ids), dtype=torch.bool)
    for row, known in enumerate(row_known):
        mask[row, [column for product in known for column in columns.get(product, ())]] = True
    return mask


def same_product_mask(ids: Sequence[str]) -> Tensor:
    """Which pairs of N products are the same product: [N, N] bool on the CPU, symmetric, True on the diagonal.

    It is `excluded` of `intra_product`: a product that is twice in the batch is no negative of itself.
    """
    return known_positive_mask([(product,) for product in ids], ids)
