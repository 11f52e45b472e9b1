"""Which rows of a log are the same query, and which images tie queries to products and to one another."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from moon2.catalog.benchmark.query_groups import image_ties, query_groups
from moon2.catalog.near_duplicates import fingerprint
from moon2.records import Interaction, Query


def photo(seed: int, quality: int = 95, side: int = 64) -> bytes:
    """Smooth coloured noise, the same image for the same seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC).save(encoded, "JPEG", quality=quality)
    return encoded.getvalue()


def rows(*queries: Query) -> list[Interaction]:
    return [Interaction(query, ("p",)) for query in queries]


def test_one_id_or_the_same_words_and_image_are_one_query() -> None:
    log = rows(
        Query("a", "Navy  shirt"),
        Query("b", "navy shirt!"),
        Query("b", "trousers"),
        Query("c", "navy shirt", image=b"1"),
        Query("d", "Navy shirt", image=b"1"),
        Query("e", "red shirt", image=b"1"),
        Query("f", "navy shirt", image=b"2"),
    )
    assert query_groups(log) == [0, 0, 0, 1, 1, 2, 3]


def test_the_same_image_ties_queries_and_products() -> None:
    address = "https://shop.example/1.jpg"
    log = rows(
        Query("a", "like this", image=photo(1, quality=80, side=96)),
        Query("b", "and cheap", image=photo(1, quality=80, side=96)),
        Query("c", "", image=photo(2)),
        Query("d", "", image=photo(2, quality=80)),
        Query("e", "", image=address),
        Query("f", "", image=b"broken"),
        Query("g", "words alone"),
    )
    prints = [(number, found) for number in range(2) if (found := fingerprint(photo(number)))]
    ties = image_ties(log, query_groups(log), 10, prints, [(2, address), (3, "https://shop.example/3.jpg")])
    # The first two queries have the image of product 1, the next two one image, the fifth the address of product 2.
    assert ties == {(1, 10), (10, 11), (12, 13), (2, 14)}
    assert image_ties(rows(Query("g", "words")), [0], 10, prints, []) == set()
