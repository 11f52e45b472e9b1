"""The order of the products for a query: by vector, or by vector and words, put together as in `vectors/fusion.py`."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from moon2.search.info import IndexInfo
from moon2.search.product_table import ProductTable
from moon2.search.table_schema import WHOLE, literal
from moon2.vectors.fusion import CANDIDATES, Fusion, fuse
from moon2.vectors.lexical import Exact, Scored, searched_words
from moon2.vectors.words import same_text


class Ranked(NamedTuple):
    """One product of a ranking.

    Attributes:
        id: of the product.
        score: a cosine, or the fused score.
        cosine: of the query and the product, by the vector that is nearest.
        vector_rank, word_rank: from 1; 0 where the product is not among those candidates.
        image: the image whose vector is nearest; -1 where it is that of the whole product.
        exact: 2 where the words are the product's id, 1 where they are its title, else 0.
    """

    id: str
    score: float
    cosine: float
    vector_rank: int
    word_rank: int
    image: int
    exact: int


def rank_by_vector(
    table: ProductTable, info: IndexInfo, vector: np.ndarray, where: str | None, limit: int, exact: bool
) -> list[Ranked]:
    """The nearest products, best first; see `Index.rank`."""
    near = table.nearest(vector, limit, where=where, exact=exact, probes=info.probes)
    found = zip(near.ids, near.cosines.tolist(), near.images.tolist(), strict=True)
    return [Ranked(id, cosine, cosine, rank, 0, image, 0) for rank, (id, cosine, image) in enumerate(found, start=1)]


def rank_by_words(
    table: ProductTable, text: str, known_words: Collection[str], where: str | None, limit: int
) -> list[Ranked]:
    """The products that hold the words, by BM25 alone, best first; see `Index.rank`."""
    # Of equal scores LanceDB gives any: a longer list begins as a shorter one only where both are cut from one.
    found = table.matching(searched_words(text, known_words), max(CANDIDATES, limit), where=where)
    scored = zip(found.ids[:limit], found.scores[:limit].tolist(), strict=True)
    return [Ranked(id, score, np.nan, 0, rank, WHOLE, 0) for rank, (id, score) in enumerate(scored, start=1)]


def rank_by_both(
    table: ProductTable,
    info: IndexInfo,
    vector: np.ndarray,
    text: str,
    known_words: Collection[str],
    fusion: Fusion,
    where: str | None,
    limit: int,
    exact: bool,
) -> list[Ranked]:
    """The best products by vector and words together, best first; see `Index.rank`."""
    near = table.nearest(vector, max(CANDIDATES, limit), where=where, exact=exact, probes=info.probes)
    words = searched_words(text, known_words)
    matches = table.matching(words, CANDIDATES, where=where)
    by_id, by_title = table.same(same_text(text), where)

    # The candidates as rows of small arrays, in the order of the catalog, by which ties are decided.
    position_of = dict(zip(near.ids, near.positions.tolist(), strict=True))
    position_of.update(zip(matches.ids, matches.positions.tolist(), strict=True))
    position_of.update({**by_id, **by_title})
    ids = sorted(position_of, key=position_of.__getitem__)
    row_of = {id: row for row, id in enumerate(ids)}
    bm25 = np.zeros(len(ids), np.float32)
    bm25[[row_of[id] for id in matches.ids]] = matches.scores
    rest = sorted(set(ids) - set(matches.ids))
    if rest and len(matches.ids) == CANDIDATES:  # they may have some of the words too, and lower scores
        among = f"id IN ({', '.join(map(literal, rest))})"
        lower = table.matching(words, len(rest), where=among)
        bm25[[row_of[id] for id in lower.ids]] = lower.scores
    cosines = np.full(len(ids), np.nan, np.float32)
    images = np.full(len(ids), WHOLE, np.int32)
    near_rows = np.array([row_of[id] for id in near.ids], np.int64)
    cosines[near_rows], images[near_rows] = near.cosines, near.images

    def cosines_of(rows: np.ndarray) -> np.ndarray:
        vectors = table.all_vectors([ids[row] for row in rows])
        for row in rows:
            own = vectors[ids[row]]
            images[row] = max(own, key=lambda image: float(own[image] @ vector))
            cosines[row] = own[images[row]] @ vector
        return cosines[rows]

    hits = fuse(
        Scored(near_rows, near.cosines),
        bm25,
        cosines_of,
        fusion,
        Exact(*(np.array(sorted(row_of[id] for id in same), np.int64) for same in (by_id, by_title))),
    )
    return [
        Ranked(ids[row], score, float(cosines[row]), vector_rank, word_rank, int(images[row]), degree)
        for row, score, degree, vector_rank, word_rank in zip(*(part[:limit].tolist() for part in hits), strict=True)
    ]
