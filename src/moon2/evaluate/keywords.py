"""Keyword search (BM25) and the hybrid of it with the encoder, on the same queries and products as the encoder alone.

The hybrid is ranked by `fuse`, which search calls too. Its weight comes from queries held out of training: of a run,
those that training kept (`fusion.json` beside the model); of a model that did not train on this log, a part of the log.
Where there are none the weight is `DEFAULT_WEIGHT`. The test queries never choose it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

import numpy as np
from tqdm import tqdm

from moon2.catalog.store import Catalog
from moon2.catalog.triplets import triplets_from_log
from moon2.encoders.protocol import VectorEncoder
from moon2.evaluate.per_query import QueryScores, query_scores
from moon2.evaluate.test_set import TestSet
from moon2.train.validation import hold_out
from moon2.vectors.embed import NO_VECTORS, Vectors, embed_products, embed_queries
from moon2.vectors.fit_fusions import VIEWS_WITH_WORDS, fit_fusions
from moon2.vectors.fusion import CANDIDATES, Fusion, default_fusion, fuse
from moon2.vectors.graded import GradedPlaces, gains_by_row
from moon2.vectors.lexical import LexicalIndex, Scored
from moon2.vectors.nearest import TIE_TOLERANCE, Ranks, top_k
from moon2.vectors.product_texts import TextFields, product_texts
from moon2.views import View

FIELD_WORDS = {"title": "titles", "all": "all text"}
BLOCK = 256
"""Queries whose candidates by vector are found at a time."""
HELD_OUT = 300
EXACT = 1e6
"""Added to a score for each degree of exactness: more than any score."""


def keyword_scores(
    catalog: Catalog,
    test_set: TestSet,
    queries: Mapping[View, Vectors],
    products: Mapping[View, Vectors],
    fusions: Mapping[str, Mapping[str, Fusion]],
) -> dict[str, QueryScores]:
    """What each query scored, by row of the table such as "t→mm, BM25 (titles)" and "t→mm, hybrid (titles)".

    Args:
        catalog: holds the products' texts.
        test_set: what the rows of the vectors count.
        queries, products: vectors by view.
        fusions: text fields → view → fusion; what is missing has the default weight.
    """
    gallery = products.get("mm", NO_VECTORS)
    ids = [test_set.gallery[row] for row in gallery.rows]
    place = {id: row for row, id in enumerate(ids)}
    found: dict[str, QueryScores] = {}
    for fields in get_args(TextFields):
        index = LexicalIndex.build(product_texts(catalog, fields, ids))
        for view in VIEWS_WITH_WORDS:
            asked = queries.get(view, NO_VECTORS)
            some = [test_set.interactions[row] for row in asked.rows]
            relevant = [[place[id] for id in it.positive_ids if id in place] for it in some]
            excluded = [place.get(it.query.product_id or "") for it in some]
            gains = [gains_by_row(it.grades, place, out) for it, out in zip(some, excluded, strict=True)]
            texts = [it.query.text for it in some]
            if not any(set(right) - {out} for right, out in zip(relevant, excluded, strict=True)):
                continue
            fusion = fusions.get(fields, {}).get(view)
            fusion = fusion or default_fusion(asked.matrix, gallery.matrix)
            rows = {f"hybrid ({FIELD_WORDS[fields]})": _hybrid(index, asked, gallery, texts, excluded, fusion)}
            if view == "t":
                rows[f"BM25 ({FIELD_WORDS[fields]})"] = (index.scores(text) for text in texts)
            for name, scores in rows.items():
                ranks, places = _ranks(scores, relevant, gains, excluded)
                found[f"{view}→mm, {name}"] = query_scores(ranks, asked.rows, test_set.interactions, places)
    return dict(sorted(found.items(), key=lambda row: (row[0].startswith("mm"), "hybrid" in row[0])))


def log_fusions(encoder: VectorEncoder, catalog: Catalog, batch_size: int = 64) -> dict[str, dict[str, Fusion]]:
    """Fusions for a model that did not train on the catalog's log, from a part of that; empty where there is none."""
    triplets = triplets_from_log(catalog.interactions("train"))
    held_out = hold_out(triplets, catalog.ids("train"), HELD_OUT, seed=0)
    if not held_out.interactions:
        return {}
    bar: tqdm[object] = tqdm(disable=True)
    products, _ = embed_products(encoder, catalog, held_out.gallery_ids, batch_size, bar)
    queries = embed_queries(encoder, catalog, [it.query for it in held_out.interactions], batch_size, bar)
    return fit_fusions(catalog, products, queries, held_out.interactions, held_out.gallery_ids)


def _hybrid(
    index: LexicalIndex,
    asked: Vectors,
    gallery: Vectors,
    texts: Sequence[str],
    excluded: Sequence[int | None],
    fusion: Fusion,
) -> Iterator[np.ndarray]:
    """For each query [products] float64: fused scores; −∞ for what is no candidate."""
    for start in range(0, len(texts), BLOCK):
        block = slice(start, start + BLOCK)
        nearest = top_k(asked.matrix[block], gallery.matrix, CANDIDATES, excluded[block])
        for number, (rows, cosines) in enumerate(zip(*nearest, strict=True), start):
            allowed = np.ones(len(index), dtype=bool)
            if (out := excluded[number]) is not None:
                allowed[out] = False
            usable = np.isfinite(cosines)
            query = asked.matrix[number]

            def cosines_of(rows: np.ndarray, query: np.ndarray = query) -> np.ndarray:
                return gallery.matrix[rows] @ query

            hits = fuse(
                Scored(rows[usable], cosines[usable]),
                index.scores(texts[number]),
                cosines_of,
                fusion,
                index.exact(texts[number]),
                allowed,
            )
            scores = np.full(len(index), -np.inf)
            scores[hits.rows] = hits.scores + EXACT * hits.exact
            yield scores


def _ranks(
    scores: Iterator[np.ndarray],
    relevant: Sequence[Sequence[int]],
    gains: Sequence[Mapping[int, float]],
    excluded: Sequence[int | None],
) -> tuple[Ranks, GradedPlaces]:
    """Ranks of scores of any kind, as `vectors/` has them for cosines: ties are shuffled."""
    counts = np.zeros((3, len(relevant)), np.int64)
    graded: list[tuple[float, int, int]] = []
    for number, (values, rows, out) in enumerate(zip(scores, relevant, excluded, strict=True)):
        others = np.ones(len(values), dtype=bool)
        if out is not None:
            others[out] = False
        graded += [(values[row], *_above_and_tied(values[others], values[row])) for row in gains[number]]
        right = sorted(set(rows) - {out})
        if not right:
            continue
        top = values[right].max()
        others[right] = False
        counts[:2, number] = _above_and_tied(values[others], top)
        counts[2, number] = (values[right] >= top - TIE_TOLERANCE).sum()
    own, above, tied = (np.array(column) for column in zip(*graded, strict=True)) if graded else (np.zeros(0, int),) * 3
    return Ranks(*counts), GradedPlaces.of(gains, own, above, tied)


def _above_and_tied(values: np.ndarray, score: float) -> tuple[int, int]:
    """How many values are above a score, and how many are as high."""
    above = int((values > score + TIE_TOLERANCE).sum())
    return above, int((values >= score - TIE_TOLERANCE).sum()) - above
