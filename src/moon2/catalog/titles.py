"""Titles as sets of words, and near-duplicates among them without comparing all pairs.

Chinese, Japanese and Thai are written without spaces; there, pairs of neighbouring characters take the place of words.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence

# Two titles are near-duplicates when their sets of words overlap by this share of their union (Jaccard).
NEAR_DUPLICATE = 0.75
# Each product is compared with at most this many of those that share a word, which bounds the cost of common words.
MAX_COMPARED = 64
# Thai, Lao, Burmese and Khmer; kana, and Chinese characters.
NO_SPACES = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_RUN = re.compile(rf"[{NO_SPACES}]+|[^\W{NO_SPACES}]+")
_HAS_NO_SPACES = re.compile(rf"[{NO_SPACES}]")


def title_runs(title: str) -> list[str]:
    """The words of a title in lower case, in order; a stretch in a script without spaces is one of them."""
    return _RUN.findall(title.casefold())


def is_without_spaces(run: str) -> bool:
    """Whether a run of `title_runs` is in a script without spaces."""
    return run[0] >= NO_SPACES[0] and _HAS_NO_SPACES.match(run) is not None


def run_words(run: str) -> list[str]:
    """A word of a run of `title_runs`: itself, or the pairs of neighbouring characters of a script without spaces."""
    return [run[i : i + 2] for i in range(len(run) - 1)] if len(run) > 1 and is_without_spaces(run) else [run]


def title_words(title: str) -> frozenset[str]:
    """The words of a title in lower case; in a script without spaces, the pairs of neighbouring characters."""
    return frozenset(word for run in title_runs(title) for word in run_words(run))


def near_duplicate_titles(
    titles: Sequence[frozenset[str]], categories: Sequence[tuple[str, ...]]
) -> dict[int, list[int]]:
    """Products of the same category whose titles' word sets overlap by at least `NEAR_DUPLICATE`, by index.

    Two sets that overlap by a share s must have one of their len − ⌈s·len⌉ + 1 rarest words in common. So only products
    that share a rare word are compared (prefix filtering; Chaudhuri, Ganti and Kaushik, ICDE 2006).
    """
    frequency = Counter(word for title in titles for word in title)
    members_of: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
    keys: list[list[tuple[object, ...]]] = []
    for i, title in enumerate(titles):
        rarest = sorted(title, key=lambda word: (frequency[word], word))
        prefix = rarest[: len(title) - math.ceil(NEAR_DUPLICATE * len(title)) + 1]
        # A title of one or two words, such as "shirt", says too little.
        keys.append([(categories[i], part) for part in (title, *prefix)] if len(title) >= 3 else [])
        for key in keys[i]:
            members_of[key].append(i)
    duplicates: dict[int, list[int]] = {}
    for i, title in enumerate(titles):
        candidates: set[int] = set()
        for key in keys[i]:
            members = members_of[key]
            start = max(0, bisect_left(members, i) - MAX_COMPARED // 2)
            candidates.update(members[start : start + MAX_COMPARED])
        candidates.discard(i)
        similar = [j for j in candidates if len(title & titles[j]) >= NEAR_DUPLICATE * len(title | titles[j])]
        if similar:
            duplicates[i] = sorted(similar)
    return duplicates
