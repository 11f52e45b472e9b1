"""`explain`: why an item got its vector, as heat over its pictures and words.

One pass of the whole item gives attention over patches and words at once, the gradient of the similarity to a query,
and which experts handled which patch and word. All shares of one kind sum to one over pictures and words together.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moon2.explain.draw.page import page
from moon2.explain.draw.png import draw
from moon2.explain.explanation import Explained, ExplainedPicture, ExplainedWord
from moon2.explain.rollout import Numbers, relevance, shares
from moon2.explain.token_layout import token_grids, token_spans, word_spans
from moon2.explain.trace import ExplainError, Trace, trace
from moon2.model.encoder import Encoder, Vectors


class Explanation(Explained):
    """Why an item got its vector: the numbers of `Explained`, and how they are drawn."""

    def save_png(self, path: str | Path) -> None:
        """Draws it as one PNG, 720 pixels wide."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        draw(self).save(target, format="PNG")

    def save_html(self, path: str | Path) -> None:
        """Writes it as one HTML file with nothing beside it."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page(self), encoding="utf-8")


def explain(encoder: Encoder, record: Any, query: Any = None, layer: int | None = None) -> Explanation:
    """Explains the mm vector of a string, picture, path, `Product` or `Query`, on any backbone.

    Args:
        encoder: left as it was.
        record: what to explain; of its pictures those that the encoder looks at.
        query: words, a picture, a record, or a vector [D]: the gradient is that of the similarity to it.
        layer: the decoder layer whose attention and experts to show, from 0; None rolls up all (attention rollout,
            Abnar & Zuidema 2020) and averages the experts over layers.

    Raises:
        ExplainError: the record or query cannot be embedded, or there is no such layer.
    """
    if layer is not None and not 0 <= layer < (depth := _depth(encoder)):
        raise ExplainError(f"layer is {layer}; this decoder has layers 0 to {depth - 1}, or leave it out for all")
    try:
        item = encoder.processor.item(record)
        target = None if query is None else _target(encoder, query)
    except (ValueError, TypeError) as error:
        raise ExplainError(f"cannot explain it: {error}") from None
    found = trace(encoder, item, target)
    limit = encoder.processor.settings.max_text_tokens
    spans = word_spans(item.text, token_spans(encoder.processor.tokenizer, item.text, limit)) if item.text else []
    attention = relevance(found.attentions, found.weights, layer)
    gradient = None if found.contributions is None else shares(np.where(found.content, found.contributions, 0.0))
    experts = _experts(encoder, found, layer)
    text = found.content & ~found.picture
    return Explanation(
        vector=found.vector,
        pictures=_pictures(item.images, found, attention, gradient, experts),
        words=_words(item.text, spans, np.flatnonzero(text), attention, gradient, experts),
        unread=item.text[spans[-1][0][1] :].strip() if spans else "",
        layer=layer,
        experts={
            name: experts[mask].mean(axis=0) for name, mask in (("image", found.picture), ("text", text)) if mask.any()
        },
        query=_name(query),
        similarity=None if target is None else float(found.vector @ target),
    )


def _depth(encoder: Encoder) -> int:
    return len(getattr(encoder.model.backbone, encoder.model.family.decoder).layers)


def _target(encoder: Encoder, query: Any) -> Vectors:
    if not isinstance(query, np.ndarray):
        return encoder.encode(query)[0]
    length = float(np.linalg.norm(query)) if query.shape == (encoder.dimension,) else 0.0
    if not length or not np.isfinite(length):
        raise ExplainError(
            f"query has shape {query.shape}; a vector must be [{encoder.dimension}], finite and not zero"
        )
    return (query / length).astype(np.float32)


def _name(query: Any) -> str:
    if query is None or isinstance(query, str):
        return (query or "").strip()
    return str(getattr(query, "text", "") or getattr(query, "title", "")).strip() or f"a {type(query).__name__}"


def _experts(encoder: Encoder, found: Trace, layer: int | None) -> Numbers:
    """[S, Z]; of one layer, or the mean over all that have experts. Z is 0 where there are none."""
    chosen = encoder.model.settings.layers
    numbers = sorted(set(range(_depth(encoder)) if chosen is None else chosen))
    gates = [part for number, part in zip(numbers, found.gates, strict=True) if layer in (None, number)]
    return np.mean(gates, axis=0) if gates else np.zeros((len(found.content), 0))


def _pictures(
    images: Sequence[Image.Image], found: Trace, attention: Numbers, gradient: Numbers | None, experts: Numbers
) -> tuple[ExplainedPicture, ...]:
    places = np.flatnonzero(found.picture)
    result, taken = [], 0
    for image, (rows, columns) in zip(images, token_grids(found.grids, len(places)), strict=True):
        own = places[taken : taken + rows * columns].reshape(rows, columns)
        taken += rows * columns
        result.append(
            ExplainedPicture(image, attention[own], None if gradient is None else gradient[own], experts[own])
        )
    return tuple(result)


def _words(
    text: str,
    spans: Sequence[tuple[tuple[int, int], list[int]]],
    places: NDArray[np.intp],
    attention: Numbers,
    gradient: Numbers | None,
    experts: Numbers,
) -> tuple[ExplainedWord, ...]:
    result = []
    for (start, end), members in spans:
        own = places[members]
        slope = None if gradient is None else float(gradient[own].sum())
        share = float(attention[own].sum())
        result.append(ExplainedWord(text[start:end], len(own), share, slope, experts[own].mean(axis=0)))
    return tuple(result)
