"""What an explanation holds: shares of each image's patches, shares of each word, experts, and the similarity.

`explain.py` computes it, `draw/` draws it.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from moon2.explain.rollout import Numbers
from moon2.model.encoder import Vectors


@dataclass(frozen=True)
class ExplainedImage:
    """One image of the item.

    Attributes:
        image: the image as given, upright, RGB, H × W pixels.
        attention: [h, w], the share of each image token, at least 0.
        gradient: [h, w], the signed share of each image token in raising (+) or lowering (−) the similarity; or None.
        experts: [h, w, Z], weight of each expert at each image token; Z is 0 without experts.
    """

    image: Image.Image
    attention: Numbers
    gradient: Numbers | None
    experts: Numbers


@dataclass(frozen=True)
class ExplainedWord:
    """One word of the text: its number of tokens, the sum of their shares, and their mean `experts` [Z]."""

    text: str
    tokens: int
    attention: float
    gradient: float | None
    experts: Numbers


@dataclass(frozen=True)
class Explanation:
    """Why an item got its vector, in numbers. Attention sums to one over images and words together.

    Attributes:
        vector: [D] float32 of unit length, that of `Encoder.encode`.
        images: the images that the model saw.
        words: the words that it saw.
        unread: the end of the text that the limit of tokens cut off.
        layer: the decoder layer shown; None when all are rolled up.
        experts: per modality of the item ("image", "text") [Z], the mean weight of each expert.
        query: what the similarity is to, in words; "" without a query.
        similarity: the cosine to the query; None without one.
    """

    vector: Vectors
    images: tuple[ExplainedImage, ...]
    words: tuple[ExplainedWord, ...]
    unread: str
    layer: int | None
    experts: dict[str, Numbers]
    query: str
    similarity: float | None
