"""Category paths as shops write them: "Apparel > Shirts", "Shoes/Boots", lists, several paths in one cell.

Of several paths the first is kept, extended where a later one goes on from it. A sign only splits where it is sure:
`>` and its kin always do; `|` does where the cell has none of those, else it separates paths, as `;` does. A comma
separates paths only before what is known to be a root of the column's paths, and a slash the parts of one only after a
root. So "Shoes/Boots" is split where "Shoes" begins other paths, and "24/7 wear" is one name. Where a path of the
column has two slashes with spaces around them, every such slash splits.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from moon2.catalog.importing.cells import as_list, from_text, to_words

Path: TypeAlias = tuple[str, ...]

_ARROW = re.compile(r"\s*(?:[-=]?>+|»|›|→|::|\\)\s*")
_BAR = re.compile(r"\s*\|\s*")
_SLASH = re.compile(r"\s*/\s*")
# "Lamps, Lights & Fans" is one name.
_LIST_IN_A_NAME = re.compile(r"\s(?:&|and|und|et|y|e|en|og|och|i|ve)\s", re.IGNORECASE)
_NAME_KEYS = ("name", "title", "label", "value")


class CategoryReader:
    """Reads the categories of one column, or of several columns from root to leaf.

    Args:
        columns: their names.
        separator: of the parts of a path, if it is known; "" splits nothing.
        rows: some rows of the table, which tell the roots of its paths.
    """

    def __init__(self, columns: Sequence[str], separator: str | None, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self.columns, self.separator = columns, separator
        self.roots: frozenset[str] = frozenset()
        self.has_spaced_slashes = False
        if len(columns) == 1 and separator is None:
            texts = [text for row in rows for text in _texts(row.get(columns[0]))]
            self.roots = _roots(texts)
            self.has_spaced_slashes = any(text.count(" / ") >= 2 for text in texts)
        self._path_of_text = lru_cache(maxsize=10_000)(self._path)  # many products share a category

    def read(self, row: Mapping[str, Any]) -> Path:
        """The path from root to leaf; () where there is none."""
        if len(self.columns) != 1:
            parts = [part for column in self.columns for part in _ARROW.split(to_words(row.get(column))) if part]
            return tuple(part for part, before in zip(parts, ["", *parts], strict=False) if part != before)
        cell = row.get(self.columns[0])
        return self._path_of_text(cell) if isinstance(cell, str) else self._path(cell)

    def _path(self, cell: Any) -> Path:
        paths = self._paths(cell)
        if not paths:
            return ()
        return max((path for path in paths if path[: len(paths[0])] == paths[0]), key=len)

    def _paths(self, cell: Any) -> list[Path]:
        if isinstance(cell, str):
            cell = from_text(cell)
        if isinstance(cell, Mapping):
            named = next((cell[key] for key in _NAME_KEYS if cell.get(key)), None)
            return self._paths(named if named is not None else list(cell.values()))
        if not isinstance(cell, (list, tuple)):
            return self._split(to_words(cell))
        paths = [path for item in as_list(cell) for path in self._paths(item)]
        is_one_path = all(len(path) == 1 for path in paths) and not any(isinstance(item, list) for item in cell)
        return [tuple(part for path in paths for part in path)] if paths and is_one_path else paths

    def _split(self, text: str) -> list[Path]:
        """The paths of one text."""
        if self.separator is not None:
            return _without_empty([text.split(self.separator) if self.separator else [text]])
        if _ARROW.search(text):
            pieces = re.split(r"\s*[|;\n]\s*", text)
            return _without_empty(_ARROW.split(path) for piece in pieces for path in self._at_commas(piece, _ARROW))
        if "|" in text:
            return _without_empty([_BAR.split(text)])
        pieces = re.split(r"\s*[;\n]\s*", text)
        paths = (path for piece in pieces for path in (self._at_commas(piece, _SLASH) if "/" in piece else [piece]))
        return _without_empty(map(self._at_slashes, paths))

    def _at_commas(self, text: str, sign: re.Pattern[str]) -> list[str]:
        paths: list[str] = []
        for piece in re.split(r",\s*", text):
            root, *rest = sign.split(piece.strip(), maxsplit=1)
            is_path = sign is _ARROW and rest and not _LIST_IN_A_NAME.search(root)
            if not paths or root.casefold() in self.roots or is_path:
                paths.append(piece)
            else:
                paths[-1] += f", {piece}"
        return paths

    def _at_slashes(self, text: str) -> list[str]:
        parts = _SLASH.split(text)
        if len(parts) > 1 and (not parts[0] or parts[0].casefold() in self.roots):
            return parts
        return text.split(" / ") if self.has_spaced_slashes else [text]


def _without_empty(paths: Iterable[Sequence[str]]) -> list[Path]:
    cleaned = (tuple(filter(None, map(to_words, path))) for path in paths)
    return [path for path in cleaned if path]


def _texts(cell: Any) -> list[str]:
    """The texts of a cell, one path or part each."""
    value = from_text(cell) if isinstance(cell, str) else cell
    if isinstance(value, str):
        return [to_words(value)]
    return [to_words(item) for item in as_list(value)[:1] if isinstance(item, str)]


def _roots(texts: Iterable[str]) -> frozenset[str]:
    """What the paths of a column begin with, in small letters.

    Sure are the beginnings of paths with sure signs, and of those with two slashes. "Shoes" in "Shoes/Boots" is a root
    too if it is a category of its own, or if paths go on from it in two ways.
    """
    roots: set[str] = set()
    ways: defaultdict[str, set[str]] = defaultdict(set)
    for text in texts:
        if _ARROW.search(text) or "|" in text:
            roots.add(re.split(r"[|;\n]", _ARROW.split(text.strip(" >»›→|"))[0])[0].strip().casefold())
        elif text:
            root, _, rest = text.casefold().strip("/ ").partition("/")
            ways[root.strip()].add(rest.strip())
    for root, rests in ways.items():
        if not root.isdigit() and (len(rests) > 1 or any("/" in rest for rest in rests)):
            roots.add(root)
    return frozenset(filter(None, roots))
