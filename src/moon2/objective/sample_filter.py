"""Dynamic sample filtering: how far a triplet of the search log can be believed, judged by the model being trained.

A purchase that the vectors find no closer to its query than a product nobody wanted is probably noise. The margin
falls over training: at first only clear triplets count in full, later hard ones too.

Equations are those of MOON2.0, arXiv 2511.12449, "Dynamic Sample Filtering".
"""

import torch
from torch import Tensor

from moon2.objective.precision import at_least_float32


def reliability(positive_similarity: Tensor, negative_similarity: Tensor, margin: float, sharpness: float) -> Tensor:
    """φ = σ( κ · ( r_q·r_p − r_q·r_n − m̄ ) ) (arXiv 2511.12449).

    Args:
        positive_similarity: [B], r_q·r_p of unit vectors, any float dtype.
        negative_similarity: [B], r_q·r_n; with several negatives the caller chooses which (or their mean). −inf for a
            triplet that has none: nothing speaks against it, so φ is 1.
        margin: m̄.
        sharpness: κ, above 0.

    Returns:
        φ [B] in (0, 1), float32 (float64 for float64). It rises with r_q·r_p and falls with r_q·r_n and m̄.
    """
    gap = at_least_float32(positive_similarity) - at_least_float32(negative_similarity)
    return torch.sigmoid(sharpness * (gap - margin))


def sample_weights(phi: Tensor, threshold: float) -> Tensor:
    """The weight of each triplet in the inter-product losses: φ where φ < τ, else 1.

    The paper says only that triplets below τ are weighted down (arXiv 2511.12449); by φ itself is our reading.

    Args:
        phi: φ [B].
        threshold: τ, 0 (every triplet counts in full) to 1.

    Returns:
        [B] in (0, 1], without gradient.
    """
    # Detached: φ is a judgement of the data. With a gradient through it, the loss could be lowered by making a triplet
    # look less believable instead of by aligning it, and hard triplets would be pushed out of training for good.
    phi = at_least_float32(phi.detach())
    return torch.where(phi < threshold, phi, torch.ones_like(phi))


def margin_at(step: int, steps: int, start: float, end: float) -> float:
    """m̄ at a step counted from 0: `start` at the first step, `end` at step `steps` − 1 and after, linear in between.

    The paper says that m̄ decays (arXiv 2511.12449), not how; linear is our choice.
    """
    progress = min(max(step / max(steps - 1, 1), 0.0), 1.0)
    return start + (end - start) * progress
