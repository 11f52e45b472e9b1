"""Vectors whose first numbers are shorter vectors of the same thing (Matryoshka learning; arXiv 2205.13147)."""

from torch import Tensor
from torch.nn import functional


def shortened(vectors: Tensor, dimension: int) -> Tensor:
    """The first numbers of each vector, at unit length again.

    A vector and any multiple of it give the same, so it does not matter that the vectors were normalised before.

    Args:
        vectors: [..., D], any float dtype.
        dimension: 1 to D.

    Returns:
        [..., dimension], zeros for zeros; the vectors as they are where `dimension` is D.
    """
    return vectors if dimension == vectors.shape[-1] else functional.normalize(vectors[..., :dimension], dim=-1)
