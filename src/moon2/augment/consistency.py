"""The consistency filter: does this image show what this title says?

The judge is any encoder of text and images. Its cosines mean something only beside each other, so the threshold comes
from the catalog itself: from its own images with their own titles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moon2.augment.errors import AugmentationError
from moon2.catalog.store import Catalog
from moon2.images import ImageError, LongestSide, open_image

if TYPE_CHECKING:  # its module needs torch
    from moon2.encoders.protocol import VectorEncoder

PAIRS = 2_000
PASSING = 0.95
"""Share of the catalog's own pairs that reach the threshold. An augmentation is dropped where it fits its product worse
than the worst twentieth of the shop's own images fit theirs."""

PAIRS_AT_ONCE = 64
"""Images opened at once to be judged: an opened one is a hundred times its file."""
READ_AT = LongestSide(768)
"""Of images that wait to be judged: more than a judge reads of a photo."""

Pair = tuple[Image.Image, str]


def similarities(encoder: VectorEncoder, pairs: Sequence[Pair]) -> NDArray[np.float32]:
    """(n,) float32 cosines of view i of each image and view t of its text."""
    images = encoder.encode([image for image, _ in pairs], view="i")
    texts = encoder.encode([text for _, text in pairs], view="t")
    return (images * texts).sum(axis=1)


def calibrated_threshold(encoder: VectorEncoder, catalog: Catalog, split: str, seed: int) -> float:
    """The cosine that `PASSING` of the catalog's own pairs reach.

    Raises:
        AugmentationError: as `sample_pairs`.
    """
    pairs, cosines = sample_pairs(catalog, split, seed), []
    while some := list(islice(pairs, PAIRS_AT_ONCE)):
        cosines.append(similarities(encoder, some))
        some.clear()  # before the next are opened
    return float(np.quantile(np.concatenate(cosines), 1 - PASSING))


def sample_pairs(catalog: Catalog, split: str, seed: int, number: int = PAIRS) -> Iterator[Pair]:
    """Images and titles of `number` products drawn at random, fewer where there are fewer; opened one by one.

    Raises:
        AugmentationError: the split has fewer than two products with different titles and a readable image; found at
            the end.
    """
    ids = [row["id"] for row in catalog.rows(split, ["id", "title"]) if (row["title"] or "").strip()]
    order = np.random.default_rng(seed).permutation(len(ids))
    titles: list[str] = []
    for row in order[: 2 * number]:
        product = catalog.product(ids[row])
        if product.images and len(titles) < number:
            try:
                image = open_image(product.images[0], read_at=READ_AT)
            except ImageError:
                continue
            titles.append(product.title)
            yield image, product.title
    if len(set(titles)) < 2:
        raise AugmentationError(
            f"{catalog.folder}: has too few products with title and image to find a threshold; "
            f"set consistency.threshold"
        )
