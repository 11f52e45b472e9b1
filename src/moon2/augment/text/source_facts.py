"""What a product's own text states: words, numbers with units, sizes, identifiers.

A text is cut into pieces that are compared as facts, not as characters: "1,299" is 1299, "XXL" is 2XL, "500ml" is 500
and ml, "T-shirt" is tshirt, "stripes" supports "striped". A number counts with its unit only: 8 GB is no size 8.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from moon2.augment.text.entities import Entity
from moon2.augment.text.lexicon import CHINESE, UNITS, is_allowed, load_words, stem
from moon2.augment.text.sanitize import CleanProduct

_UNITS = "|".join(re.escape(unit) for unit in sorted(UNITS.keys() - {"in"}, key=len, reverse=True))
_LETTER_SIZE = r"(?:\d|X{0,5})X[SL]|(?-i:[SML])"
_NUMBER = r"\d+(?:[.,]\d+){0,3}"
_ALONE = r"(?![-'./+&]?\w)"
_PIECE = re.compile(
    rf"\b(?P<system>sizes?|uk|us|eur?|fr|it|jp|ind)[ :.]*(?P<value>{_NUMBER}|{_LETTER_SIZE}|small|medium|large){_ALONE}"
    rf"|(?P<number>{_NUMBER})(?:[ -]?(?P<unit>{_UNITS}|in(?!\s+\w)))?{_ALONE}"
    rf"|(?P<letter>{_LETTER_SIZE}){_ALONE}"
    r"|(?P<word>\w+(?:[-'./+&]\w+)*'?)",
    re.IGNORECASE,
)
_JOINS = re.compile(r"[-'./+&]")
_ASIAN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_NUMBER_WORDS = list(load_words("numbers"))


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of a text.

    Attributes:
        text: as written.
        start, end: its first character, and the one after its last.
        fact: what a number with its unit, a size or an identifier states, in one spelling; "" for a word.
    """

    text: str
    start: int
    end: int
    fact: str


def pieces_of(text: str) -> Iterator[Piece]:
    """The pieces of a plain text, in order."""
    for match in _PIECE.finditer(text):
        system, value, number, unit, letter, word = match.groups()
        fact = ""
        if system:
            is_system = value[0].isdecimal() and not system.lower().startswith("size")
            fact = f"{system.lower() if is_system else 'size'} {_size(value)}"
        elif number:
            fact = f"{_number(number)} {UNITS[unit.lower()] if unit else ''}"
        elif letter:
            fact = f"size {_size(letter)}"
        elif word.lower() in _NUMBER_WORDS:
            fact = f"{_NUMBER_WORDS.index(word.lower())} "
        elif any(map(str.isdecimal, word)):
            fact = joined(word)
        yield Piece(match[0], *match.span(), fact)


def _number(written: str) -> str:
    """1,299 and 1299 are one; 32.0 and 32; 2,5 and 2.5. Leading zeros stay, as identifiers have them."""
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", written):
        written = written.replace(",", "")
    written = written.replace(",", ".")
    return written.rstrip("0").rstrip(".") if written.count(".") == 1 else written


def _size(written: str) -> str:
    """XXL and 2XL are one, 8.0 and 8 too."""
    crosses = re.match("XX+", written, re.IGNORECASE)
    return _number(written).lower() if crosses is None else f"{len(crosses[0])}x{written[-1].lower()}"


class SourceFacts:
    """What may be said of one product, from its own text.

    Attributes:
        words: its words without what joins their parts, the parts, and the stems of both.
        title_words: the same of the title, without stems.
        brand_words: the same of brands, which may be any words.
    """

    def __init__(self, product: CleanProduct, entities: Iterable[Entity]) -> None:
        attributes = (f"{key.replace('_', ' ')}: {value}" for key, value in product.attributes.items())
        # Alone too: "size: 50 x 70 cm" is no size 50.
        values = [value for value in product.attributes.values() if value[:1].isdecimal()]
        text = "\n".join([product.title, product.description, *product.category, *attributes, *values])
        words = _words(text)
        self.words = words | set(map(stem, words))
        self.title_words = _words(product.title)
        self.brand_words = {word for entity in entities if entity.kind == "brand" for word in _words(entity.value)}
        self._facts = {piece.fact for piece in pieces_of(text)} | words
        self._text = text.casefold()
        self._asian = "\n".join(_ASIAN.findall(text))

    def has(self, piece: Piece) -> bool:
        """Whether the sources say this, a word also in another inflection."""
        if piece.fact:
            return piece.fact in self._facts
        if _ASIAN.search(piece.text):
            return all(map(self._has_asian, re.findall(r"[^\W\d_]+", piece.text)))
        word, parts = joined(piece.text), _JOINS.split(piece.text.casefold())
        return self._has_word(word) or (
            len(parts) > 1 and all(self._has_word(part) or is_allowed(part) for part in parts if part)
        )

    def has_phrase(self, words: Iterable[str]) -> bool:
        """Whether the sources say these words, which are in lower case, one after the other."""
        return re.search(rf"(?<!\w){re.escape(' '.join(words))}(?!\w)", self._text) is not None

    def _has_word(self, word: str) -> bool:
        return word in self.words or stem(word) in self.words

    def _has_asian(self, run: str) -> bool:
        """Whether letters without blanks are made of parts of the sources (two at least) and allowed words."""
        reached = {0}
        for start in range(len(run)):
            if start in reached:
                ends = range(start + 1, len(run) + 1)
                reached |= {end for end in ends if run[start:end] in CHINESE}
                reached |= {end for end in ends if end > start + 1 and run[start:end] in self._asian}
        return len(run) in reached


def _words(text: str) -> set[str]:
    words = re.findall(r"\w+(?:[-'./+&]\w+)*", text.casefold())
    return {part for word in words for part in (joined(word), *_JOINS.split(word))}


def joined(word: str) -> str:
    """Its letters and digits, in lower case: T-shirt and tshirt are one."""
    return "".join(filter(str.isalnum, word.casefold()))
