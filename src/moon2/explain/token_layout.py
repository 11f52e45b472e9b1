"""Where tokens lie: image tokens on the pixels of the image as given, text tokens in the words of the text.

An image is scaled as a whole to its grid of patches, and `merge` × `merge` patches make a token. So a token covers the
same share of the original image's width and height. Words are what stands between spaces. In scripts without spaces
they are characters, joined where one token holds several.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from moon2.model.families import Grid

Span = tuple[int, int]
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_UNITS = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")


def token_grids(grids: Sequence[Grid], tokens: int) -> list[tuple[int, int]]:
    """Rows and columns of each image's tokens, from the images' sizes in patches and the number of all their tokens."""
    patches = sum(frames * height * width for frames, height, width in grids)
    merge = round((patches / tokens) ** 0.5) if tokens else 1
    return [(frames * height // merge, width // merge) for frames, height, width in grids]


def word_spans(text: str, tokens: Sequence[Span]) -> list[tuple[Span, list[int]]]:
    """Joins tokens into words: the characters of each token → each word's characters and its tokens, in order.

    Words without a token (cut off at the limit of tokens) are left out.
    """
    units = [match.span() for match in _UNITS.finditer(text)]
    words: list[tuple[Span, list[int]]] = []
    first = 0
    for token, (start, end) in enumerate(tokens):
        while first < len(units) and units[first][1] <= start:
            first += 1
        last = first
        while last < len(units) and units[last][0] < end:
            last += 1
        # The token holds the units from `first` up to `last`.
        if words and (last == first or words[-1][0][1] > units[first][0]):
            # Nothing but a space, or more of the last word: it belongs to the word before it.
            span, members = words[-1]
            reach = units[last - 1][1] if last > first else span[1]
            words[-1] = ((span[0], max(span[1], reach)), [*members, token])
        else:
            span = (units[first][0], units[last - 1][1]) if last > first else (start, end)
            words.append((span, [token]))
    return words
