"""Near-duplicate products by title and by image, without comparing all pairs; `groups.py` makes groups of the pairs.

Titles are compared by the words they share. Images are compared by a difference hash of 64 bits: whether each cell of
a 9 × 8 thumbnail is brighter than its neighbour. Two hashes that differ in d bits agree in at least one of d + 1 bands.
So only images with an equal band are compared. Shop photos on white have similar hashes whatever they show, so a
thumbnail in colour must agree as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moon2.catalog.schema import is_url
from moon2.catalog.titles import near_duplicate_titles, title_words
from moon2.images import ImageError, ImageSource, open_image

# Near-duplicates differ in at most so many bits of the hash, and so many levels (0 to 255) of the thumbnail, on average
# and anywhere. Most images saved or scaled again stay below; most photos of similar products do not.
IMAGE_BITS = 4
MEAN_LEVELS, MAX_LEVELS = 2.5, 24
# An image whose thumbnail has a lower standard deviation, in levels, is blank: all blank images have one hash.
MIN_CONTRAST = 4.0
# Where many images have an equal band, each is compared with so many neighbours in the order of the hashes.
MAX_COMPARED = 128


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What identifies one image.

    Attributes:
        hash: 64 bits.
        colour: (192,) uint8, the RGB of an 8 × 8 thumbnail.
    """

    hash: int
    colour: NDArray[np.uint8]


def fingerprint(source: ImageSource) -> Fingerprint | None:
    """The fingerprint of an image; None when it cannot be read, or is blank."""
    try:
        image = open_image(source)
    except ImageError:
        return None
    grey = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    if grey.std() < MIN_CONTRAST:
        return None
    bits = np.packbits((grey[:, 1:] > grey[:, :-1]).reshape(-1))
    colour = np.asarray(image.resize((8, 8), Image.Resampling.BOX), np.uint8).reshape(-1)
    return Fingerprint(int.from_bytes(bits.tobytes()), colour)


class SimilarProducts:
    """Takes products one at a time, and finds the pairs that are nearly the same. In memory are words and fingerprints.

    Attributes:
        prints: number of the product, in the order of adding, and fingerprint of every image that could be read.
    """

    def __init__(self) -> None:
        self.prints: list[tuple[int, Fingerprint]] = []
        self._titles: list[str] = []
        self._categories: list[tuple[str, ...]] = []
        self._first_with: dict[bytes | str, int] = {}
        self._shared: set[tuple[int, int]] = set()

    def __len__(self) -> int:
        return len(self._titles)

    def add(self, title: str, category: tuple[str, ...], images: Iterable[bytes | str]) -> None:
        """The next product, with its images as a catalog has them. URLs are compared as text: nothing is downloaded."""
        for image in images:
            key = blake2b(image, digest_size=16).digest() if isinstance(image, bytes) else image
            if (first := self._first_with.setdefault(key, len(self))) != len(self):
                self._shared.add((first, len(self)))
            is_there = isinstance(image, bytes) or not is_url(image)
            if is_there and (print := fingerprint(image)):
                self.prints.append((len(self), print))
        self._titles.append(title)
        self._categories.append(category)

    def title_pairs(self) -> set[tuple[int, int]]:
        """Pairs (i < j) with the same or nearly the same title."""
        return set(title_pairs(self._titles, self._categories))

    def image_pairs(self) -> set[tuple[int, int]]:
        """Pairs (i < j) that have two images nearly the same."""
        return image_pairs(self.prints)

    def same_product_pairs(self) -> set[tuple[int, int]]:
        """Pairs (i < j) that are listed twice: nearly the same title and image, or the very same image file."""
        return (self.title_pairs() & self.image_pairs()) | self._shared


def title_pairs(titles: Sequence[str], categories: Sequence[tuple[str, ...]]) -> Iterator[tuple[int, int]]:
    """Pairs (i < j) with the same or nearly the same title, whatever their categories; a pair may come twice."""
    words = [title_words(title) for title in titles]
    # Shops list a product under two categories. The limit on comparisons skips more pairs over all categories, so each
    # category is searched on its own too.
    for groups in (categories, [()] * len(titles)):
        first_of: dict[tuple[tuple[str, ...], str], int] = {}
        for i, (title, group) in enumerate(zip(titles, groups, strict=True)):
            if len(words[i]) >= 3:  # a shorter title says too little
                first = first_of.setdefault((group, " ".join(title.casefold().split())), i)
                if first != i:
                    yield first, i
        for i, others in near_duplicate_titles(words, groups).items():
            yield from ((i, j) for j in others if i < j)


def image_pairs(fingerprints: Iterable[tuple[int, Fingerprint]]) -> set[tuple[int, int]]:
    """Pairs (i < j) of owners that have two images nearly the same.

    Args:
        fingerprints: owner (such as the number of a product) and fingerprint, of every image.
    """
    entries = list(fingerprints)
    if len(entries) < 2:
        return set()
    owners = np.array([owner for owner, _ in entries], np.int64)
    hashes = np.array([print.hash for _, print in entries], np.uint64)
    colours = np.stack([print.colour for _, print in entries])
    pairs: set[tuple[int, int]] = set()
    for low, high in pairwise(np.linspace(0, 64, IMAGE_BITS + 2).astype(int)):
        bands = (hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.lexsort((hashes, bands))
        starts = np.flatnonzero(np.diff(bands[order])) + 1
        for members in np.split(order, starts):
            pairs |= _pairs_among(members, owners, hashes, colours)
    return pairs


def _pairs_among(
    members: NDArray[np.int64], owners: NDArray[np.int64], hashes: NDArray[np.uint64], colours: NDArray[np.uint8]
) -> set[tuple[int, int]]:
    pairs: set[tuple[int, int]] = set()
    for position, i in enumerate(members[:-1]):
        others = members[position + 1 : position + 1 + MAX_COMPARED]
        near = others[np.bitwise_count(hashes[others] ^ hashes[i]) <= IMAGE_BITS]
        near = near[owners[near] != owners[i]]
        if len(near):
            levels = np.abs(colours[near].astype(np.int16) - colours[i].astype(np.int16))
            same = (levels.mean(axis=1) <= MEAN_LEVELS) & (levels.max(axis=1) <= MAX_LEVELS)
            a = int(owners[i])
            pairs.update((min(a, int(b)), max(a, int(b))) for b in owners[near[same]])
    return pairs
