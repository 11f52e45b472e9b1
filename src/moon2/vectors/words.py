"""Text as the words that keyword search compares: one home for what is searched and for what searches.

Case, width and accents are folded, so "Café" is "cafe". A code such as "GTX-3080" is found by its parts, by "gtx3080"
and by "gtx 3080"; "42mm" by "42 mm". A plural in -s is its singular. Chinese, Japanese, Korean, Thai, Lao, Khmer and
Burmese put no reliable spaces between words; they become single characters and pairs of neighbours.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from itertools import pairwise

import regex

LONGEST_KEPT = 32
"""Characters of a word whose forms are kept. Longer runs, and whole sentences without spaces, seldom come again."""
_UNSPACED = r"[[\p{Han}\p{Hiragana}\p{Katakana}ー\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]&&[\p{L}\p{M}\p{N}]]"
_LETTER = rf"[[\p{{L}}\p{{M}}]--{_UNSPACED}]"
_WORD = rf"[[\p{{L}}\p{{M}}\p{{N}}]--{_UNSPACED}]+"
# Dots, commas and slashes join digits only: "3.5" is one number, "red/blue" is two words.
_JOINER = r"(?:[-‐‑'’_&]|(?<=\p{N})[.,/](?=\p{N}))"
_RUN = regex.compile(rf"{_UNSPACED}+|{_WORD}(?:{_JOINER}{_WORD})*", regex.V1)
_PART = regex.compile(rf"{_LETTER}+|\p{{N}}+(?:[.,/]\p{{N}}+)*", regex.V1)
_IS_UNSPACED = regex.compile(_UNSPACED, regex.V1)
# Of Latin, Greek and Cyrillic. What Thai vowels and Japanese voicing are written with is not among them.
_ACCENTS = regex.compile("[\u0300-\u036f]")


def words(text: str) -> list[str]:
    """The words of a text in order, each form that it may be asked for; a word that comes twice is twice there.

    >>> words("Men's T-Shirts, 42mm")
    ['men', 't', 'shirt', 'tshirt', '42', 'mm', '42mm']
    """
    found: list[str] = []
    for run in _RUN.findall(_folded(text)):
        found += _forms(run)
    return found


def same_text(text: str) -> str:
    """What two titles or ids have in common that differ in case, width, accents and spacing only."""
    return " ".join(_folded(text).split())


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text).casefold())
    return unicodedata.normalize("NFC", _ACCENTS.sub("", decomposed))


def _forms(run: str) -> tuple[str, ...]:
    if not run.isascii() and _IS_UNSPACED.match(run):
        characters = regex.findall(r"\X", run)
        return (*characters, *(first + second for first, second in pairwise(characters)))
    return _kept_forms(run) if len(run) <= LONGEST_KEPT else _spaced_forms(run)


def _spaced_forms(run: str) -> tuple[str, ...]:
    parts = _PART.findall(run)
    if len(parts) == 1:
        return (_singular(parts[0]),)
    # What an apostrophe leaves over, as of "men's", is no word.
    kept = [part for number, part in enumerate(parts) if not number or part not in ("s", "t")]
    return tuple(dict.fromkeys(map(_singular, [*kept, "".join(parts)])))


_kept_forms = lru_cache(maxsize=100_000)(_spaced_forms)


def _singular(word: str) -> str:
    """Without the -s of a plural (the S stemmer: Harman, JASIS 1991, with the English -es)."""
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    return word[:-2] if word.endswith(("sses", "xes", "zes", "ches", "shes")) else word[:-1]
