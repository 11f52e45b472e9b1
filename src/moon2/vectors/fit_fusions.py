"""The weights of hybrid search for a catalog, from queries that training did not see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

from moon2.catalog.store import Catalog
from moon2.records import Interaction
from moon2.vectors.embed import NO_VECTORS, Vectors
from moon2.vectors.fusion import Fusion, fit_fusion
from moon2.vectors.lexical import LexicalIndex
from moon2.vectors.product_texts import TextFields, product_texts
from moon2.views import View

VIEWS_WITH_WORDS: tuple[View, ...] = ("t", "mm")
"""A query by a photo alone has no words, so it is answered by vectors alone."""
FUSIONS = "fusion.json"
"""In a model's folder: what was fitted when it was trained."""


def fit_fusions(
    catalog: Catalog,
    products: Mapping[View, Vectors],
    queries: Mapping[View, Vectors],
    interactions: Sequence[Interaction],
    ids: Sequence[str],
) -> dict[str, dict[str, Fusion]]:
    """Fits a fusion for each choice of text fields and each view of queries.

    Args:
        catalog: holds the products' texts.
        products: of `embed_products`; their view mm is searched.
        queries: of `embed_queries`, held out of training.
        interactions: what the queries' rows count, with the products that answer them.
        ids: what the products' rows count.

    Returns:
        Text fields → view → fusion; a view in which there is no query is missing.
    """
    gallery = products.get("mm", NO_VECTORS)
    members = [ids[row] for row in gallery.rows]
    place = {id: row for row, id in enumerate(members)}
    fusions: dict[str, dict[str, Fusion]] = {}
    for fields in get_args(TextFields):
        texts = {text.id: text for text in product_texts(catalog, fields, members)}
        index = LexicalIndex.build(texts[id] for id in members)
        fusions[fields] = {}
        for view in VIEWS_WITH_WORDS:
            asked = queries.get(view, NO_VECTORS)
            if not len(asked.rows) or not len(gallery.rows):
                continue
            some = [interactions[row] for row in asked.rows]
            fusions[fields][view] = fit_fusion(
                asked.matrix,
                gallery.matrix,
                [index.scores(it.query.text) for it in some],
                [[place[id] for id in it.positive_ids if id in place] for it in some],
                [place.get(it.query.product_id or "") for it in some],
            )
    return fusions
