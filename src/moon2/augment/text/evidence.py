"""What a product's own text gives evidence for: its words, numbers with their units, sizes and identifiers.

A title is cut into pieces that are compared as facts, not as characters: "1,299" is 1299, "XXL" is 2XL, "500ml" is 500
and ml, "T-shirt" is tshirt, "stripes" speaks for "striped". A number counts with its unit only: 8 GB is no evidence for
size 8. The text that is not to be trusted (see `cleaning`) is no evidence for anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from moon2.augment.text.entities import Entity, singular
from moon2.augment.text.entity_words import LETTER_SIZES, SIZE_SYSTEMS, UNITS
from moon2.augment.text.ordinary_words import ASIAN_WORDS, NOUNS, ORDINARY
from moon2.augment.text.sanitize import safe_text
from moon2.records import Product

PieceKind = Literal["word", "number", "size", "identifier"]

_PIECE = re.compile(r"[€$£¥₹%°]|\d+(?:[.,]\d+)*(?:\"|'')|\w+(?:[-'.,/+&]\w+)*'?")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_MEASURES = re.compile(r"(\d+(?:[.,]\d+)*(?:x\d+(?:[.,]\d+)*)*)-?([^\d\W]+|\"|''|°\w|%)?")
_CURRENCIES = frozenset("€$£¥₹")
_PARTS = re.compile(r"[-./+&,]")
_ASIAN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_PAIRS = frozenset(tuple(word.split("-")) for word in ORDINARY if word.count("-") == 1)
_SMALL = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty
"""
_LARGE = {"thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "dozen": 12, "hundred": 100, "thousand": 1000}
_NUMBER_WORDS = {word: value for value, word in enumerate(_SMALL.split())} | _LARGE


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of a title: what it claims, as keys that evidence must hold.

    Attributes:
        text: as written.
        start: first character in the plain text.
        end: the one after the last.
        kind: word, number, size or identifier.
        claims: keys; all of them need evidence. Words have none and are looked up by their letters.
    """

    text: str
    start: int
    end: int
    kind: PieceKind = "word"
    claims: tuple[tuple[str, str], ...] = ()


def pieces_of(text: str) -> list[Piece]:
    """The pieces of a text in plain form, in order; a number takes its unit or its size system along."""
    raw = [(match[0], match.start(), match.end()) for match in _PIECE.finditer(text)]
    pieces: list[Piece] = []
    here = 0
    while here < len(raw):
        piece, used = _read(text, raw, here)
        pieces.append(piece)
        here += used
    return pieces


def _read(text: str, raw: list[tuple[str, int, int]], here: int) -> tuple[Piece, int]:
    """The piece that starts here, and how many raw pieces it takes."""
    word, start, end = raw[here]
    lower = word.lower()
    following = raw[here + 1] if here + 1 < len(raw) else None
    near = following is not None and text[end : following[1]].strip(" :.") == ""
    if following is not None and near and lower.removesuffix("s") in SIZE_SYSTEMS | {"size"}:
        value = _size_value(following[0])
        if value is not None and (lower.startswith("size") or value.replace(".", "").isdecimal()):
            system = "size" if lower.startswith("size") else lower
            return Piece(text[start : following[2]], start, following[2], "size", ((system, value),)), 2
    if following is not None and near and UNITS.get(lower) in _CURRENCIES and _NUMBER.fullmatch(following[0]):
        claims = ((UNITS[lower], number(following[0])),)
        return Piece(text[start : following[2]], start, following[2], "number", claims), 2
    measures = _MEASURES.fullmatch(lower)
    if measures and (measures[2] is None or measures[2] in UNITS) and not _letter_size(word):
        values = [number(value) for value in measures[1].split("x")]
        unit, used = (UNITS[measures[2]] if measures[2] else ""), 1
        if not unit and following is not None and near and _is_unit(text, raw, here + 1):
            unit, end, used = UNITS[following[0].lower()], following[2], 2
        return Piece(text[start:end], start, end, "number", tuple((unit, value) for value in values)), used
    if _letter_size(word):
        return Piece(word, start, end, "size", (("letter", _size_value(word) or ""),)), 1
    if any(character.isdecimal() for character in word) and not word.isdecimal():
        return Piece(word, start, end, "identifier"), 1
    if lower in _NUMBER_WORDS:
        return Piece(word, start, end, "number", (("", str(_NUMBER_WORDS[lower])),)), 1
    return Piece(word, start, end), 1


def _is_unit(text: str, raw: list[tuple[str, int, int]], here: int) -> bool:
    """Whether a piece is a unit; "in" is one only where no word follows directly: "pack of 2 in blue" has none."""
    if raw[here][0].lower() not in UNITS:
        return False
    if raw[here][0].lower() != "in":
        return True
    return here + 1 == len(raw) or text[raw[here][2] : raw[here + 1][1]].strip() != ""


def _letter_size(word: str) -> bool:
    return word in LETTER_SIZES or (len(word) > 1 and word.upper() in LETTER_SIZES)


def _size_value(word: str) -> str | None:
    """A size in one spelling: XXL and 2XL are one, 8.0 and 8 too; a word size stands for itself."""
    upper = word.upper()
    if upper in LETTER_SIZES or re.fullmatch(r"X{2,6}[SL]", upper):
        crosses = upper.count("X")
        return f"{crosses}x{upper[-1].lower()}" if crosses > 1 and not upper[0].isdigit() else upper.lower()
    if _NUMBER.fullmatch(word):
        return number(word)
    return word.lower() if word.lower() in {"small", "medium", "large", "one", "free"} else None


def number(written: str) -> str:
    """A number in one spelling: 1,299 and 1299; 32.0 and 32; 2,5 and 2.5. Leading zeros stay, as identifiers have
    them."""
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", written):
        written = written.replace(",", "")
    written = written.replace(",", ".")
    if written.count(".") == 1:
        written = written.rstrip("0").rstrip(".")
    return written


@dataclass(slots=True)
class Evidence:
    """What may be said of one product, from its trusted text; `of` makes it.

    Attributes:
        words: words as written in lower case, their joined forms, and their stems.
        title_words: the words of the title alone.
        names: the words of brands, which may be anything.
        claims: numbers with units, sizes.
        identifiers: letters and digits together, without what joins them.
        phrases: all words in order, for phrases that count as a whole.
        asian: all text in scripts without spaces, for matching parts of it.
    """

    words: set[str] = field(default_factory=set)
    title_words: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    claims: set[tuple[str, str]] = field(default_factory=set)
    identifiers: set[str] = field(default_factory=set)
    phrases: str = ""
    asian: str = ""

    @classmethod
    def of(cls, product: Product, entities: Iterable[Entity] = ()) -> Evidence:
        evidence = cls()
        for text in _texts(product):
            evidence._add(text)
        if product.price is not None:
            evidence.claims.add(("", number(f"{product.price:.2f}")))
        evidence.title_words = set(_words(safe_text(product.title)))
        for entity in entities:
            if entity.kind == "brand":
                evidence.names.update(_words(safe_text(entity.value)))
        return evidence

    def _add(self, text: str) -> None:
        previous = ""
        for piece in pieces_of(text):
            self.claims.update(piece.claims)
            for unit, value in piece.claims:
                if unit in SIZE_SYSTEMS and value.replace(".", "").isdecimal():
                    self.claims.add(("size", value))
                if unit == "" and previous in UNITS:
                    self.claims.add((UNITS[previous], value))
                if unit in ("letter", "size"):
                    self.claims |= {("letter", value), ("size", value)}
            if piece.kind == "identifier":
                self.identifiers.update([_joined(piece.text), *map(str.lower, _PARTS.split(piece.text))])
            previous = piece.text.lower() if piece.kind == "word" else previous if ":" in text[: piece.end] else ""
        for word in _words(text):
            self.words |= {word, stem(word)}
        self.phrases += f" {' '.join(piece.text.casefold() for piece in pieces_of(text))} |"
        self.asian += "\n" + "\n".join(_ASIAN.findall(text))

    def has(self, piece: Piece) -> bool:
        """Whether the sources say this piece."""
        if piece.kind == "identifier":
            parts = [part for part in _PARTS.split(piece.text) if part]
            return _joined(piece.text) in self.identifiers or (
                len(parts) > 1 and all(self._has_part(part) for part in parts)
            )
        if piece.kind != "word":
            return all(claim in self.claims for claim in piece.claims) or (
                len(piece.claims) == 1
                and piece.text.lower() in self.words
                and piece.text.isalpha()
                and piece.kind == "number"
            )
        return self.has_word(piece.text)

    def has_phrase(self, words: Iterable[str]) -> bool:
        """Whether the sources say these words, which are in lower case, one after the other."""
        return f" {' '.join(words)} " in self.phrases

    def _has_part(self, part: str) -> bool:
        return all(self.has(piece) or is_ordinary(piece.text) for piece in pieces_of(part))

    def has_word(self, word: str) -> bool:
        """Whether the sources say a word, in this or another inflection."""
        lower = word.casefold().strip("'")
        if _ASIAN.search(lower):
            return all(self._covers(run) for run in _ASIAN.findall(lower)) and not re.search(
                r"[^\W\d_]", _ASIAN.sub("", lower)
            )
        if lower in self.words or _joined(lower) in self.words or stem(lower) in self.words:
            return True
        parts = [part for part in _PARTS.split(lower) if part]
        return len(parts) > 1 and all(
            part in self.words or stem(part) in self.words or is_ordinary(part) for part in parts
        )

    def _covers(self, run: str) -> bool:
        """Whether a run of characters is made of parts of the sources (two characters or more) and ordinary words."""
        reach = [True] + [False] * len(run)
        for start in range(len(run)):
            if reach[start]:
                for end in range(start + 1, len(run) + 1):
                    part = run[start:end]
                    reach[end] = reach[end] or part in ASIAN_WORDS or (len(part) > 1 and part in self.asian)
        return reach[-1]


def is_ordinary(word: str) -> bool:
    """Whether a word may stand in a title without evidence."""
    lower = word.casefold().strip("'").removesuffix("'s")
    if lower in ORDINARY or (
        lower != singular(lower) and singular(lower) in ORDINARY and lower[-1] == "s" and _is_noun(lower)
    ):
        return True
    parts = lower.split("-")
    return len(parts) > 1 and all(part in ORDINARY or _is_noun(part) for part in parts)


def are_ordinary(first: str, second: str) -> bool:
    """Whether two words are ordinary together, as in crew neck."""
    return (first.casefold(), singular(second.casefold())) in _PAIRS


def _is_noun(word: str) -> bool:
    return singular(word) in NOUNS


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """What the inflections of an English word share: stripes, striped, stripe; buttons, buttoned. At least three
    letters."""
    if not word.isascii():
        return word
    word = singular(word.removesuffix("'s").rstrip("'"))
    for ending in ("ing", "ed", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 4 and word[-1] == word[-2] and word[-1] not in "sl" else word


def _texts(product: Product) -> Iterator[str]:
    yield safe_text(product.title)
    yield safe_text(product.description)
    yield from map(safe_text, product.category)
    for key, value in product.attributes.items():
        yield f"{safe_text(key.replace('_', ' '))}: {safe_text(value)}"


def _words(text: str) -> Iterator[str]:
    for match in re.finditer(r"[^\W_]+(?:[-'./+&][^\W_]+)*", text.casefold()):
        word = match[0]
        yield word
        if not word.isalnum():
            yield _joined(word)
            yield from (part for part in _PARTS.split(word) if part)


def _joined(word: str) -> str:
    return "".join(character for character in word.casefold() if character.isalnum())
