"""Where tokens lie: visual tokens on the pixels of the picture as it was given, text tokens in the words of the text.

A picture is scaled as a whole to its grid of patches, and `merge` × `merge` patches make a token; so a token's place is
the same share of the original picture's width and height. A token's weight is spread evenly over its pixels and nothing
is lost. Words are what stands between spaces; in scripts without spaces they are characters, joined where one token
holds several.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from moon2.explain.rollout import Numbers
from moon2.model.families import Grid

Span = tuple[int, int]
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_UNITS = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")


def token_grids(grids: Sequence[Grid], tokens: int) -> list[tuple[int, int]]:
    """Rows and columns of each picture's tokens, from the pictures' sizes in patches and how many tokens they make."""
    patches = sum(frames * height * width for frames, height, width in grids)
    merge = round((patches / tokens) ** 0.5) if tokens else 1
    return [(frames * height // merge, width // merge) for frames, height, width in grids]


def spread(weights: Numbers, size: tuple[int, int]) -> Numbers:
    """Token weights [h, w] over a picture of `size` (height, width) pixels: [H, W] with the same sum."""
    return _overlap(size[0], weights.shape[0]) @ weights @ _overlap(size[1], weights.shape[1]).T


def _overlap(pixels: int, cells: int) -> Numbers:
    """[pixels, cells]: which share of each cell each pixel covers; columns sum to one."""
    edges = np.arange(pixels + 1) / pixels * cells
    low = np.maximum(edges[:-1, None], np.arange(cells)[None, :])
    high = np.minimum(edges[1:, None], np.arange(1, cells + 1)[None, :])
    return np.maximum(high - low, 0.0)


def word_spans(text: str, tokens: Sequence[Span]) -> list[tuple[Span, list[int]]]:
    """Joins tokens into words: the characters of each token → each word's characters and its tokens, in order.

    Words without a token (cut off at the limit of length) are left out.
    """
    words = [match.span() for match in _UNITS.finditer(text)]
    found: list[tuple[Span, list[int]]] = []
    at = 0
    for number, (start, end) in enumerate(tokens):
        while at < len(words) and words[at][1] <= start:
            at += 1
        touched = at
        while touched < len(words) and words[touched][0] < end:
            touched += 1
        if found and (touched == at or found[-1][0][1] > words[at][0]):
            # Nothing but a space, or more of the last word: it belongs to what stands before it.
            span, members = found[-1]
            last = words[touched - 1][1] if touched > at else span[1]
            found[-1] = ((span[0], max(span[1], last)), [*members, number])
        else:
            span = (words[at][0], words[touched - 1][1]) if touched > at else (start, end)
            found.append((span, [number]))
    return found


def token_spans(tokenizer: PreTrainedTokenizerBase, text: str, limit: int) -> list[Span]:
    """The characters of each of the first `limit` tokens of a text, tokenized as the processor does."""
    options = {"add_special_tokens": False, "split_special_tokens": True, "truncation": True, "max_length": limit}
    spans = tokenizer(text, return_offsets_mapping=True, **options)["offset_mapping"]
    return [(int(start), int(end)) for start, end in spans]
