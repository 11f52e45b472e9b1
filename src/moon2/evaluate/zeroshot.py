"""Zero-shot labels: by the nearest label text, as published; in phrases; and weighed by how common labels are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from moon2.catalog.schema import pairs_to_dict
from moon2.catalog.store import Catalog
from moon2.encoders.protocol import VectorEncoder
from moon2.evaluate.per_query import QueryScores
from moon2.vectors.embed import NO_VECTORS, Vectors
from moon2.vectors.label_tasks import CLASS, PHRASED, WEIGHED, attribute_task, colour_attribute
from moon2.vectors.label_texts import encode_labels
from moon2.vectors.labels import label_shares, nearest_label, weighed_label
from moon2.vectors.table import release
from moon2.views import VIEWS, View


@dataclass
class TaskScores:
    """One task: how many labels there are, and by view what was scored and what was left out.

    Attributes:
        labels: to choose from.
        scores: view → `label_scores`.
        correct: view → whether each product's label is right.
        left_out: view → products without a label or without that view.
    """

    labels: int
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    correct: dict[str, QueryScores] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)


def label_scores(predicted: np.ndarray, truth: Sequence[int] | np.ndarray) -> dict[str, float]:
    """Accuracy, precision, recall and F1 of predicted labels, in percent.

    All but the accuracy are macro averages: the plain mean over labels, however many items each has. A label that is
    never predicted has precision 0. One that neither occurs nor is predicted is left out.

    Raises:
        ValueError: there is no item, or the lengths do not agree.
    """
    precision, recall, f1, _ = precision_recall_fscore_support(truth, predicted, average="macro", zero_division=0)
    scores = {"accuracy": accuracy_score(truth, predicted), "precision": precision, "recall": recall, "f1": f1}
    return {name: float(100 * score) for name, score in scores.items()}


def score_labels(
    encoder: VectorEncoder,
    catalog: Catalog,
    gallery: Mapping[View, Vectors],
    ids: Sequence[str],
    labels: Mapping[str, Sequence[str | None]],
    attributes: Sequence[str] | None,
    label_prompt: str,
    batch_size: int,
    show_progress: bool = False,
) -> dict[str, TaskScores]:
    """How often the labels of products are told by the texts of labels.

    Each task is there up to three times. Its plain name is for the nearest label, as published. With `PHRASED` labels
    are said in phrases too, where there are other labels to say them beside (`label_cosines`). With `WEIGHED` each
    label, said alone, counts by how common it is (`weighed_label`). Labels are counted in the training split. A catalog
    without one has no weighed tasks, and its phrases are of the commonest labels among the products to label.

    Args:
        encoder: puts labels into vectors.
        catalog: holds the products.
        gallery: by view, the vectors of the products to label.
        ids: of all products of the gallery.
        labels: by task every one's label, as `embed_products` gives them.
        attributes: to predict beside the class; None: a colour attribute.
        label_prompt: how a label is put into words, such as "a photo of {}".
        batch_size: items the encoder works on at a time.
        show_progress: draws a bar on stderr.

    Returns:
        By task its scores; what has fewer than two labels is no task.
    """
    if attributes is None:
        attributes = colour_attribute([name for name, values in labels.items() if any(values)])
    truths = {name: labels[name] for name in (CLASS, *map(attribute_task, attributes))}
    truths = {name: truth for name, truth in truths.items() if len(set(truth) - {None}) > 1}
    counts = _training_labels(catalog, [*truths])
    known = counts or {task: Counter(label for label in truth if label is not None) for task, truth in truths.items()}
    names = {task: sorted({label for label in truth if label is not None}) for task, truth in truths.items()}
    texts = encode_labels(
        encoder, names, known, label_prompt=label_prompt, batch_size=batch_size, show_progress=show_progress
    )
    tasks: dict[str, TaskScores] = {}
    for task, truth in truths.items():
        shares = label_shares(np.array([counts[task][label] for label in names[task]])) if counts else None
        tasks |= _score_task(task, names[task], truth, ids, gallery, texts[task], shares)
    return tasks


def _score_task(
    task: str,
    names: Sequence[str],
    truth: Sequence[str | None],
    ids: Sequence[str],
    gallery: Mapping[View, Vectors],
    texts: np.ndarray,
    shares: np.ndarray | None,
) -> dict[str, TaskScores]:
    """A task by labels alone, in phrases if there are any, and weighed if the shares of labels are known."""
    row_of = {label: row for row, label in enumerate(names)}
    answers = np.array([-1 if label is None else row_of[label] for label in truth])
    forms = ["", *([PHRASED] if len(texts) > 1 else []), *([WEIGHED] if shares is not None else [])]
    tasks = {form: TaskScores(len(names)) for form in forms}
    for view in VIEWS:
        vectors = gallery.get(view, NO_VECTORS)
        labelled = np.flatnonzero(answers[vectors.rows] >= 0)
        tasks[""].left_out[view] = len(truth) - len(labelled)
        if not len(labelled):
            continue
        right = answers[vectors.rows[labelled]]
        products = [ids[row] for row in vectors.rows[labelled].tolist()]
        _add(tasks[""], view, products, nearest_label(vectors.matrix, texts[:1], labelled), right)
        if PHRASED in tasks:
            _add(tasks[PHRASED], view, products, nearest_label(vectors.matrix, texts, labelled), right)
        if shares is not None:
            predicted = weighed_label(vectors.matrix, texts[:1], shares, right, labelled)
            _add(tasks[WEIGHED], view, products, predicted, right)
        release(vectors.matrix)
    return {task + form: scores for form, scores in tasks.items()}


def _add(task: TaskScores, view: View, products: list[str], predicted: np.ndarray, right: np.ndarray) -> None:
    task.scores[view] = label_scores(predicted, right)
    hits = {1: (predicted == right).astype(np.float64)}
    task.correct[view] = QueryScores(products, [0] * len(products), hits)


def _training_labels(catalog: Catalog, tasks: Sequence[str]) -> dict[str, Counter[str]]:
    """By task how many products of the training split have each label; empty where no split is apart for training."""
    if not {"train", "test"} <= {*catalog.splits}:
        return {}
    counts = {task: Counter[str]() for task in tasks}
    for row in catalog.rows("train", ["category", "attributes"]):
        labels = {attribute_task(name): value for name, value in pairs_to_dict(row["attributes"]).items()}
        labels[CLASS] = row["category"][-1] if row["category"] else ""
        for task, count in counts.items():
            if label := labels.get(task):
                count[label] += 1
    return counts
