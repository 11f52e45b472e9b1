"""Dual-level alignment: contrastive losses between a query and products, and between a product's image and its text.

Every loss is InfoNCE and is given per sample, not averaged: the filter and the balance weigh samples and objectives
later (`moon2.objective.total`). A mask says what must not serve as a negative, because most "negatives" that hurt are
products which somebody did buy after the same query.

Equations are those of MOON2.0, arXiv 2511.12449, "Dual-level Alignment".
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from moon2.objective.precision import at_least_float32
from moon2.views import Objective, View


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
    queries: Mapping[View, Tensor],
    candidates: Tensor,
    positive: Tensor,
    excluded: Tensor,
    temperature: float,
    valid: Mapping[View, Tensor] | None = None,
) -> dict[Objective, Tensor]:
    """Query against product, for each view ϑ of the query: L_inter^ϑ is the InfoNCE of r_q^ϑ against r_p^mm.

    (arXiv 2511.12449, inter-product alignment, ϑ ∈ {t, i, mm}; `total_loss` applies the weights ω^ϑ.) N_q holds the
    triplet's own negatives and all other positives and negatives of the batch, less those in `excluded`.

    Args:
        queries: per view, [B, D] unit vectors.
        candidates: [C, D] unit vectors, the `mm` view of the batch's positives and negatives.
        positive, excluded, temperature: as in `info_nce`.
        valid: per view, [B] bool: False where the query has no such view (no text, no image). A view that is not named
            is valid everywhere. The vectors of rows that are not valid may be anything, NaN included.

    Returns:
        For each view given, under ϑ→mm: [B] losses, 0 with no gradient where not valid. Hand the masks to `total_loss`
        too, so that those zeros are not averaged.
    """
    losses = {}
    for view, anchors in queries.items():
        everywhere = torch.ones(len(anchors), dtype=torch.bool, device=anchors.device)
        mask = (valid or {}).get(view, everywhere)
        # Before the loss, not only after it: a NaN that is masked afterwards still has a NaN gradient.
        anchors = torch.where(mask[:, None], anchors, torch.zeros_like(anchors))
        loss = info_nce(anchors, candidates, positive, excluded, temperature)
        losses[Objective(view, "mm")] = torch.where(mask, loss, torch.zeros_like(loss))
    return losses


def intra_product(image: Tensor, text: Tensor, excluded: Tensor, temperature: float) -> dict[Objective, Tensor]:
    """A product's image against its own text among other products' texts, and the reverse.

    (arXiv 2511.12449, intra-product alignment, temperature ε̃; positives and negatives of the triplets both take part.)

    Args:
        image: [N, D] unit vectors, view `i` of N products that have both text and image.
        text: [N, D] unit vectors, view `t` of the same products in the same order.
        excluded: [N, N] bool, symmetric, True where image n and text n' are no negatives of each other.
        temperature: ε̃, above 0.

    Returns:
        Under i→t and t→i: [N] losses, float32 (float64 for float64 vectors).
    """
    own = torch.arange(image.shape[0], device=image.device)
    return {
        Objective("i", "t"): info_nce(image, text, own, excluded, temperature),
        Objective("t", "i"): info_nce(text, image, own, excluded.T, temperature),
    }
