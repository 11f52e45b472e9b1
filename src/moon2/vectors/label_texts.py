"""Labels as texts: alone, and in phrases beside what shoppers name with them, as in "black shirts"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from moon2.encoders.protocol import VectorEncoder
from moon2.vectors.label_tasks import CLASS
from moon2.vectors.table import shortened_rows

COMPANIONS = 30
"""Labels that each label is said beside. Ten leave out most classes; all give no more (docs/results.md)."""
CHUNK = 1024
"""Texts encoded between two reports of progress."""
MOST_PHRASES = 100_000
"""A task with more is asked by its labels alone: the vectors of its phrases would take gigabytes."""


def companions(task: str, counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """What labels of a task are said beside, the commonest first: classes with an attribute, attributes with a class.

    Args:
        task: to be predicted.
        counts: by task, itself too, how many products have each label.

    Returns:
        At most `COMPANIONS`; none where they would make more than `MOST_PHRASES`.
    """
    others: Counter[str] = Counter()
    for other, of in counts.items():
        if (other == CLASS) != (task == CLASS):
            others.update(of)
    commonest = [label for label, count in others.most_common(COMPANIONS) if count]
    return commonest if len(counts[task]) * len(commonest) <= MOST_PHRASES else []


def encode_labels(
    encoder: VectorEncoder,
    task: str,
    labels: Sequence[str],
    beside: Sequence[str] = (),
    *,
    label_prompt: str = "{}",
    batch_size: int,
    length: int | None = None,
    on_encoded: Callable[[int], object] = lambda texts: None,
) -> np.ndarray:
    """The vectors of labels alone and in phrases.

    Shoppers ask for black shirts, seldom for black. So an encoder that learned from what they asked for knows the
    phrase better. CLIP's zero-shot classifier too has several texts for a label (Radford et al., ICML 2021), and takes
    the mean of their vectors. Here each phrase fits few products, so `label_cosines` takes the nearest.

    Args:
        encoder: puts texts into vectors.
        task: whose labels these are.
        labels: L of them.
        beside: P labels that each is said beside, as `companions` finds them; may be empty.
        label_prompt: how a label or phrase is put into words, such as "a photo of {}".
        batch_size: texts encoded at a time.
        length: numbers that vectors are cut to, see `shortened_rows`.
        on_encoded: called with how many texts were done since the last call.

    Returns:
        [1 + P, L, D] float32, unit length: each label alone, then beside each of `beside`.
    """
    texts = [f"{other} {label}" if task == CLASS else f"{label} {other}" for other in beside for label in labels]
    texts = [label_prompt.replace("{}", text) for text in (*labels, *texts)]
    parts = []
    for start in range(0, len(texts), CHUNK):
        parts.append(encoder.encode(texts[start : start + CHUNK], batch_size=batch_size))
        on_encoded(len(parts[-1]))
    vectors = shortened_rows(np.concatenate(parts), length)
    return vectors.reshape(1 + len(beside), len(labels), vectors.shape[1])
