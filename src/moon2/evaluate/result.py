"""The figures of an evaluation: counts, recalls, zero-shot scores, examples; written and read as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from moon2.evaluate.per_query import GRADED, QueryScores
from moon2.evaluate.significance import interval
from moon2.evaluate.test_set import EvaluationError
from moon2.files import write_text_atomic


def recalls(rows: Mapping[str, QueryScores]) -> dict[str, dict[int, float]]:
    """Row → k → R@k in percent."""
    return {name: {k: 100 * float(hits.mean()) for k, hits in row.hits.items()} for name, row in rows.items()}


def intervals(rows: Mapping[str, QueryScores]) -> dict[str, dict[int, list[float]]]:
    """Row → k → the 95 % bootstrap interval of R@k, [low, high]."""
    return {
        name: {k: [100 * bound for bound in interval(hits)] for k, hits in row.hits.items()}
        for name, row in rows.items()
    }


def graded_means(rows: Mapping[str, QueryScores]) -> dict[str, dict[str, float]]:
    """Row → measure of graded relevance → its mean in percent, over the queries with grades; rows that have some."""
    return {
        name: {measure: 100 * float(np.nanmean(values)) for measure, values in row.graded.items()}
        for name, row in rows.items()
        if row.graded
    }


def graded_intervals(rows: Mapping[str, QueryScores]) -> dict[str, dict[str, list[float]]]:
    """Row → measure of graded relevance → its 95 % bootstrap interval, [low, high]."""
    return {
        name: {
            measure: [100 * bound for bound in interval(values[~np.isnan(values)])]
            for measure, values in row.graded.items()
        }
        for name, row in rows.items()
        if row.graded
    }


def graded_counts(rows: Mapping[str, QueryScores]) -> dict[str, int]:
    """Row → queries with grades."""
    return {name: int((~np.isnan(row.graded[GRADED[0]])).sum()) for name, row in rows.items() if row.graded}


@dataclass(frozen=True)
class Evaluation:
    """One encoder on one catalog; every score is in percent.

    Attributes:
        model: which encoder it was.
        catalog: on what.
        gallery: products in the gallery.
        queries: test queries.
        recalls: direction such as "t→mm" → k → R@k; a direction in which nothing could be scored is missing.
        recalls_by_dimension: length → direction → R@10 of vectors cut to it, the full length among them; empty where
            only that one was scored.
        scored: direction → queries scored, of `queries`.
        left_out: direction → reason → how many queries or products were left out of it.
        zero_shot: task → view → accuracy, precision, recall, f1. A task is "class" (the leaf of the category) or the
            name of an attribute; one that is called class too is "attribute class". Labels are told by the nearest
            text, as published; in tasks that end in ", in phrases" or ", weighed" as `score_labels` says.
        labels: task → how many labels there are to choose from.
        left_out_of_task: task → view → products without a label or without that view.
        seconds: wall-clock time of encoding and scoring.
        examples: direction (those into mm) → a few queries drawn at random, each {"query": its id, "results": ids of
            the nearest products, best first, "right": whether each is relevant, "similarities": their cosines to the
            query}.
        hard: direction (those into mm) → the few queries whose best relevant product stands furthest below the first
            results, hardest first; as in `examples`, and "relevant": that product's id, "rank": its place, from 1
            (ties shuffled), "similarity": its cosine.
        expert_use: view → mean share of the routing that each expert has, summing to 1; empty without experts.
        expert_use_products: products that mean is over.
        intervals: direction → k → the 95 % bootstrap interval of R@k over the queries, [low, high].
        accuracy_intervals: task → view → the 95 % bootstrap interval of the accuracy over the products, [low, high].
        fields: what of a product was read as its text, as in `input.fields`.
        labels_read: task → the one of these fields that holds its label: views t and mm need not predict it.
        keywords: row such as "t→mm, BM25 (titles)" or "mm→mm, hybrid (all text)" → k → R@k.
        keyword_intervals: row → k → its 95 % bootstrap interval, [low, high].
        keyword_queries: row → queries scored.
        fusions: text fields ("title", "all") → view of the query → mean, spread and weight of the hybrid,
            chosen on held-out queries; one that is missing had the default weight.
        own_titles: "i→t" and "t→i" → k → R@k of products that look for their own title or photo: a check that photos
            and titles are aligned, made where there are no test queries. It is no search quality.
        own_titles_scored: "i→t" and "t→i" → how many products looked.
        graded: direction, or row of `keywords` → measure of `per_query.GRADED` → its mean over the queries that have
            grades; empty where none has any.
        graded_intervals: the same → its 95 % bootstrap interval, [low, high].
        graded_queries: direction or row → queries with grades.
        contamination: how much of the test is nearly in training, in words, where `moon2 benchmark check` was run.
        limit: the most queries and the most products used, when they were limited for a quick look.
        fingerprint: of the test set, as `moon2.evaluate.test_set.read_test_set` gives it.
    """

    model: str
    catalog: str
    gallery: int
    queries: int
    recalls: dict[str, dict[int, float]]
    recalls_by_dimension: dict[int, dict[str, float]] = field(default_factory=dict)
    scored: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)
    zero_shot: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    left_out_of_task: dict[str, dict[str, int]] = field(default_factory=dict)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    seconds: float = 0.0
    intervals: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    accuracy_intervals: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    fields: list[str] = field(default_factory=list)
    labels_read: dict[str, str] = field(default_factory=dict)
    own_titles: dict[str, dict[int, float]] = field(default_factory=dict)
    own_titles_scored: dict[str, int] = field(default_factory=dict)
    limit: int | None = None
    hard: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    expert_use: dict[str, list[float]] = field(default_factory=dict)
    expert_use_products: int = 0
    fingerprint: str = ""
    keywords: dict[str, dict[int, float]] = field(default_factory=dict)
    keyword_intervals: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    keyword_queries: dict[str, int] = field(default_factory=dict)
    fusions: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)

    graded: dict[str, dict[str, float]] = field(default_factory=dict)
    graded_intervals: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    graded_queries: dict[str, int] = field(default_factory=dict)
    contamination: str = ""

    def write(self, path: Path) -> None:
        """Writes indented JSON that `read` gives back as an equal evaluation."""
        write_text_atomic(path, json.dumps(asdict(self), ensure_ascii=False, indent=2))

    @classmethod
    def read(cls, path: Path) -> Evaluation:
        """Reads what `write` wrote.

        Raises:
            EvaluationError: the file is missing, or is something else.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            for name in ("recalls", "intervals", "keywords", "keyword_intervals", "own_titles"):
                values[name] = {
                    direction: {int(k): value for k, value in by_k.items()} for direction, by_k in values[name].items()
                }
            by_length = values["recalls_by_dimension"]
            values["recalls_by_dimension"] = {int(length): recalls for length, recalls in by_length.items()}
            return cls(**values)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise EvaluationError(f"{path}: is no evaluation ({reason}); run `moon2 evaluate` again") from None
