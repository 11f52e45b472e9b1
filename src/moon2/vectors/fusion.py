"""Hybrid search: scores by vector and by words (BM25) put together.

    score = (cosine − mean) / spread + weight · BM25

Mean and spread are those of the cosines of random queries with random products (`scale_of`), so that a weight means the
same for every encoder. A product that has none of the words has BM25 0. Candidates are the best 1,000 by vector and the
best 1,000 by words; each gets both scores. What the query names exactly, by its id or else its title, comes first. The
weight is chosen on queries that training did not see (`fit_fusion`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from moon2.errors import UserError, one_line
from moon2.files import write_text_atomic
from moon2.vectors.lexical import Exact, Scored, best
from moon2.vectors.nearest import TIE_TOLERANCE

CANDIDATES = 1_000
"""Products that each of the two ways puts forward."""
SAMPLE = 100_000
"""Cosines of which mean and spread are taken."""
WEIGHTS = (0.0, *(round(0.05 * 2 ** (step / 2), 4) for step in range(13)))
"""What `fit_fusion` tries: 0, then 0.05 to 3.2, each √2 of the one before."""
DEFAULT_WEIGHT = 0.4
"""Where no query was held out. A round guess: it was not fitted."""
FEW = 20
"""Products too few to tell how cosines spread: one alone would make words count nothing."""


class FusionError(UserError):
    """A file of weights cannot be read."""


@dataclass(frozen=True)
class Fusion:
    """How the two scores are put together, for queries of one view.

    Attributes:
        mean, spread: of the cosines of random queries and products; the spread is their standard deviation.
        weight: of BM25.
    """

    mean: float
    spread: float
    weight: float


UNSCALED = Fusion(mean=0.0, spread=0.2, weight=DEFAULT_WEIGHT)
"""Of few products. Round guesses, too."""


class Hits(NamedTuple):
    """What a search found, best first. Of equal products the one with the lower row comes first.

    Attributes:
        rows: [n] int64, numbers of products.
        scores: [n] float64, as of the module.
        exact: [n] int8: 2 where the query is the product's id, 1 where it is its title, else 0.
        vector_ranks, word_ranks: [n] int64, from 1: the place among the candidates by vector, by words; 0: not there.
    """

    rows: np.ndarray
    scores: np.ndarray
    exact: np.ndarray
    vector_ranks: np.ndarray
    word_ranks: np.ndarray


def fuse(
    nearest: Scored,
    bm25: np.ndarray,
    cosines_of: Callable[[np.ndarray], np.ndarray],
    fusion: Fusion,
    exact: Exact | None = None,
    allowed: np.ndarray | None = None,
) -> Hits:
    """The candidates of both ways, in the order of their fused scores.

    Args:
        nearest: the candidates by vector with their cosines, best first; at most `CANDIDATES`.
        bm25: [products] float32, of `LexicalIndex.scores`.
        cosines_of: rows → the query's cosine with each, for candidates that only words put forward.
        fusion: for the query's view.
        exact: of `LexicalIndex.exact`.
        allowed: [products] bool, what may be found; `nearest` holds to it already.
    """
    by_words = best(bm25 if allowed is None else np.where(allowed, bm25, 0), CANDIDATES)
    degree = np.zeros(len(bm25), np.int8)
    if exact is not None:
        degree[exact.by_title], degree[exact.by_id] = 1, 2
    named = np.flatnonzero(degree if allowed is None else degree * allowed)
    added = np.setdiff1d(np.union1d(by_words.rows, named), nearest.rows)
    rows = np.concatenate([nearest.rows, added])
    cosines = np.concatenate([nearest.scores, cosines_of(added)]) if len(added) else nearest.scores
    scores = (cosines.astype(np.float64) - fusion.mean) / fusion.spread + fusion.weight * bm25[rows]
    order = np.lexsort((rows, -scores, -degree[rows]))
    ranks = np.zeros((2, len(bm25)), np.int64)
    for place, found in zip(ranks, (nearest, by_words), strict=True):
        place[found.rows] = np.arange(1, len(found.rows) + 1)
    rows = rows[order]
    return Hits(rows, scores[order], degree[rows], ranks[0, rows], ranks[1, rows])


def scale_of(queries: np.ndarray, products: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of the cosines of random queries with random products, always the same ones.

    Args:
        queries: [q, D] float32, unit length.
        products: [n, D] float32, unit length.
    """
    random = np.random.default_rng(0)
    count = min(SAMPLE, len(queries) * len(products))
    pairs = (matrix[random.integers(len(matrix), size=count)] for matrix in (queries, products))
    cosines = np.einsum("nd,nd->n", *pairs).astype(np.float64)
    return float(cosines.mean()), max(float(cosines.std()), 1e-6)


def default_fusion(queries: np.ndarray, products: np.ndarray) -> Fusion:
    """What serves where no weight was fitted; arguments as of `scale_of`."""
    if len(products) < FEW or not len(queries):
        return UNSCALED
    return Fusion(*scale_of(queries, products), DEFAULT_WEIGHT)


def fit_fusion(
    queries: np.ndarray,
    products: np.ndarray,
    bm25: Sequence[np.ndarray],
    relevant: Sequence[Sequence[int]],
    excluded: Sequence[int | None],
) -> Fusion:
    """The weight with the highest mean reciprocal rank; of equal ones the lowest.

    Args:
        queries: [q, D] float32, unit length; held out of training.
        products: [n, D] float32, unit length; some thousand, for all are compared with each query.
        bm25: for each query [n] float32, of `LexicalIndex.scores`.
        relevant: for each query the rows that answer it.
        excluded: for each query a row that is left out, or None.
    """
    mean, spread = scale_of(queries, products)
    ranks = np.array(
        [
            _reciprocal_ranks((products @ query - mean) / spread, words, sorted(set(right) - {out}), out)
            for query, words, right, out in zip(queries, bm25, relevant, excluded, strict=True)
            if set(right) - {out}
        ]
    ).reshape(-1, len(WEIGHTS))
    if not len(ranks):
        return Fusion(mean, spread, DEFAULT_WEIGHT)
    return Fusion(mean, spread, WEIGHTS[int(np.argmax(ranks.mean(axis=0).round(6)))])


def _reciprocal_ranks(standardised: np.ndarray, bm25: np.ndarray, right: Sequence[int], out: int | None) -> np.ndarray:
    """[weights] float64: 1 over the place of the best relevant product, by each of `WEIGHTS`; ties shuffled."""
    scores = standardised[None] + np.array(WEIGHTS)[:, None] * bm25[None]
    wanted = scores[:, list(right)]
    top = wanted.max(axis=1, keepdims=True)
    scores[:, [*right, *([] if out is None else [out])]] = -np.inf
    above = (scores > top + TIE_TOLERANCE).sum(axis=1)
    tied = (np.abs(scores - top) <= TIE_TOLERANCE).sum(axis=1)
    return 1 / (1 + above + tied / (1 + (wanted >= top - TIE_TOLERANCE).sum(axis=1)))


def write_fusions(path: Path, fusions: Mapping[str, Mapping[str, Fusion]]) -> None:
    """Writes JSON: text fields ("title", "all") → view of the query ("t", "mm") → fusion."""
    values = {fields: {view: asdict(fusion) for view, fusion in views.items()} for fields, views in fusions.items()}
    write_text_atomic(path, json.dumps(values, indent=1))


def read_fusions(path: Path) -> dict[str, dict[str, Fusion]]:
    """Reads what `write_fusions` wrote; empty where there is no such file.

    Raises:
        FusionError: it is something else.
    """
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return {fields: {view: Fusion(**one) for view, one in views.items()} for fields, views in values.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise FusionError(f"{path}: cannot be read ({one_line(error)}); train or index again, or remove it") from None
