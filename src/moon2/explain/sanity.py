"""Does a heatmap show the model, or only the picture? With other weights it must change (Adebayo et al., 2018,
"Sanity Checks for Saliency Maps").

Weights are randomised by shuffling the values inside each tensor, so that their size and spread stay: everywhere at
once, or in a cascade from the last decoder layer down to the vision tower. What the maps have left in common is a rank
correlation over patches and words.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import nn

from moon2.explain.explain import Explanation, explain
from moon2.explain.rollout import Numbers
from moon2.model.encoder import Encoder
from moon2.model.families import decoder_layers


def randomised(encoder: Encoder, seed: int = 0) -> Encoder:
    """A copy of an encoder with the values inside each of its tensors shuffled."""
    *_, (_, last) = cascade(encoder, seed)
    return last


def cascade(encoder: Encoder, seed: int = 0) -> Iterator[tuple[str, Encoder]]:
    """Copies that are randomised ever deeper: from the last decoder layer to the first, then all the rest.

    The encoder that is given out is the same object each time, further randomised.
    """
    model = deepcopy(encoder.model)
    copy = Encoder(model, encoder.processor)
    generator = torch.Generator().manual_seed(seed)
    layers, _ = decoder_layers(model.backbone, model.family)
    done: set[int] = set()
    for number in reversed(range(len(layers))):
        _shuffle(layers[number], generator, done)
        yield f"layers from {number}", copy
    _shuffle(model, generator, done)
    yield "all weights", copy


def rank_correlations(encoder: Encoder, other: Encoder, record: Any, query: Any = None) -> dict[str, float]:
    """Spearman's ρ between what two encoders' maps say of one record: "attention" and, with a query, "gradient".

    The query is embedded by each encoder itself. Words count beside patches; a gradient counts by its size.
    """
    ours, theirs = explain(encoder, record, query), explain(other, record, query)
    kinds = ("attention",) if query is None else ("attention", "gradient")
    return {kind: rank_correlation(weights(ours, kind), weights(theirs, kind)) for kind in kinds}


def weights(explanation: Explanation, kind: str) -> Numbers:
    """All visual tokens' and words' shares of one kind ("attention" or "gradient") in one row, by size.

    A word has its tokens' mean: their number is the title's doing, and would make any two models agree.
    """
    patches = [getattr(picture, kind).ravel() for picture in explanation.pictures]
    return np.abs(np.concatenate([*patches, [getattr(word, kind) / word.tokens for word in explanation.words]]))


def rank_correlation(first: Numbers, second: Numbers) -> float:
    """Spearman's ρ of two rows of numbers, ties at their mean rank; 0 where one of them is even."""
    ranks = [_ranks(row) for row in (first, second)]
    if any(row.std() == 0 for row in ranks):
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(row: Numbers) -> Numbers:
    _, place, counts = np.unique(row, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def _shuffle(part: nn.Module, generator: torch.Generator, done: set[int]) -> None:
    with torch.no_grad():
        for weight in part.parameters():
            if id(weight) not in done:
                order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
                weight.copy_(weight.flatten()[order].view_as(weight))
                done.add(id(weight))
