"""What each single query scored: kept beside an evaluation, so that two models can be compared query by query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from moon2.evaluate.evaluation import KS, EvaluationError
from moon2.evaluate.significance import Comparison, compare

COLUMNS = ("direction", "query_id", *(f"hit_{k}" for k in KS))


@dataclass(frozen=True)
class QueryScores:
    """One direction's scored queries.

    Attributes:
        ids: their ids, in the order of the log.
        hits: k → (queries,) float64, probability that a relevant product is among the first k (0 or 1 but for ties).
    """

    ids: list[str]
    hits: dict[int, np.ndarray]


def write_query_scores(path: Path, scores: Mapping[str, QueryScores]) -> None:
    """Writes one row a direction and query: direction, query_id, hit_1, hit_5, hit_10."""
    tables = [
        pa.table(
            [pa.array([direction] * len(found.ids)), pa.array(found.ids, pa.string()), *(found.hits[k] for k in KS)],
            names=list(COLUMNS),
        )
        for direction, found in scores.items()
    ]
    fresh = path.with_name(path.name + ".new")
    pq.write_table(pa.concat_tables(tables), fresh)
    fresh.replace(path)


def read_query_scores(path: Path) -> dict[str, QueryScores]:
    """Reads what `write_query_scores` wrote.

    Raises:
        EvaluationError: there is no such file, or it is something else.
    """
    try:
        table = pq.read_table(path, columns=list(COLUMNS))
    except (OSError, pa.ArrowException, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise EvaluationError(f"{path}: cannot be read ({reason}); run `moon2 evaluate` on that model first") from None
    directions = np.array(table["direction"].to_pylist())
    ids = np.array(table["query_id"].to_pylist(), dtype=object)
    hits = {k: table[f"hit_{k}"].to_numpy() for k in KS}
    return {
        str(direction): QueryScores(
            ids[directions == direction].tolist(), {k: values[directions == direction] for k, values in hits.items()}
        )
        for direction in dict.fromkeys(directions.tolist())
    }


def compare_query_scores(
    first: Mapping[str, QueryScores], second: Mapping[str, QueryScores]
) -> dict[str, dict[int, Comparison]]:
    """Direction → k → the first model against the second, on the queries that both were scored on.

    Raises:
        EvaluationError: they have no direction with a query in common.
    """
    found: dict[str, dict[int, Comparison]] = {}
    for direction in first.keys() & second.keys():
        place = {id: row for row, id in enumerate(second[direction].ids)}
        rows = [(row, place[id]) for row, id in enumerate(first[direction].ids) if id in place]
        if rows:
            mine, theirs = (list(column) for column in zip(*rows, strict=True))
            found[direction] = {
                k: compare(first[direction].hits[k][mine], second[direction].hits[k][theirs]) for k in KS
            }
    if not found:
        raise EvaluationError("the two models were scored on different queries; evaluate both on the same catalogue")
    return {direction: found[direction] for direction in first if direction in found}


def comparison_text(found: Mapping[str, Mapping[int, Comparison]], other: str) -> str:
    """A table for a terminal: differences in percentage points, with their 95 % intervals and p."""
    lines = [f"difference to {other}, in points of R@10 (95 % interval), same queries", ""]
    for direction, by_k in found.items():
        ten = by_k[KS[-1]]
        sizes = f"{100 * ten.difference:+6.1f}  ({100 * ten.low:+.1f} to {100 * ten.high:+.1f})"
        lines.append(f"{direction:<6} {sizes:<28} p = {ten.p:.4f}  {ten.queries:,} queries")
    return "\n".join(lines)
