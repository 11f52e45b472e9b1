"""What a title must not say against the product's own data: for whom it is, and what it is.

A man's shoe never becomes a woman's, and a shirt dress stays a dress. Where the shop says nothing, nothing contradicts.
Kinds are compared by the head of a title: of "shirt dress with pockets" it is "dress".
"""

from __future__ import annotations

import itertools
import re

from moon2.augment.text.lexicon import (
    ATTRIBUTE_KEYS,
    COLOURS,
    FUNCTION_WORDS,
    GENDERS,
    KINDS,
    MATERIALS,
    NOUNS,
    PATTERNS,
    STYLES,
    is_allowed,
    singular,
)
from moon2.augment.text.sanitize import CleanProduct

_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*'?")
_END = re.compile(r"[,;:|()\[\]/]|\s-+\s|\.\s")


def gender_of(word: str) -> str:
    """The one name of whom a word means, such as "women" for "Ladies'"; "" for any other word."""
    word = word.casefold()
    return GENDERS.get(word, "") or GENDERS.get(word.strip("'"), "")


def stated_genders(product: CleanProduct) -> set[str]:
    """For whom the shop says that a product is: by its title, category and attributes."""
    values = [value for key, value in product.attributes.items() if _kind_of_key(key) == "gender"]
    texts = [*values, product.title, *product.category]
    found = {gender for text in texts for word in _WORD.findall(text) if (gender := gender_of(word))}
    whole = {GENDERS.get(" ".join(_WORD.findall(value.casefold())).replace("-", " "), "") for value in values}
    return (found | whole) - {""}


def may_say_gender(gender: str, stated: set[str]) -> bool:
    """Whether a title may name this gender where the shop named those; a shop that names none leaves it open."""
    if not stated:
        return True
    if gender in stated:
        return True
    if gender == "unisex":
        return {"men", "women"} <= stated
    if gender == "kids":
        return bool(stated & {"boys", "girls", "baby"})
    return False


def kind_words(text: str) -> list[tuple[str, str]]:
    """The words of a text that name a kind of product, in order: (as written, "family member")."""
    words = _WORD.findall(text)
    pairs = [f"{first} {second}" for first, second in itertools.pairwise(words)]
    return [(word, kind) for word in (*pairs, *words) if (kind := _kind_of(word))]


def head_kind(text: str) -> str:
    """The "family member" of what a title names, by the last kind before a comma or function word; "" if unknown.

    Other nouns after a kind are what the title names ("shirt collar", "ring binder"): the kind before them counts.
    """
    for part in _END.split(text):
        kinds: list[str] = []
        words = _WORD.findall(part)
        for number, word in enumerate(words):
            if word.casefold() in FUNCTION_WORDS:
                if kinds:
                    break
            elif kind := _kind_of(word) or _kind_of(f"{words[number - 1]} {word}" if number else ""):
                kinds.append(kind)
            elif kinds and _kind_of(words[number - 1]) and (_is_noun(word) or not _may_follow(word)):
                kinds.pop()
        if kinds:
            return kinds[-1]
    return ""


def _kind_of(word: str) -> str:
    word = word.casefold()
    return KINDS.get(word, "") or KINDS.get(singular(word), "")


def _is_noun(word: str) -> bool:
    word = word.casefold()
    described = word in COLOURS or word in PATTERNS or word in MATERIALS or word in STYLES or gender_of(word)
    return not described and (word in NOUNS or singular(word) in NOUNS)


def _may_follow(word: str) -> bool:
    """Whether a word after a noun may describe it, or be a name: "mug spotted", "boots Norvik", "drill GSR 12V"."""
    return is_allowed(word) or word[0].isupper() or any(map(str.isdecimal, word))


def contradicted_kind(title: str, product: CleanProduct) -> str:
    """Why a title names another kind of product than the shop does, in a few words; "" where it does not."""
    said = head_kind(title)
    types = [value for key, value in product.attributes.items() if _kind_of_key(key) == "type"]
    by_title = head_kind(product.title)
    sources = (
        [by_title] if by_title else [head for text in (*product.category[-1:], *types) if (head := head_kind(text))]
    )
    if not said or not sources or any(_agree(said, source) for source in sources):
        return ""
    return f"it names a {said.split()[-1]}, the shop a {sources[0].split()[-1]}"


def _agree(first: str, second: str) -> bool:
    """Whether two kinds are the same, or one is the family of the other."""
    families = first.split()[0], second.split()[0]
    return first == second or (families[0] == families[1] and (first in families or second in families))


def _kind_of_key(key: str) -> str:
    return ATTRIBUTE_KEYS.get(re.sub("[_-]", " ", key.lower()).strip(), "")
