"""What a shopper may say of a product, from its attributes, category and title, and which products hold it.

A product holds a value when its words are among those of its title, attributes and category, whatever the field: a
shop's "navy" may stand in the title of one product and in the attribute of another. So the products that answer a query
made of values are all known, or too many rather than too few.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moon2.catalog.schema import pairs_to_dict
from moon2.catalog.titles import title_runs, title_words

# A longer value is prose, or a code, and no shopper's word.
MAX_VALUE_CHARACTERS, MAX_VALUE_WORDS = 30, 4


@dataclass(frozen=True, slots=True)
class Facet:
    """A value in words, and the words by which products that hold it are found."""

    text: str
    words: frozenset[str]


@lru_cache(maxsize=100_000)
def facet(text: str) -> Facet:
    """The facet of a text."""
    return Facet(" ".join(text.casefold().split()), frozenset(map(_stem, title_words(text))))


@dataclass(frozen=True, slots=True)
class Described:
    """A product's facets.

    Attributes:
        values: of its attributes, each once.
        kind: the leaf of its category; None where it has none.
        title: its title's words in order, stretches in a script without spaces as one.
    """

    values: tuple[Facet, ...]
    kind: Facet | None
    title: tuple[str, ...]


def describe(row: Mapping[str, Any]) -> Described:
    """The facets of a catalog's row with title, category and attributes."""
    texts = dict.fromkeys(pairs_to_dict(row["attributes"]).values())
    values = (facet(text) for text in texts if _is_said(text))
    kind = next((facet(part) for part in reversed(row["category"] or ()) if _is_said(part)), None)
    return Described(tuple(dict.fromkeys(values)), kind, tuple(title_runs(row["title"] or "")))


class Holders:
    """Finds the products that hold all words of some facets, by lists of the products of each word.

    Args:
        rows: of products, with title, category and attributes; each is a number, in this order.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        numbers: dict[str, array[int]] = {}
        for number, row in enumerate(rows):
            texts = (row["title"] or "", *pairs_to_dict(row["attributes"]).values(), *(row["category"] or ()))
            for word in {_stem(word) for text in texts for word in title_words(text)}:
                numbers.setdefault(word, array("i")).append(number)
        self._numbers = numbers

    def count(self, word: str) -> int:
        """How many products hold a word of a title."""
        return len(self._numbers.get(_stem(word), ()))

    def of(self, facets: Sequence[Facet]) -> NDArray[np.int32]:
        """The numbers of the products that hold all these facets, ascending."""
        words = frozenset().union(*(facet.words for facet in facets))
        lists = sorted((self._list(word) for word in words), key=len)
        if not lists:
            return np.zeros(0, np.int32)
        found = lists[0]
        for others in lists[1:]:
            if not len(found):
                break
            places = np.minimum(np.searchsorted(others, found), len(others) - 1)
            found = found[others[places] == found]
        return found

    def _list(self, word: str) -> NDArray[np.int32]:
        numbers = self._numbers.get(word)
        return np.frombuffer(numbers, np.int32) if numbers else np.zeros(0, np.int32)


def _is_said(text: str) -> bool:
    runs = title_runs(text)
    is_short = len(text) <= MAX_VALUE_CHARACTERS and 0 < len(runs) <= MAX_VALUE_WORDS
    return is_short and any(character.isalpha() for character in text)


def _stem(word: str) -> str:
    """A word without the ending of a plural: "shirts" and "shirt" are one."""
    if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        return word[:-3] + "y" if word.endswith("ies") else word[:-1]
    return word
