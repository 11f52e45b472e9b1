"""Scores an encoder on a catalog's test queries: five retrieval directions and zero-shot labels.

Without test queries the labels are scored, and whether photos and titles are aligned (`own_titles.py`).

The gallery is every product of the `test` split (of the whole catalog where there is none), less the product whose
photo the query shows. Nothing is dropped in silence: an item that lacks the view a direction needs is left out of that
direction alone, and counted in `Evaluation.left_out`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from moon2.catalog.benchmark.card import declared_attributes
from moon2.catalog.store import Catalog
from moon2.encoders.protocol import VectorEncoder
from moon2.evaluate.contamination import read_contamination
from moon2.evaluate.examples import Examples
from moon2.evaluate.expert_use import expert_use
from moon2.evaluate.keywords import keyword_scores
from moon2.evaluate.own_titles import own_title_scores
from moon2.evaluate.per_query import KS, QueryScores, query_scores
from moon2.evaluate.result import Evaluation, graded_counts, graded_intervals, graded_means, intervals
from moon2.evaluate.result import recalls as mean_recalls
from moon2.evaluate.significance import interval
from moon2.evaluate.test_set import (
    EvaluationError,
    TestSet,
    read_test_set,
    require_attributes,
    require_labels_or_photos,
)
from moon2.evaluate.zeroshot import score_labels
from moon2.model.encoder import Encoder
from moon2.model.product_text import FIELDS, unknown_fields
from moon2.progress import progress_bar
from moon2.vectors.embed import embed_products, embed_queries
from moon2.vectors.fusion import Fusion
from moon2.vectors.graded import GradedPlaces
from moon2.vectors.label_tasks import COLOUR_ATTRIBUTES, field_with_label, form_of
from moon2.vectors.retrieval import DirectionRanks, grade_directions, rank_directions, recalls
from moon2.vectors.table import release
from moon2.views import DIRECTIONS, Objective

logger = logging.getLogger(__name__)
VIEW_NAMES = {"t": "text", "i": "a readable image", "mm": "both text and a readable image"}


def score(
    encoder: VectorEncoder,
    catalog: Catalog,
    *,
    batch_size: int = 64,
    show_progress: bool = False,
    limit: int | None = None,
    attributes: Sequence[str] = (),
    label_prompt: str = "{}",
    dimensions: Sequence[int] = (),
    model: str = "",
    fusions: Mapping[str, Mapping[str, Fusion]] | None = None,
) -> tuple[Evaluation, dict[str, QueryScores]]:
    """Scores an encoder on the test queries of a catalog.

    Args:
        encoder: makes the vectors.
        catalog: one with test queries, see `read_test_set`.
        batch_size: items the encoder works on at a time.
        show_progress: draws a bar on stderr.
        limit: for a quick look, use at most this many gallery products and this many queries. A smaller gallery is an
            easier one: such figures compare only with others of the same limit.
        attributes: attributes to predict; when none are named, those that benchmark.json declares, in a catalog without
            one a colour attribute.
        label_prompt: how a label is put into words, such as "a photo of {}".
        dimensions: lengths to which vectors are cut, to score those too; when none are named, those that the encoder
            was trained for.
        model: what to call the encoder in the tables.
        fusions: how its scores and those of words are put together, from queries held out of training; when not given,
            the default weight.

    Returns:
        The figures; and what each query scored, by direction, and whether each product's label is right, by task and
        view such as "class (mm)".

    Raises:
        EvaluationError: nothing can be scored, or no test query, no vector is finite, no product has one of
            the attributes, or a length is not 1 to that of the vectors.
    """
    started = time.perf_counter()
    test_set = read_test_set(catalog, limit)
    ids, interactions = test_set.gallery, test_set.interactions
    named = list(attributes) or declared_attributes(catalog.folder)
    require_attributes(attributes, catalog)
    if not interactions:
        require_labels_or_photos(catalog, ids, named)
    if unusual := set(encoder.fields) - set(FIELDS):
        for line in unknown_fields([*unusual], catalog.attribute_names()):
            logger.warning("%s: %s", catalog.folder, line)
    lengths = _lengths(encoder, dimensions)
    total = len(ids) + len(interactions)
    with progress_bar(total=total, desc="encoding", unit="items", disable=not show_progress) as bar:
        read = COLOUR_ATTRIBUTES if named is None else named
        gallery, labels = embed_products(encoder, catalog, ids, batch_size, bar, read)
        queries = embed_queries(encoder, catalog, [it.query for it in interactions], batch_size, bar)
    if not any(len(vectors.rows) for vectors in gallery.values()):
        raise EvaluationError(
            f"the encoder gives no usable vector for any product of {catalog.folder}; has its training diverged?"
        )
    ranks = rank_directions(queries, gallery, interactions, ids)
    per_query = _query_scores(ranks, grade_directions(queries, gallery, interactions, ids), test_set)
    if interactions and not per_query:
        raise EvaluationError(
            f"catalog {catalog.folder}: no test query has a relevant product in the gallery of {len(ids):,}; check "
            f"that positive ids of split test are ids of products of split {catalog.splits[-1]}"
        )
    own_titles = {} if interactions else own_title_scores(gallery, catalog, ids)
    by_length = {}
    for length in lengths if interactions else ():
        is_whole = length == lengths[-1]
        found = ranks if is_whole else rank_directions(queries, gallery, interactions, ids, length)
        by_length[length] = recalls(found, KS[-1])
    tasks = score_labels(encoder, catalog, gallery, ids, labels, named, label_prompt, batch_size, show_progress)
    if not (per_query or own_titles or any(task.correct for task in tasks.values())):
        raise EvaluationError(
            f"catalog {catalog.folder}: has no test interactions, and the encoder reads neither a labelled product nor "
            f"a photo of a titled one, so there is nothing to score; import it with a log that has test queries"
        )
    keywords = keyword_scores(catalog, test_set, queries, gallery, fusions or {})
    examples = Examples(queries, gallery, interactions, ids)
    random, hard = examples.random(), examples.hard(ranks)
    release(*(vectors.matrix for views in (queries, gallery) for vectors in views.values()))
    use, use_products = expert_use(encoder, catalog, ids, batch_size)
    evaluation = Evaluation(
        model=model or str(getattr(encoder, "name", "") or type(encoder).__name__),
        catalog=catalog.folder.name,
        gallery=len(ids),
        queries=len(interactions),
        recalls=mean_recalls(per_query),
        recalls_by_dimension=by_length,
        scored={str(direction): len(ranks[direction].scored) for direction in DIRECTIONS},
        left_out={
            str(direction): _left_out(direction, ranks[direction], test_set) for direction in DIRECTIONS if interactions
        },
        zero_shot={name: task.scores for name, task in tasks.items()},
        labels={name: task.labels for name, task in tasks.items()},
        left_out_of_task={name: task.left_out for name, task in tasks.items() if task.left_out},
        examples=random,
        hard=hard,
        expert_use={str(view): shares for view, shares in use.items()},
        expert_use_products=use_products,
        seconds=time.perf_counter() - started,
        intervals=intervals(per_query),
        accuracy_intervals={
            name: {view: [100 * bound for bound in interval(row.hits[1])] for view, row in task.correct.items()}
            for name, task in tasks.items()
        },
        fields=[*encoder.fields],
        labels_read={
            name: field for name in tasks if not form_of(name) and (field := field_with_label(name, encoder.fields))
        },
        keywords=mean_recalls(keywords),
        keyword_intervals=intervals(keywords),
        keyword_queries={name: len(row.ids) for name, row in keywords.items()},
        fusions={
            fields: {view: asdict(one) for view, one in views.items()} for fields, views in (fusions or {}).items()
        },
        own_titles=mean_recalls(own_titles),
        own_titles_scored={name: len(row.ids) for name, row in own_titles.items()},
        graded=graded_means(per_query | keywords),
        graded_intervals=graded_intervals(per_query | keywords),
        graded_queries=graded_counts(per_query | keywords),
        contamination=read_contamination(catalog),
        limit=limit,
        fingerprint=test_set.fingerprint,
    )
    correct = {f"{name} ({view})": row for name, task in tasks.items() for view, row in task.correct.items()}
    own = {f"own title ({name})": row for name, row in own_titles.items()}
    return evaluation, per_query | keywords | own | correct


def _query_scores(
    ranks: Mapping[Objective, DirectionRanks], places: Mapping[Objective, GradedPlaces], test_set: TestSet
) -> dict[str, QueryScores]:
    return {
        str(direction): query_scores(
            result.ranks, np.array(result.queries), test_set.interactions, places.get(direction)
        )
        for direction, result in ranks.items()
        if result.scored
    }


def _left_out(direction: Objective, result: DirectionRanks, test_set: TestSet) -> dict[str, int]:
    counts = {
        f"queries without {VIEW_NAMES[direction.query]}": len(test_set.interactions) - len(result.queries),
        f"gallery products without {VIEW_NAMES[direction.product]}": len(test_set.gallery) - result.products,
        "queries without a relevant product in the gallery": len(result.queries) - len(result.scored),
    }
    return {reason: count for reason, count in counts.items() if count}


def _lengths(encoder: VectorEncoder, dimensions: Sequence[int]) -> list[int]:
    """The lengths at which vectors are scored, ascending, each once, with the full one; none unless there is another.

    A length that cannot be had is refused before the long work.
    """
    if not dimensions:
        return encoder.dimensions if isinstance(encoder, Encoder) and len(encoder.dimensions) > 1 else []
    width = encoder.encode(["a"]).shape[1]
    for length in dimensions:
        if not 1 <= length <= width:
            raise EvaluationError(f"--dimensions has {length}; each must be 1 to {width}, the length of the vectors")
    return sorted({*dimensions, width})
