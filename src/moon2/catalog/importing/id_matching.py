"""Matches product ids of a log with those of the catalog: spreadsheets turn 00045 into 45 and 12 into 12.0.

An exact match always wins. Otherwise an id matches when one change, such as removing ".0", leads to one product only;
such matches are counted. What fits several products, or differs in more, is not matched: the message names it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection
from functools import cached_property
from typing import Any

from moon2.catalog.importing.cells import as_list, flat, to_text

_SEPARATORS = re.compile(r"([,;|\s]+)")
# An id that holds separators has at most so many parts.
MAX_PARTS = 8
_NUMBER = re.compile(r"[+-]?\d+(?:\.(\d+))?(?:e[+-]?(\d{1,3}))?", re.IGNORECASE)


def _plain_quotes(id: str) -> str:
    # Excel writes ="00045" or '00045 to keep a number as text.
    return id.removeprefix("=").strip("'\"\ufeff\u200b ")


def _no_decimals(id: str) -> str:
    return re.sub(r"(?<=\d)[.,]0+$", "", id)


def _no_zeros(id: str) -> str:
    return id.lstrip("0") or id[:1]


def _no_exponent(id: str) -> str:
    """1.23E+12 as 1230000000000; unchanged unless it is a whole number in scientific notation."""
    number = _NUMBER.fullmatch(id)
    if number is None or number[2] is None or len(number[1] or "") > int(number[2]) or "-" in id:
        return id
    digits, _, exponent = id.lstrip("+").casefold().partition("e")
    whole, _, fraction = digits.partition(".")
    return whole + fraction + "0" * (int(exponent.lstrip("+")) - len(fraction))


_Change = tuple[str, Callable[[str], str]]
# Each is made on top of those before.
CHANGES: tuple[_Change, ...] = (
    ("removing quotes", _plain_quotes),
    ("removing '.0'", _no_decimals),
    ("writing out scientific notation", _no_exponent),
    ("removing leading zeros", _no_zeros),
    ("ignoring case", str.casefold),
)


class IdMatcher:
    """Finds the products that a log's cells name.

    Attributes:
        matched: number of different ids that matched after a change, by the change.
    """

    def __init__(self, known: Collection[str]) -> None:
        self.known = known
        self.matched: Counter[str] = Counter()
        self._found: dict[str, str | None] = {}
        self._indexes: dict[int, dict[str, list[str]]] = {}

    def read(self, cell: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The products of one cell, each once, and what matches none.

        A cell holds a list, or text: JSON or Python's list, one id, or ids separated by `,` `;` `|` or spaces, which
        ids may contain too.
        """
        products: dict[str, None] = {}
        unknown: dict[str, None] = {}
        values = flat(as_list(cell))
        for value in values:
            text = to_text(value).strip()
            whole = self.find(text)
            parts = [text] if whole or len(values) > 1 else self._split(text)
            for part in filter(None, parts):
                id = self.find(part)
                (unknown if id is None else products)[part if id is None else id] = None
        return tuple(products), tuple(unknown)

    def find(self, id: str) -> str | None:
        """The product with this id, or with the only id that a change leads to; None if there is none or several."""
        if id in self.known:
            return id
        if id not in self._found:
            self._found[id] = None
            for number, (name, _) in enumerate(CHANGES):
                candidates = self._index(number).get(_changed(id, number), [])
                if candidates:
                    if len(candidates) == 1:
                        self._found[id] = candidates[0]
                        self.matched[name] += 1
                    break
        return self._found[id]

    def explain(self, id: str) -> str:
        """One clause that says that a product is missing, with the ids that are near."""
        last = len(CHANGES) - 1
        near = next((found for n in range(last + 1) if (found := self._index(n).get(_changed(id, n)))), [])
        near = near or self._index(last + 1).get(_letters(id), []) or self._rounded(id)
        hint = f"; did you mean {' or '.join(map(repr, near[:3]))}?" if near else ""
        return f"product {id!r} is not in the catalog{hint}"

    def summary(self) -> list[str]:
        """One sentence for each kind of change that led to matches."""
        return [f"product ids matched after {name}: {count:,}" for name, count in self.matched.items()]

    def _split(self, text: str) -> list[str]:
        """The ids of a text, the longest that the catalog has first; all of it if it can be read in two ways."""
        pieces = _SEPARATORS.split(text)
        parts, separators = pieces[::2], pieces[1::2]
        if not self._some_hold_separators:
            return parts
        ids, start = [], 0
        while start < len(parts):
            for end in range(min(len(parts), start + MAX_PARTS), start, -1):
                run = "".join(p + s for p, s in zip(parts[start:end], [*separators[start : end - 1], ""], strict=True))
                if end == start + 1 or run in self.known:
                    break
            if end > start + 1 and all(map(self.known.__contains__, parts[start:end])):
                return [text]
            ids.append(run)
            start = end
        return ids

    @cached_property
    def _some_hold_separators(self) -> bool:
        return any(_SEPARATORS.search(id) for id in self.known)

    def _index(self, number: int) -> dict[str, list[str]]:
        """The catalog's ids by what the changes up to a number make of them; after the last, by letters and digits."""
        if number not in self._indexes:
            index: dict[str, list[str]] = {}
            for id in self.known:
                index.setdefault(_changed(id, number) if number < len(CHANGES) else _letters(id), []).append(id)
            self._indexes[number] = index
        return self._indexes[number]

    def _rounded(self, id: str) -> list[str]:
        """The ids that scientific notation may have been rounded from."""
        if _no_exponent(id) == id or not (number := _NUMBER.fullmatch(id)):
            return []

        def rounded(id: str) -> str:
            return f"{float(id):.{len(number[1] or '')}e}"

        return sorted(other for other in self.known if other.isdecimal() and rounded(other) == rounded(id))


def _changed(id: str, number: int) -> str:
    for _, change in CHANGES[: number + 1]:
        id = change(id)
    return id


def _letters(id: str) -> str:
    return re.sub(r"[\W_]", "", id.casefold())
