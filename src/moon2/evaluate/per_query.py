"""What each single query scored: kept beside an evaluation, so that two models can be compared query by query.

In a task without a query, such as labels predicted for products, each product is one: a hit at 1 or none. Query ids may
repeat in a log, one row for each purchase. So a query is known by its id and by which of the rows with that id it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from moon2.evaluate.significance import Comparison, compare
from moon2.evaluate.test_set import EvaluationError
from moon2.records import Interaction

if TYPE_CHECKING:
    from moon2.vectors.graded import GradedPlaces
    from moon2.vectors.nearest import Ranks

KS = (1, 5, 10)
GRADED = (f"nDCG@{KS[-1]}", f"MRR@{KS[-1]}", "nDCG, graded only")
"""The measures of graded relevance; `graded_measures` has what they are."""
COLUMNS = ("direction", "query_id", "occurrence", *(f"hit_{k}" for k in KS))
FINGERPRINT = b"moon2_fingerprint"


@dataclass(frozen=True)
class QueryScores:
    """One direction's scored queries, or the products of one task in one view.

    Attributes:
        ids: their ids, in the order of the log.
        occurrences: of each, how many rows of the log before it have the same id.
        hits: k → [queries] float64, probability that a relevant product is among the first k (0 or 1 but for ties).
            A task has k = 1 alone: whether the label is right.
        graded: measure of `GRADED` → [queries] float64, NaN for a query without grades; empty where none has any.
    """

    ids: list[str]
    occurrences: list[int]
    hits: dict[int, np.ndarray]
    graded: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def measures(self) -> dict[int | str, np.ndarray]:
        """Hits by k, and the measures of graded relevance by name."""
        return self.hits | self.graded

    @property
    def keys(self) -> list[tuple[str, int]]:
        """What tells a query from the others: its id, and which of the rows with that id it is."""
        return list(zip(self.ids, self.occurrences, strict=True))


def occurrences(ids: Sequence[str]) -> list[int]:
    """Of each id, how often it came before."""
    seen: Counter[str] = Counter()
    counts = []
    for id in ids:
        counts.append(seen[id])
        seen[id] += 1
    return counts


def query_scores(
    ranks: Ranks, rows: np.ndarray, interactions: Sequence[Interaction], places: GradedPlaces | None = None
) -> QueryScores:
    """What these queries of a log scored, without those that had nothing to find.

    Args:
        ranks: of the queries.
        rows: [queries] int64, which of the interactions they are.
        interactions: the log.
        places: of their graded products, where any has grades.
    """
    ids = [interaction.query.id for interaction in interactions]
    occurrence = occurrences(ids)
    numbers = rows[ranks.scored].tolist()
    hits = {k: ranks.hits(k) for k in KS}
    graded = graded_measures(ranks, places)
    return QueryScores([ids[number] for number in numbers], [occurrence[number] for number in numbers], hits, graded)


def graded_measures(ranks: Ranks, places: GradedPlaces | None) -> dict[str, np.ndarray]:
    """The measures of `GRADED`, of the scored queries; NaN for those without a gain, empty where none has one.

    nDCG@10 ranks the whole gallery. MRR@10 is 1 / rank of the first relevant product, 0 beyond the tenth. The last one
    ranks a query's graded products alone, without a cut, as ESCI's task does.
    """
    if places is None:
        return {}
    ndcg, alone = places.ndcg(KS[-1])[ranks.scored], places.ndcg_of_graded()[ranks.scored]
    if np.isnan(ndcg).all():
        return {}
    reciprocal = np.where(np.isnan(ndcg), np.nan, ranks.reciprocal_ranks(KS[-1]))
    return dict(zip(GRADED, (ndcg, reciprocal, alone), strict=True))


def query_scores_beside(evaluation: Path) -> Path:
    """Where the query scores of an evaluation stand, by its own file."""
    return evaluation.with_name(f"{evaluation.stem}-queries.parquet")


def write_query_scores(path: Path, scores: Mapping[str, QueryScores], fingerprint: str) -> None:
    """Writes one row a direction (or task) and query.

    Args:
        path: a Parquet file.
        scores: by direction such as "t→mm", or by task and view such as "class (mm)".
        fingerprint: of the test set they were scored on.
    """
    graded = [name for name in GRADED if any(name in rows.graded for rows in scores.values())]
    tables = [
        pa.table(
            [
                pa.array([name] * len(rows.ids)),
                pa.array(rows.ids, pa.string()),
                pa.array(rows.occurrences, pa.int64()),
                *(rows.hits.get(k, pa.nulls(len(rows.ids), pa.float64())) for k in KS),
                *(rows.graded.get(name, pa.nulls(len(rows.ids), pa.float64())) for name in graded),
            ],
            names=[*COLUMNS, *graded],
        )
        for name, rows in scores.items()
    ]
    fresh = path.with_name(f"{path.name}.new")
    pq.write_table(pa.concat_tables(tables).replace_schema_metadata({FINGERPRINT: fingerprint}), fresh)
    fresh.replace(path)


def read_query_scores(path: Path) -> tuple[dict[str, QueryScores], str]:
    """Reads what `write_query_scores` wrote: the scores and the fingerprint.

    Raises:
        EvaluationError: there is no such file, or it is something else.
    """
    if not path.exists():
        raise EvaluationError(f"{path}: there are no scores of that model yet; run `moon2 evaluate` on it first")
    try:
        table = pq.read_table(path)
        if missing := [name for name in COLUMNS if name not in table.column_names]:
            raise ValueError(f"it has no column {missing[0]}")
    except (OSError, pa.ArrowException, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise EvaluationError(f"{path}: cannot be read ({reason}); run `moon2 evaluate` on that model again") from None
    names = np.array(table["direction"].to_pylist())
    ids = np.array(table["query_id"].to_pylist(), dtype=object)
    counts = table["occurrence"].to_numpy()
    hits = {k: table[f"hit_{k}"].to_numpy() for k in KS}
    graded = {measure: table[measure].to_numpy() for measure in GRADED if measure in table.column_names}
    scores = {}
    for name in dict.fromkeys(names.tolist()):
        rows = names == name
        measured = {k: values[rows] for k, values in hits.items() if not np.isnan(values[rows]).all()}
        of_grades = {key: values[rows] for key, values in graded.items() if not np.isnan(values[rows]).all()}
        scores[str(name)] = QueryScores(ids[rows].tolist(), counts[rows].tolist(), measured, of_grades)
    return scores, ((table.schema.metadata or {}).get(FINGERPRINT) or b"").decode()


def compare_query_scores(
    first: Mapping[str, QueryScores], second: Mapping[str, QueryScores]
) -> dict[str, dict[int | str, Comparison]]:
    """Direction or task → k or graded measure → the first model against the second, on the queries that both have.

    Raises:
        EvaluationError: they have no direction with a query in common.
    """
    comparisons: dict[str, dict[int | str, Comparison]] = {}
    for name, ours in first.items():
        if name not in second:
            continue
        row_of = {key: row for row, key in enumerate(second[name].keys)}
        pairs = [(row, row_of[key]) for row, key in enumerate(ours.keys) if key in row_of]
        if pairs:
            own, other = (list(column) for column in zip(*pairs, strict=True))
            theirs = second[name].measures
            found = {}
            for measure, values in ours.measures.items():
                one, two = values[own], theirs.get(measure, np.full(len(second[name].ids), np.nan))[other]
                if (both := ~np.isnan(one) & ~np.isnan(two)).any():
                    found[measure] = compare(one[both], two[both])
            comparisons[name] = found
    if not comparisons:
        raise EvaluationError("the two models were scored on different queries; evaluate both on the same catalog")
    return comparisons
