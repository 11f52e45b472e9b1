"""What the searches of an index find: by vectors, words and both, filtered, and, where it may miss something, exactly.

An encoder is scored on the products of the `test` split alone; an index on all that it holds, for all of it is what a
shopper searches. Where both are the same products, the same rows have the same figures.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from moon2.catalog.store import Catalog
from moon2.evaluate.keywords import EXACT, FIELD_WORDS
from moon2.evaluate.per_query import QueryScores, query_scores
from moon2.evaluate.result import Evaluation, intervals, recalls
from moon2.evaluate.test_set import EvaluationError, TestSet, read_test_set
from moon2.progress import progress_bar
from moon2.records import Interaction
from moon2.vectors.embed import Vectors, embed_queries
from moon2.vectors.fit_fusions import VIEWS_WITH_WORDS
from moon2.vectors.nearest import TIE_TOLERANCE, Ranks
from moon2.vectors.ranker import RankedProduct, Ranker
from moon2.vectors.table import shortened_rows
from moon2.views import DIRECTIONS, View

DEPTH = 50
"""Hits that are looked at. A relevant product below them is not found; products that tie are hardly ever as many."""
_DEGREES = {"": 0, "title": 1, "id": 2}


def score_index(
    index: Ranker, catalog: Catalog, *, model: str, limit: int | None = None, batch_size: int = 64
) -> tuple[Evaluation, dict[str, QueryScores]]:
    """Scores an index on the test queries of a catalog.

    Args:
        index: that is searched.
        catalog: one with test queries.
        model: what to call the index in the tables.
        limit: for a quick look, at most so many queries.
        batch_size: queries that are embedded at a time.

    Returns:
        The figures; and what each query scored by row such as "t→mm", which is by vectors alone, or "t→mm, hybrid (all
        text), in its category", which is filtered by the category of a relevant product.

    Raises:
        EvaluationError: there is no test query, or none whose relevant product the index holds.
    """
    started = time.perf_counter()
    test_set, members = read_test_set(catalog, limit), set(index.ids())
    interactions = test_set.interactions
    if not interactions:
        raise EvaluationError(f"catalog {catalog.folder}: has no test queries to search with; import it with a log")
    categories = {row["id"]: row["category"][-1] for row in catalog.rows(None, ["id", "category"]) if row["category"]}
    encoder = index.encoder
    with progress_bar(total=len(interactions), desc="encoding", unit="queries") as bar:
        asked = embed_queries(encoder, catalog, [it.query for it in interactions], batch_size, bar)
    asked = {view: Vectors(part.rows, shortened_rows(part.matrix, index.dimension)) for view, part in asked.items()}
    rows: dict[str, QueryScores] = {}
    searches = sum(len(part.rows) for part in asked.values())
    with progress_bar(total=searches, desc="searching", unit="queries") as bar:
        for view, part in asked.items():
            found: dict[str, list[tuple[int, int, int]]] = {}
            for number, vector in zip(part.rows.tolist(), part.matrix, strict=True):
                right = _relevant(interactions[number], members)
                for name, hits in _searches(index, vector, view, interactions[number], right, categories):
                    found.setdefault(name, []).append(_rank(hits, right, interactions[number]))
                bar.update()
            for name, ranks in found.items():
                rows[name] = query_scores(Ranks(*np.array(ranks, np.int64).T), part.rows, interactions)
    rows = {name: row for name, row in rows.items() if row.ids}
    if not rows:
        raise EvaluationError(f"{model}: holds no relevant product of the test queries of {catalog.folder}")
    directions = {name: row for name, row in rows.items() if name in set(map(str, DIRECTIONS))}
    others = {name: row for name, row in rows.items() if name not in directions}
    evaluation = Evaluation(
        model=model,
        catalog=catalog.folder.name,
        gallery=len(members),
        queries=len(interactions),
        recalls=recalls(directions),
        intervals=intervals(directions),
        scored={name: len(row.ids) for name, row in directions.items()},
        left_out=_left_out(asked, interactions, members),
        keywords=recalls(others),
        keyword_intervals=intervals(others),
        keyword_queries={name: len(row.ids) for name, row in others.items()},
        seconds=time.perf_counter() - started,
        fields=[*encoder.fields],
        limit=limit,
        fingerprint=index_fingerprint(test_set, members),
    )
    return evaluation, rows


def _searches(
    index: Ranker,
    vector: np.ndarray,
    view: View,
    interaction: Interaction,
    right: Collection[str],
    categories: Mapping[str, str],
) -> Iterator[tuple[str, Sequence[RankedProduct]]]:
    """The name of each row of the table, and what a search of its kind finds."""
    name, text, limit = f"{view}→mm", "", DEPTH + 1  # one for the product that the query shows
    words = FIELD_WORDS[index.text]
    yield name, index.rank(vector, limit=limit)
    if index.is_approximate:
        yield f"{name}, exact", index.rank(vector, limit=limit, exact=True)
    if view in VIEWS_WITH_WORDS:
        text = interaction.query.text
        if view == "t":
            yield f"{name}, BM25 ({words})", index.rank(None, text, limit=limit)
        name = f"{name}, hybrid ({words})"
        yield name, index.rank(vector, text, view, limit=limit)
    category = next((categories[id] for id in interaction.positive_ids if id in right and id in categories), None)
    where = None if category is None else "category = '" + category.replace("'", "''") + "'"
    # Each row has all queries, so that rows can be read side by side.
    yield f"{name}, in its category", index.rank(vector, text, view, where=where, limit=limit)
    if index.is_approximate:
        yield f"{name}, in its category, exact", index.rank(vector, text, view, where=where, limit=limit, exact=True)


def _relevant(interaction: Interaction, members: Collection[str]) -> set[str]:
    return {id for id in interaction.positive_ids if id in members} - {interaction.query.product_id}


def _rank(hits: Sequence[RankedProduct], right: Collection[str], interaction: Interaction) -> tuple[int, int, int]:
    """Of `Ranks`: what stands above the best relevant product, and what ties with it."""
    if not right:
        return 0, 0, 0
    hits = [hit for hit in hits if hit.id != interaction.query.product_id][:DEPTH]
    scores = np.array([hit.score + EXACT * _DEGREES[hit.exact] for hit in hits])
    is_right = np.array([hit.id in right for hit in hits], bool)
    if not is_right.any():
        return DEPTH, 0, 1
    top = scores[is_right].max()
    at_least = scores >= top - TIE_TOLERANCE
    above = scores > top + TIE_TOLERANCE
    tied = at_least & ~above
    return int((above & ~is_right).sum()), int((tied & ~is_right).sum()), int((tied & is_right).sum())


def _left_out(
    asked: Mapping[View, Vectors], interactions: Sequence[Interaction], members: Collection[str]
) -> dict[str, dict[str, int]]:
    counts = {}
    for view, part in asked.items():
        lost = sum(not _relevant(interactions[number], members) for number in part.rows.tolist())
        if lost:
            counts[f"{view}→mm"] = {"queries without a relevant product in the index": lost}
    return counts


def index_fingerprint(test_set: TestSet, members: Collection[str]) -> str:
    """That of the test set, if the index holds its gallery and nothing else."""
    if members == set(test_set.gallery):
        return test_set.fingerprint
    return hashlib.sha256(json.dumps([test_set.fingerprint, *sorted(members)]).encode()).hexdigest()
