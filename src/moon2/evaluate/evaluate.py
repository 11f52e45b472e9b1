"""The benchmark: five retrieval directions and zero-shot labels, on any catalog that has test queries.

The gallery is every product of the `test` split (of the whole catalog where there is none), less the product whose
photo the query shows. Nothing is dropped in silence: an item that lacks the form a direction asks for is left out of
that direction alone, and counted in `Evaluation.left_out`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
from tqdm import tqdm

from moon2.catalog.benchmark.card import declared_attributes
from moon2.catalog.store import Catalog, CatalogError
from moon2.evaluate.examples import Examples
from moon2.evaluate.expert_use import expert_use
from moon2.evaluate.per_query import QueryScores, occurrences
from moon2.evaluate.result import DIRECTIONS, KS, VIEWS, Evaluation, EvaluationError
from moon2.evaluate.significance import interval
from moon2.evaluate.test_set import chosen, fingerprint
from moon2.evaluate.zeroshot import measures, predict
from moon2.records import Interaction
from moon2.vectors.embed import VectorEncoder, Views, encode_gallery, encode_queries
from moon2.vectors.nearest import Ranks, ranks
from moon2.vectors.table import release

__all__ = ["DIRECTIONS", "Evaluation", "VectorEncoder", "evaluate"]

COLOUR_ATTRIBUTES = ("base_colour", "colour", "color")
"""Attributes predicted when none are named: the first of these that the catalog has."""


def evaluate(
    encoder: VectorEncoder,
    catalog: Catalog,
    *,
    batch_size: int = 64,
    show_progress: bool = False,
    limit: int | None = None,
    attributes: Sequence[str] | None = None,
    prompts: Mapping[str, str] | str | None = None,
    model: str | None = None,
    interactions: Sequence[Interaction] | None = None,
    gallery_ids: Sequence[str] | None = None,
    by_query: dict[str, QueryScores] | None = None,
) -> Evaluation:
    """Scores an encoder on the test queries of a catalog.

    Args:
        encoder: what makes the vectors.
        catalog: one with interactions of split "test", whose positives are all relevant products of the query.
        batch_size: items the encoder works on at a time.
        show_progress: draws a bar on stderr.
        limit: for a quick look, use at most this many gallery products and this many queries, both evenly spaced.
            A smaller gallery is an easier one: such figures compare only with others of the same limit.
        attributes: attributes to predict; when not given, those that benchmark.json declares, in a catalog without
            one a colour attribute.
        prompts: how a label is put into words, such as "a photo of {}", for all tasks or by task; the plain label when
            not given.
        model: what to call the encoder in the tables.
        interactions: what to score instead of the catalog's test queries, e.g. some held out of its training log.
        gallery_ids: the products to search instead of those of the `test` split.
        by_query: filled with what each query scored, by direction, and whether each product's label was found, by task
            and view such as "class (mm)", for a comparison one by one.

    Raises:
        CatalogError: the catalog has no test queries, or none of them can be scored.
        EvaluationError: no vector, or not every one, is finite, `limit` is below 1, or no product has one of the
            attributes asked for.
    """
    started = time.perf_counter()
    if limit is not None and limit < 1:
        raise EvaluationError(f"limit is {limit}; it must be 1 or more, or not given to use everything")
    # Only a catalog's own queries and gallery are ever compared or shown again.
    own = interactions is None and gallery_ids is None
    ids, interactions = chosen(catalog, limit, interactions, gallery_ids)
    if not interactions and not (own and catalog.interactions("test")):
        raise CatalogError(
            f"catalog {catalog.folder}: has no test interactions, so there is nothing to score; "
            f"import it again with test queries and the ids of their relevant products"
        )
    row_of = {id: row for row, id in enumerate(ids)}
    if attributes is None:
        attributes = declared_attributes(catalog.folder)
    elif attributes:
        _require(attributes, catalog)

    with tqdm(total=len(ids) + len(interactions), desc="encoding", unit="item", disable=not show_progress) as bar:
        wanted = COLOUR_ATTRIBUTES if attributes is None else attributes
        gallery, labels_of = encode_gallery(encoder, catalog, ids, batch_size, bar, wanted)
        queries = encode_queries(encoder, catalog, [it.query for it in interactions], batch_size, bar)

    if not gallery or not any(len(numbers) for numbers, _ in gallery.values()):
        raise EvaluationError(
            f"the encoder gives no usable vector for any product of {catalog.folder}; has its training diverged?"
        )
    found, left_out, ranks_of = _retrieval(queries, gallery, interactions, row_of)
    if not found:
        raise CatalogError(
            f"catalog {catalog.folder}: no test query has a relevant product in the gallery of {len(ids):,}; "
            f"check that positive ids of split test are ids of products of split {catalog.splits[-1]}"
        )
    known_by = fingerprint(catalog, limit) if own else ""
    zero_shot, labels, left_out_of_task, right = _zero_shot(
        encoder, gallery, ids, _tasks(labels_of, attributes), prompts or "{}", batch_size
    )
    if by_query is not None:
        by_query |= {name: replace(scores, fingerprint=known_by) for name, scores in {**found, **_flat(right)}.items()}
    examples = Examples(queries, gallery, interactions, ids)
    random, hard = examples.random(), examples.hard(ranks_of)
    release(*(vectors for views in (queries, gallery) for _, vectors in views.values()))
    use, use_products = expert_use(encoder, catalog, ids, batch_size)
    return Evaluation(
        model=model or str(getattr(encoder, "name", "") or type(encoder).__name__),
        catalog=catalog.folder.name,
        gallery=len(ids),
        queries=len(interactions),
        recalls={name: {k: 100 * float(hits.mean()) for k, hits in row.hits.items()} for name, row in found.items()},
        scored={name: len(found[name].ids) if name in found else 0 for name in DIRECTIONS},
        left_out=left_out,
        zero_shot=zero_shot,
        labels=labels,
        left_out_of_task=left_out_of_task,
        examples=random,
        hard=hard,
        expert_use=use,
        expert_use_products=use_products,
        seconds=time.perf_counter() - started,
        intervals={
            name: {k: [100 * bound for bound in interval(hits)] for k, hits in row.hits.items()}
            for name, row in found.items()
        },
        accuracy_intervals={
            task: {view: [100 * bound for bound in interval(row.hits[1])] for view, row in views.items()}
            for task, views in right.items()
        },
        limit=limit,
        fingerprint=known_by,
    )


def _retrieval(
    queries: Views, gallery: Views, interactions: Sequence[Interaction], row_of: Mapping[str, int]
) -> tuple[dict[str, QueryScores], dict[str, dict[str, int]], dict[str, Ranks]]:
    """What each query scored, what was left out, and ranks, by direction; no scores where nothing was scored."""
    scores: dict[str, QueryScores] = {}
    ranks_of: dict[str, Ranks] = {}
    left_out: dict[str, dict[str, int]] = {}
    occurrence = occurrences([interaction.query.id for interaction in interactions])
    for direction in DIRECTIONS:
        form, view = direction.split("→")
        numbers, vectors = queries.get(form, _nothing())
        products, gallery_vectors = gallery.get(view, _nothing())
        place = {int(row): position for position, row in enumerate(products)}
        relevant, excluded = [], []
        for number in numbers:
            interaction = interactions[number]
            rows = (place.get(row_of.get(id, -1)) for id in interaction.positive_ids)
            relevant.append([row for row in rows if row is not None])
            excluded.append(place.get(row_of.get(interaction.query.product_id or "", -1)))
        found = ranks(vectors, gallery_vectors, relevant, excluded)
        ranks_of[direction] = found
        release(vectors, gallery_vectors)
        scored = numbers[found.scored].tolist()
        if scored:
            ids = [interactions[number].query.id for number in scored]
            which = [occurrence[number] for number in scored]
            scores[direction] = QueryScores(ids, {k: found.hits(k) for k in KS}, which)
        counts = {
            f"queries without {FORMS[form]}": len(interactions) - len(numbers),
            f"gallery products without {FORMS[view]}": len(row_of) - len(products),
            "queries without a relevant product in the gallery": len(numbers) - len(scored),
        }
        left_out[direction] = {reason: count for reason, count in counts.items() if count}
    return scores, left_out, ranks_of


FORMS = {"t": "text", "i": "a readable picture", "mm": "both text and a readable picture"}


def _nothing() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(0, np.int64), np.zeros((0, 1), np.float32)


def _require(attributes: Sequence[str], catalog: Catalog) -> None:
    """Tells before the long work of an attribute that no product has."""
    known = {pair["key"] for row in catalog.rows(None, ["attributes"]) for pair in row["attributes"] or ()}
    for name in attributes:
        if name not in known:
            raise EvaluationError(
                f"{catalog.folder}: no product has the attribute {name!r}; there are {', '.join(sorted(known))}"
            )


def _tasks(labels_of: Mapping[str, list[str | None]], attributes: Sequence[str] | None) -> dict[str, list[str | None]]:
    """Task → every gallery product's label, None where it has none; tasks with fewer than two labels are no task."""
    if attributes is None:
        attributes = list(islice((name for name in COLOUR_ATTRIBUTES if any(labels_of[name])), 1))
    tasks = {name: labels_of[name] for name in ("class", *attributes)}
    return {task: labels for task, labels in tasks.items() if len(set(labels) - {None}) > 1}


def _zero_shot(
    encoder: VectorEncoder,
    gallery: Views,
    ids: Sequence[str],
    tasks: Mapping[str, Sequence[str | None]],
    prompts: Mapping[str, str] | str,
    batch_size: int,
) -> tuple[
    dict[str, dict[str, dict[str, float]]],
    dict[str, int],
    dict[str, dict[str, int]],
    dict[str, dict[str, QueryScores]],
]:
    """Scores, number of labels, products left out, and which products were right, each by task (and view)."""
    scores: dict[str, dict[str, dict[str, float]]] = {}
    counts: dict[str, int] = {}
    left_out: dict[str, dict[str, int]] = {}
    right: dict[str, dict[str, QueryScores]] = {}
    for task, label_of in tasks.items():
        labels = sorted({label for label in label_of if label is not None})
        number_of = {label: number for number, label in enumerate(labels)}
        prompt = prompts if isinstance(prompts, str) else prompts.get(task, "{}")
        words = [prompt.replace("{}", label) for label in labels]
        label_vectors = encoder.encode(words, batch_size=batch_size)
        counts[task], scores[task], left_out[task], right[task] = len(labels), {}, {}, {}
        for view in VIEWS:
            numbers, vectors = gallery.get(view, _nothing())
            answer = np.array([-1 if label is None else number_of[label] for label in label_of])[numbers]
            rows = np.flatnonzero(answer >= 0)
            left_out[task][view] = len(label_of) - len(rows)
            if len(rows):
                predicted = predict(vectors, label_vectors, rows)
                scores[task][view] = measures(predicted, answer[rows], len(labels))
                named = [ids[number] for number in numbers[rows].tolist()]
                right[task][view] = QueryScores(named, {1: (predicted == answer[rows]).astype(np.float64)})
                release(vectors)
    return scores, counts, left_out, right


def _flat(right: Mapping[str, Mapping[str, QueryScores]]) -> dict[str, QueryScores]:
    """By the names under which they stand beside the directions, such as "class (mm)"."""
    return {f"{task} ({view})": scores for task, views in right.items() for view, scores in views.items()}
