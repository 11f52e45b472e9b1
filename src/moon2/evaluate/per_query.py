"""What each single query scored: kept beside an evaluation, so that two models can be compared query by query.

Of the tasks without a query, labels predicted for products, each product is one: a hit at 1 or none.

Query ids may repeat in a log, one row for each purchase, so that a query is known by its id and which of the rows with
that id it is. What the scores were made on is kept as a fingerprint: against another gallery they mean nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from moon2.evaluate.result import DIRECTIONS, KS, EvaluationError
from moon2.evaluate.significance import Comparison, compare

COLUMNS = ("direction", "query_id", *(f"hit_{k}" for k in KS))
OCCURRENCE = "occurrence"
"""A column that files written by the first versions lack."""
FINGERPRINT = b"moon2_fingerprint"


@dataclass(frozen=True)
class QueryScores:
    """One direction's scored queries, or the products of one task in one view.

    Attributes:
        ids: their ids, in the order of the log.
        hits: k → (queries,) float64, probability that a relevant product is among the first k (0 or 1 but for ties); of
            a task for k 1 alone, whether the label was found.
        occurrences: of each, how many rows of the log before it have the same id; counted in `ids` when not given,
            which is right only where every query was scored.
        fingerprint: of the queries and the gallery, as `moon2.evaluate.test_set.fingerprint`; empty when not known.
    """

    ids: list[str]
    hits: dict[int, np.ndarray]
    occurrences: list[int] = field(default_factory=list)
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if not self.occurrences:
            object.__setattr__(self, "occurrences", occurrences(self.ids))

    @property
    def keys(self) -> list[tuple[str, int]]:
        """By what each query is known: its id, and which of the rows with that id it is."""
        return list(zip(self.ids, self.occurrences, strict=True))


def occurrences(ids: Sequence[str]) -> list[int]:
    """Of each id, how often it came before."""
    seen: Counter[str] = Counter()
    found = []
    for id in ids:
        found.append(seen[id])
        seen[id] += 1
    return found


def write_query_scores(path: Path, scores: Mapping[str, QueryScores]) -> None:
    """Writes one row a direction and query: direction, query_id, hit_1, hit_5, hit_10 (null in a task), occurrence."""
    tables = [
        pa.table(
            [
                pa.array([direction] * len(found.ids)),
                pa.array(found.ids, pa.string()),
                *(found.hits.get(k, pa.nulls(len(found.ids), pa.float64())) for k in KS),
                pa.array(found.occurrences, pa.int64()),
            ],
            names=[*COLUMNS, OCCURRENCE],
        )
        for direction, found in scores.items()
    ]
    fresh = path.with_name(path.name + ".new")
    table = pa.concat_tables(tables).replace_schema_metadata({FINGERPRINT: fingerprint_of(scores)})
    pq.write_table(table, fresh)
    fresh.replace(path)


def read_query_scores(path: Path) -> dict[str, QueryScores]:
    """Reads what `write_query_scores` wrote, also before it kept occurrences and a fingerprint.

    Raises:
        EvaluationError: there is no such file, or it is something else.
    """
    try:
        table = pq.read_table(path)
        missing = [name for name in COLUMNS if name not in table.column_names]
        if missing:
            raise ValueError(f"it has no column {', '.join(missing)}")
    except (OSError, pa.ArrowException, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise EvaluationError(f"{path}: cannot be read ({reason}); run `moon2 evaluate` on that model first") from None
    directions = np.array(table["direction"].to_pylist())
    ids = np.array(table["query_id"].to_pylist(), dtype=object)
    which = table[OCCURRENCE].to_numpy() if OCCURRENCE in table.column_names else None
    hits = {k: table[f"hit_{k}"].to_numpy() for k in KS}
    fingerprint = ((table.schema.metadata or {}).get(FINGERPRINT) or b"").decode()
    found = {}
    for direction in dict.fromkeys(directions.tolist()):
        rows = directions == direction
        found[str(direction)] = QueryScores(
            ids[rows].tolist(),
            {k: values[rows] for k, values in hits.items() if not np.isnan(values[rows]).all()},
            [] if which is None else which[rows].tolist(),
            fingerprint,
        )
    return found


def fingerprint_of(scores: Mapping[str, QueryScores]) -> str:
    """What the scores were made on; empty when not known."""
    return next((found.fingerprint for found in scores.values()), "")


def require_same(fingerprint: str, other: str, name: str = "the other model") -> None:
    """Raises EvaluationError if both fingerprints are known and differ.

    Args:
        fingerprint, other: what a model, and the one of this name, are scored on.
        name: what to call that one.
    """
    if fingerprint and other and fingerprint != other:
        raise EvaluationError(
            f"{name}: was scored on other queries or another gallery, so the two cannot be compared; evaluate both on "
            f"the same catalog with the same --limit"
        )


def compare_query_scores(
    first: Mapping[str, QueryScores], second: Mapping[str, QueryScores]
) -> dict[str, dict[int, Comparison]]:
    """Direction or task → k → the first model against the second, on the queries that both were scored on.

    Raises:
        EvaluationError: they have no direction with a query in common, or were scored on different galleries.
    """
    require_same(fingerprint_of(first), fingerprint_of(second))
    found: dict[str, dict[int, Comparison]] = {}
    for direction in first.keys() & second.keys():
        place = {key: row for row, key in enumerate(second[direction].keys)}
        rows = [(row, place[key]) for row, key in enumerate(first[direction].keys) if key in place]
        if rows:
            mine, theirs = (list(column) for column in zip(*rows, strict=True))
            found[direction] = {
                k: compare(hits[mine], second[direction].hits[k][theirs])
                for k, hits in first[direction].hits.items()
                if k in second[direction].hits
            }
    if not found:
        raise EvaluationError("the two models were scored on different queries; evaluate both on the same catalog")
    return {direction: found[direction] for direction in first if direction in found}


def comparison_text(found: Mapping[str, Mapping[int, Comparison]], other: str) -> str:
    """A table for a terminal: differences in percentage points, with their 95 % intervals and p."""
    lines = [f"difference to {other}, in points of R@10 and of accuracy (95 % interval), same queries and products", ""]
    width = max(map(len, found), default=0)
    for name, by_k in found.items():
        last = by_k[max(by_k)]
        sizes = f"{100 * last.difference:+6.1f}  ({100 * last.low:+.1f} to {100 * last.high:+.1f})"
        what = "queries" if name in DIRECTIONS else "products"
        lines.append(f"{name:<{width}} {sizes:<28} p = {last.p:.4f}  {last.queries:,} {what}")
    return "\n".join(lines)
