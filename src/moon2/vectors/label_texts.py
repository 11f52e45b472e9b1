"""Labels as texts: alone, and in phrases beside what shoppers name with them, as in "black shirts"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from moon2.encoders.protocol import VectorEncoder
from moon2.progress import progress_bar
from moon2.vectors.label_tasks import CLASS, colour_attribute
from moon2.vectors.table import shortened_rows

COMPANIONS = 30
"""Labels that each label is said beside: ten are worth less, all of them little more (docs/results.md)."""
MOST_PHRASES = 50_000
"""A task with more is asked by its labels alone: a large encoder would read its phrases for minutes."""
CHUNK = 1024
"""Texts encoded between two reports of progress."""


def companions(task: str, labels: int, counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """What the labels of a task are said beside, the commonest first.

    An attribute is said with classes. A class is said with colours, or with all attributes where none is a colour.

    Args:
        task: to be predicted.
        labels: how many the task has.
        counts: by task, itself too, how many products have each label.

    Returns:
        At most `COMPANIONS`; none where they would make more than `MOST_PHRASES`.
    """
    attributes = [other for other in counts if other != CLASS]
    beside = (colour_attribute(attributes) or attributes) if task == CLASS else [CLASS]
    others: Counter[str] = Counter()
    for other in beside:
        others.update(counts.get(other, {}))
    commonest = [label for label, count in others.most_common(COMPANIONS) if count]
    return commonest if labels * len(commonest) <= MOST_PHRASES else []


def label_texts(task: str, labels: Sequence[str], beside: Sequence[str]) -> list[str]:
    """Each label alone, then each beside the first of `beside`, and so on."""
    in_phrases = [f"{other} {label}" if task == CLASS else f"{label} {other}" for other in beside for label in labels]
    return [*labels, *in_phrases]


def encode_labels(
    encoder: VectorEncoder,
    labels: Mapping[str, Sequence[str]],
    counts: Mapping[str, Mapping[str, int]],
    *,
    label_prompt: str,
    batch_size: int,
    length: int | None = None,
    show_progress: bool = True,
) -> dict[str, np.ndarray]:
    """The vectors of labels, alone and in phrases.

    Shoppers ask for black shirts, seldom for black. So an encoder that learned from what they asked for knows the
    phrase better. CLIP's zero-shot classifier too has several texts for a label (Radford et al., ICML 2021), and takes
    the mean of their vectors. Here each phrase fits few products, so `label_cosines` takes the nearest.

    Args:
        encoder: puts texts into vectors.
        labels: by task L of them.
        counts: by task how many products that may be learned from have each label, see `companions`.
        label_prompt: how a label or a phrase is put into words, such as "a photo of {}".
        batch_size: texts encoded at a time.
        length: numbers that vectors are cut to, see `shortened_rows`.
        show_progress: draws a bar on stderr, if there is a text.

    Returns:
        By task [1 + P, L, D] float32, unit length: each label alone, then in P phrases, which may be none.
    """
    beside = {task: companions(task, len(of), counts) for task, of in labels.items()}
    texts = {task: label_texts(task, of, beside[task]) for task, of in labels.items()}
    vectors = {}
    total = sum(map(len, texts.values()))
    with progress_bar(total=total, desc="encoding labels", unit="texts", disable=not (show_progress and total)) as bar:
        for task, of in texts.items():
            parts = []
            for start in range(0, len(of), CHUNK):
                said = [label_prompt.replace("{}", text) for text in of[start : start + CHUNK]]
                parts.append(encoder.encode(said, batch_size=batch_size))
                bar.update(len(said))
            matrix = shortened_rows(np.concatenate(parts), length)
            vectors[task] = matrix.reshape(1 + len(beside[task]), len(labels[task]), matrix.shape[1])
    return vectors
