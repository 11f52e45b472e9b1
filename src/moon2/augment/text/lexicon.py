"""The word lists in `words/`, and how English words are compared.

A shop that does not sell fashion loses nothing: a word on no list is no entity, and attributes need no list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from importlib import resources


def load_words(name: str) -> dict[str, str]:
    """The entries of `words/NAME.txt`, each with the heading of its line, or "" where there is none.

    Blanks separate entries, `_` is a blank inside an entry, `#` begins a comment, and `heading: ` may begin a line.
    """
    table = {}
    for line in resources.files(__package__).joinpath(f"words/{name}.txt").read_text(encoding="utf-8").splitlines():
        heading, _, entries = line.partition("#")[0].rpartition(": ")
        table.update(dict.fromkeys((entry.replace("_", " ") for entry in entries.split()), heading))
    return table


def phrases_pattern(phrases: Iterable[str]) -> str:
    """A regular expression for the longest of these phrases; a blank may be a hyphen."""
    return "|".join(re.escape(phrase).replace(r"\ ", "[ -]") for phrase in sorted(phrases, key=len, reverse=True))


COLOURS, MATERIALS, PATTERNS, STYLES = map(load_words, ("colours", "materials", "patterns", "styles"))
GENDERS = load_words("genders")
"""Words for whom a product is meant, to one name each."""
UNITS = {word: heading or word for word, heading in load_words("units").items()}
"""Units as written, to one spelling each."""
ATTRIBUTE_KEYS = load_words("attribute_keys")
"""Attribute keys to the kind of entity their value is."""
EMPTY_VALUES = load_words("empty_values").keys() | {""}
FUNCTION_WORDS = load_words("function_words").keys()
NOUNS = load_words("nouns").keys()
BRANDS = load_words("brands").keys()
_NEVER = load_words("never")
NEVER = frozenset(word for word, heading in _NEVER.items() if heading != "but")
"""Words of advertising, address and command."""
IN_NAMES = frozenset(word for word, heading in _NEVER.items() if heading == "name")
"""Those of them that names are made of too ("My Little Pony")."""
HARMLESS = frozenset(phrase for phrase, heading in _NEVER.items() if heading == "but")
"""Phrases in which such a word means something else."""
KINDS = load_words("kinds")
"""What a product is called, to its family, and its member of the family if it has one: sneaker to "shoe sneaker"."""
PARTS = load_words("parts").keys()
_SIZES = load_words("sizes")
LETTER_SIZES, WORD_SIZES, SIZE_UNITS = (
    frozenset(word for word, kind in _SIZES.items() if kind == heading) for heading in ("letter", "phrase", "unit")
)

_PHRASES = [*COLOURS, *MATERIALS, *PATTERNS, *STYLES]
ALLOWED_WORDS = frozenset(
    [*FUNCTION_WORDS, *load_words("descriptive"), *NOUNS, *load_words("chinese"), *GENDERS]
    + [word for phrase in _PHRASES for word in phrase.split()]
) - {"century", "deco", "business", "art", "king", "queen"}
"""What an enriched title may say although the product's own text does not: a model sees the image, so it may say
"floral" where the shop does not. Any other word may be an invented brand, in any case and any alphabet."""
CHINESE = frozenset(word for word in [*ALLOWED_WORDS, *_PHRASES] if ord(word[0]) > 0x3000)
"""The Chinese ones, matched inside a run of characters without spaces."""


def is_allowed(word: str) -> bool:
    """Whether an enriched title may say a word without a source; so may it the plurals of listed nouns."""
    lower = word.casefold().strip("'").removesuffix("'s")
    parts = lower.split("-")
    return (
        lower in ALLOWED_WORDS
        or (lower.endswith("s") and singular(lower) in NOUNS)
        or (len(parts) > 1 and all(part in ALLOWED_WORDS or singular(part) in NOUNS for part in parts))
    )


@lru_cache(maxsize=65536)
def singular(word: str) -> str:
    """An English noun without its plural ending: dresses, dress; berries, berry; shoes, shoe; glass stays."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """What the inflections of an English word share, three letters at least: stripes, striped, stripe; buttoned."""
    if not word.isascii():
        return word
    word = singular(word.removesuffix("'s").rstrip("'"))
    for ending in ("ing", "ed", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 4 and word[-1] == word[-2] and word[-1] not in "sl" else word
