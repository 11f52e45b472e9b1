"""What an explanation holds: pictures with their shares by patch, words with theirs, experts, and the similarity.

`heatmap.py` computes it; `picture.py` and `page.py` draw it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moon2.explain.rollout import Numbers
from moon2.explain.token_layout import spread
from moon2.model.encoder import Vectors

Map = NDArray[np.float32]


@dataclass(frozen=True)
class ExplainedPicture:
    """One picture of the item, as it was given and upright.

    Attributes:
        image: RGB, H × W pixels.
        attention: [h, w], the share of each visual token, at least 0.
        gradient: [h, w], signed share of each visual token in raising (+) or lowering (−) the similarity; or None.
        experts: [h, w, Z], weight of each expert at each visual token; Z is 0 without experts.
    """

    image: Image.Image
    attention: Numbers
    gradient: Numbers | None
    experts: Numbers


@dataclass(frozen=True)
class ExplainedWord:
    """One word of the text: how many tokens it is, and their shares together; `experts` [Z] is their mean."""

    text: str
    tokens: int
    attention: float
    gradient: float | None
    experts: Numbers


@dataclass(frozen=True)
class Explained:
    """Why an item got its vector, in numbers.

    Attributes:
        vector: [D] float32 of unit length, that of `Encoder.encode`.
        pictures: the pictures that the model saw.
        words: the words that it saw.
        unread: the end of the text, cut off at the recipe's limit of tokens.
        layer: the decoder layer shown, None when all are rolled up.
        experts: per modality that the item has ("image", "text") [Z], mean weight of each expert.
        query: what the similarity was taken to, in words; "" without a query.
        similarity: the cosine to the query; None without one.
    """

    vector: Vectors
    pictures: tuple[ExplainedPicture, ...]
    words: tuple[ExplainedWord, ...]
    unread: str
    layer: int | None
    experts: dict[str, Numbers]
    query: str = ""
    similarity: float | None = None

    @property
    def image_maps(self) -> list[Map]:
        """Per picture [H, W] float32: attention on each pixel; with the words' they sum to one."""
        return [_pixels(picture, picture.attention) for picture in self.pictures]

    @property
    def gradient_maps(self) -> list[Map]:
        """Per picture [H, W] float32: gradient × input on each pixel, signed; empty without a query."""
        return [_pixels(picture, picture.gradient) for picture in self.pictures if picture.gradient is not None]


def _pixels(picture: ExplainedPicture, weights: Numbers) -> Map:
    return spread(weights, (picture.image.height, picture.image.width)).astype(np.float32)
