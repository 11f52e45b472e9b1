"""Near-duplicates among products, by title and by picture, never over all pairs.

Titles compare by the words they share (Chinese and Japanese by pairs of characters, as they put no spaces). Pictures
compare by a difference hash of 64 bits (whether each cell of a 9 × 8 thumbnail is brighter than its neighbour), and
those that agree in it by a thumbnail in colour, as shop photos on white have much the same hash whatever they show. Two
hashes that differ in d bits agree in at least one of d + 1 bands, so only pictures under the same band are compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image

from moon2.catalog.triplets import near_duplicates
from moon2.images import ImageError, open_image

# Bits in which the hashes of near-duplicate pictures may differ; levels (0 to 255) by which their thumbnails may,
# in the mean and anywhere. Most copies saved or scaled anew stay below; other photos of like products mostly do not.
PICTURE_BITS = 4
COLOUR_LEVELS, LARGEST_LEVELS = 2.5, 24
# A picture whose thumbnail varies less than this (standard deviation, in levels) is blank: all such have one hash.
LEAST_CONTRAST = 4.0
# Of a large band, each picture is compared with so many neighbours in the order of the hashes.
MOST_COMPARED = 128
_NO_SPACES = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is kept of one picture.

    Attributes:
        hash: 64 bits.
        colour: (192,) uint8, the RGB of an 8 × 8 thumbnail.
    """

    hash: int
    colour: np.ndarray


def fingerprint(picture: Any) -> Fingerprint | None:
    """The fingerprint of a path, bytes or PIL image; None when it cannot be read, or is blank."""
    try:
        image = open_image(picture)
    except ImageError:
        return None
    grey = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    if grey.std() < LEAST_CONTRAST:
        return None
    bits = np.packbits((grey[:, 1:] > grey[:, :-1]).reshape(-1))
    colour = np.asarray(image.resize((8, 8), Image.Resampling.BOX), np.uint8).reshape(-1)
    return Fingerprint(int.from_bytes(bits.tobytes()), colour)


def title_words(title: str) -> frozenset[str]:
    """The words of a title without case; where a script puts no spaces, its pairs of neighbouring characters."""
    words = []
    for run in re.findall(rf"[{_NO_SPACES}]+|[^\W{_NO_SPACES}]+", title.casefold()):
        pairs = re.match(rf"[{_NO_SPACES}]", run) and len(run) > 1
        words += [run[i : i + 2] for i in range(len(run) - 1)] if pairs else [run]
    return frozenset(words)


def alike_titles(titles: Sequence[str], categories: Sequence[tuple[str, ...]]) -> Iterator[tuple[int, int]]:
    """Pairs (i < j) whose titles are nearly, or quite, the same, whatever their categories; some come twice."""
    words = [title_words(title) for title in titles]
    # Shops list a product under two categories. Each category is gone through on its own too, as over all of them the
    # bound on the work passes over more pairs.
    for groups in (categories, [()] * len(titles)):
        seen: dict[tuple[tuple[str, ...], str], int] = {}
        for i, (title, group) in enumerate(zip(titles, groups, strict=True)):
            # Titles of one or two words say too little.
            if len(words[i]) >= 3:
                first = seen.setdefault((group, " ".join(title.casefold().split())), i)
                if first != i:
                    yield first, i
        for i, others in near_duplicates(words, groups).items():
            yield from ((i, j) for j in others if i < j)


def alike_pictures(fingerprints: Iterable[tuple[int, Fingerprint]], bits: int = PICTURE_BITS) -> set[tuple[int, int]]:
    """Pairs (i < j) of owners that have two pictures nearly the same.

    Args:
        fingerprints: owner (such as the number of a product) and fingerprint, of every picture.
        bits: in which two hashes may differ.
    """
    known = list(fingerprints)
    if len(known) < 2:
        return set()
    owners = np.array([owner for owner, _ in known], np.int64)
    hashes = np.array([print.hash for _, print in known], np.uint64)
    colours = np.stack([print.colour for _, print in known])
    found: set[tuple[int, int]] = set()
    edges = np.linspace(0, 64, bits + 2).astype(int)
    for low, high in pairwise(edges):
        keys = (hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.lexsort((hashes, keys))
        starts = np.flatnonzero(np.diff(keys[order])) + 1
        for members in np.split(order, starts):
            if len(members) > 1:
                found |= _compare(members, owners, hashes, colours, bits)
    return found


def _compare(
    members: np.ndarray, owners: np.ndarray, hashes: np.ndarray, colours: np.ndarray, bits: int
) -> set[tuple[int, int]]:
    found: set[tuple[int, int]] = set()
    for place in range(len(members) - 1):
        i, others = members[place], members[place + 1 : place + 1 + MOST_COMPARED]
        near = others[np.bitwise_count(hashes[others] ^ hashes[i]) <= bits]
        near = near[owners[near] != owners[i]]
        if len(near):
            apart = np.abs(colours[near].astype(np.int16) - colours[i].astype(np.int16))
            same = (apart.mean(axis=1) <= COLOUR_LEVELS) & (apart.max(axis=1) <= LARGEST_LEVELS)
            a = int(owners[i])
            found.update((min(a, int(b)), max(a, int(b))) for b in owners[near[same]])
    return found
