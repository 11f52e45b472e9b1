"""`explain`: why an item got its vector, as attention, gradients and experts over its images and words.

One pass of the whole item gives all three, for patches and words at once.
"""

from __future__ import annotations

import numpy as np

from moon2.explain.explanation import ExplainedImage, ExplainedWord, Explanation
from moon2.explain.rollout import Numbers, relevance, shares
from moon2.explain.token_layout import token_grids, word_spans
from moon2.explain.trace import ExplainError, Trace, trace
from moon2.images import LongestSide
from moon2.model.encoder import Encoder, Vectors
from moon2.model.families import decoder_of
from moon2.model.items import ItemSource

SHOWN = LongestSide(1024)
"""How large an image is drawn at most."""


def explain(
    encoder: Encoder, record: ItemSource, query: ItemSource | Vectors | None = None, layer: int | None = None
) -> Explanation:
    """Explains the mm vector of an item.

    Args:
        encoder: it does not change; other threads may use it at the same time.
        record: what to explain, with those of its images that the encoder reads.
        query: an item, or a vector [D]; the gradient is that of the similarity to it.
        layer: the decoder layer whose attention and experts to show, from 0. None rolls up all layers (attention
            rollout, Abnar & Zuidema 2020) and averages the experts over them.

    Raises:
        ExplainError: no such layer, a query vector of another shape or without a direction, or a peer's network.
        ItemError, ImageError, EncoderError: the item or the query cannot be embedded.
    """
    depth = len(decoder_of(encoder.model.backbone, encoder.model.family).layers)
    if layer is not None and not 0 <= layer < depth:
        raise ExplainError(f"layer is {layer}; this decoder has layers 0 to {depth - 1}, or leave it out for all")
    item = encoder.processor.item(record)
    shown = encoder.processor.item(record, read_at=SHOWN).images
    target = None if query is None else _target(encoder, query)
    traced = trace(encoder, item, target)
    attention = relevance(traced.attentions, traced.weights, layer)
    gradient = (
        None if traced.contributions is None else shares(np.where(traced.pooling_mask, traced.contributions, 0.0))
    )
    experts = _experts(traced, layer)

    image_tokens = np.flatnonzero(traced.image_mask)
    grids = token_grids(traced.grids, len(image_tokens))
    ends = np.cumsum([rows * columns for rows, columns in grids], dtype=np.intp)
    images = []
    for image, grid, tokens in zip(shown, grids, np.split(image_tokens, ends)[:-1], strict=True):
        cells = tokens.reshape(grid)
        slope = None if gradient is None else gradient[cells]
        images.append(ExplainedImage(image, attention[cells], slope, experts[cells]))

    text_mask = traced.pooling_mask & ~traced.image_mask
    text_tokens = np.flatnonzero(text_mask)
    spans = word_spans(item.text, encoder.processor.text_offsets(item.text))
    words = []
    for (start, end), members in spans:
        tokens = text_tokens[members]
        word = ExplainedWord(
            text=item.text[start:end],
            tokens=len(tokens),
            attention=float(attention[tokens].sum()),
            gradient=None if gradient is None else float(gradient[tokens].sum()),
            experts=experts[tokens].mean(axis=0),
        )
        words.append(word)

    masks = {"image": traced.image_mask, "text": text_mask}
    return Explanation(
        vector=traced.vector,
        images=tuple(images),
        words=tuple(words),
        unread=item.text[spans[-1][0][1] :].strip() if spans else "",
        layer=layer,
        experts={modality: experts[mask].mean(axis=0) for modality, mask in masks.items() if mask.any()},
        query=_name(query),
        similarity=None if target is None else float(traced.vector @ target),
    )


def _target(encoder: Encoder, query: ItemSource | Vectors) -> Vectors:
    """The query's vector [D], of unit length."""
    if not isinstance(query, np.ndarray):
        return encoder.encode(query)[0]
    length = float(np.linalg.norm(query)) if query.shape == (encoder.dimension,) else 0.0
    if not length or not np.isfinite(length):
        raise ExplainError(
            f"query has shape {query.shape}; a vector must be [{encoder.dimension}], finite and not zero"
        )
    return (query / length).astype(np.float32)


def _name(query: object) -> str:
    if query is None or isinstance(query, str):
        return (query or "").strip()
    return str(getattr(query, "text", "") or getattr(query, "title", "")).strip() or f"a {type(query).__name__}"


def _experts(traced: Trace, layer: int | None) -> Numbers:
    """[S, Z] of one layer, or the mean over all layers that have experts; Z is 0 without experts."""
    gates = [gates for number, gates in traced.gates.items() if layer in (None, number)]
    return np.mean(gates, axis=0) if gates else np.zeros((len(traced.weights), 0))
