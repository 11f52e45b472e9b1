"""What each single query scored: kept beside an evaluation, so that two models can be compared query by query.

In a task without a query, such as labels predicted for products, each product is one: a hit at 1 or none. Query ids may
repeat in a log, one row for each purchase. So a query is known by its id and by which of the rows with that id it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from moon2.evaluate.significance import Comparison, compare
from moon2.evaluate.test_set import EvaluationError
from moon2.records import Interaction
from moon2.vectors.nearest import Ranks

KS = (1, 5, 10)
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
    """

    ids: list[str]
    occurrences: list[int]
    hits: dict[int, np.ndarray]

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


def query_scores(ranks: Ranks, rows: np.ndarray, interactions: Sequence[Interaction]) -> QueryScores:
    """What these queries of a log scored, without those that had nothing to find.

    Args:
        ranks: of the queries.
        rows: [queries] int64, which of the interactions they are.
        interactions: the log.
    """
    ids = [interaction.query.id for interaction in interactions]
    occurrence = occurrences(ids)
    numbers = rows[ranks.scored].tolist()
    hits = {k: ranks.hits(k) for k in KS}
    return QueryScores([ids[number] for number in numbers], [occurrence[number] for number in numbers], hits)


def write_query_scores(path: Path, scores: Mapping[str, QueryScores], fingerprint: str) -> None:
    """Writes one row a direction (or task) and query.

    Args:
        path: a Parquet file.
        scores: by direction such as "t→mm", or by task and view such as "class (mm)".
        fingerprint: of the test set they were scored on.
    """
    tables = [
        pa.table(
            [
                pa.array([name] * len(rows.ids)),
                pa.array(rows.ids, pa.string()),
                pa.array(rows.occurrences, pa.int64()),
                *(rows.hits.get(k, pa.nulls(len(rows.ids), pa.float64())) for k in KS),
            ],
            names=list(COLUMNS),
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
    try:
        table = pq.read_table(path)
        if missing := [name for name in COLUMNS if name not in table.column_names]:
            raise ValueError(f"it has no column {missing[0]}")
    except (OSError, pa.ArrowException, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise EvaluationError(f"{path}: cannot be read ({reason}); run `moon2 evaluate` on that model first") from None
    names = np.array(table["direction"].to_pylist())
    ids = np.array(table["query_id"].to_pylist(), dtype=object)
    counts = table["occurrence"].to_numpy()
    hits = {k: table[f"hit_{k}"].to_numpy() for k in KS}
    scores = {}
    for name in dict.fromkeys(names.tolist()):
        rows = names == name
        measured = {k: values[rows] for k, values in hits.items() if not np.isnan(values[rows]).all()}
        scores[str(name)] = QueryScores(ids[rows].tolist(), counts[rows].tolist(), measured)
    return scores, ((table.schema.metadata or {}).get(FINGERPRINT) or b"").decode()


def compare_query_scores(
    first: Mapping[str, QueryScores], second: Mapping[str, QueryScores]
) -> dict[str, dict[int, Comparison]]:
    """Direction or task → k → the first model against the second, on the queries that both were scored on.

    Raises:
        EvaluationError: they have no direction with a query in common.
    """
    comparisons: dict[str, dict[int, Comparison]] = {}
    for name, ours in first.items():
        if name not in second:
            continue
        row_of = {key: row for row, key in enumerate(second[name].keys)}
        pairs = [(row, row_of[key]) for row, key in enumerate(ours.keys) if key in row_of]
        if pairs:
            own, other = (list(column) for column in zip(*pairs, strict=True))
            comparisons[name] = {
                k: compare(hits[own], second[name].hits[k][other])
                for k, hits in ours.hits.items()
                if k in second[name].hits
            }
    if not comparisons:
        raise EvaluationError("the two models were scored on different queries; evaluate both on the same catalog")
    return comparisons
