"""What shops usually call their columns in many languages, `usual_names.yaml`, and the columns found by it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

# Letters that Unicode does not take apart into a letter and an accent.
_LETTERS = str.maketrans("łøđı", "lodi") | {ord("æ"): "ae", ord("œ"): "oe"}
# "Preis (EUR)", "price_usd", "Preço R$".
_UNIT = re.compile(
    r"\(.*?\)|\[.*?\]|R\$|[$€£¥₺₹]|"
    r"\b(?:(?:in?|en|em) )?(?:eur|euro|usd|gbp|chf|pln|zł|brl|sek|nok|dkk|try|tl|jpy|cny|inr|aud|cad)\b",
    re.IGNORECASE,
)


class UsualNames:
    """Finds columns of a table by their usual names."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = list(columns)
        without_units = {plain_name(_UNIT.sub(" ", column.replace("_", " "))): column for column in reversed(columns)}
        self.by_name = {**without_units, **{plain_name(column): column for column in reversed(columns)}}

    def fill(self, mapping: object, names: Mapping[str, str]) -> dict[str, Any]:
        """Field → column, by its usual names where the mapping leaves it open."""
        given = {field: getattr(mapping, field) for field in names}
        return {field: self.find(names[field]) if column is None else column for field, column in given.items()}

    def find(self, names: str) -> str:
        """The column of the first of some plain names, separated by spaces, that is one; "" if none is."""
        return next((self.by_name[name] for name in names.split() if name in self.by_name), "")

    def find_every(self, names: str) -> list[str]:
        """The columns of all the names, in the order of the names."""
        return list(dict.fromkeys(self.by_name[name] for name in names.split() if name in self.by_name))

    def find_numbered(self, names: str) -> list[str]:
        """The columns called by one of the names and a number, such as "Image 2", in the order of the table."""
        plain = set(names.split())
        return [c for c in self.columns if (n := plain_name(c))[-1:].isdigit() and n.rstrip("0123456789") in plain]

    def find_all(self, names: Sequence[str]) -> tuple[str, ...]:
        """The columns of all the names; () if one is missing."""
        return tuple(self.by_name[name] for name in names) if all(name in self.by_name for name in names) else ()


def plain_name(column: str) -> str:
    """A column's name without case, accents, spaces and punctuation."""
    letters = unicodedata.normalize("NFKD", column).casefold().translate(_LETTERS)
    # Only Latin accents: in Japanese, the mark that makes が of か makes another word.
    return re.sub(r"[\W_]", "", re.sub("[\u0300-\u036f]", "", letters))


@cache
def usual_names(section: str) -> dict[str, str]:
    """Field → its plain names, separated by spaces; the first is the likeliest."""
    return {field: _joined(by_language.values()) for field, by_language in _table()[section].items()}


@cache
def all_usual_names() -> str:
    """The plain names of every field of products and logs, separated by spaces."""
    return " ".join(names for section in _table() for names in usual_names(section).values())


@cache
def attribute_names() -> dict[str, str]:
    """Plain name of a column → the attribute's name, for the languages other than English."""
    return {
        plain_name(name): attribute.replace(" ", "_")
        for attribute, by_language in _table()["attributes"].items()
        for language, names in by_language.items()
        for name in names
        if language != "en"
        and plain_name(name) not in usual_names("attributes")[attribute].split()[: len(by_language["en"])]
    }


def _joined(names: Iterable[Sequence[str]]) -> str:
    return " ".join(dict.fromkeys(plain_name(name) for several in names for name in several))


@cache
def _table() -> dict[str, dict[str, dict[str, list[str]]]]:
    text = files("moon2.catalog.importing").joinpath("usual_names.yaml").read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML was built with it
    table: dict[str, dict[str, dict[str, list[str]]]] = yaml.load(text, loader)
    return table
