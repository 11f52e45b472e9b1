"""Grounding: a model's title keeps what the product's own text or the allowed words support, and loses the rest.

A model invents model numbers, brands and sizes, and a stranger's description may tell it to advertise. Nobody can list
all names, so this is a whitelist: every word must be in the sources (also inflected) or be an allowed word
(`lexicon.ALLOWED_WORDS`); every number with its unit, every size and every identifier must be in the sources. A title
that lost a true word costs less than one with a false brand. One thing passes: a brand made of allowed words alone, in
a title that capitalises every word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import dropwhile

from moon2.augment.text.contradictions import contradicted_kind, gender_of, may_say_gender, stated_genders
from moon2.augment.text.entities import Entity
from moon2.augment.text.lexicon import BRANDS, FUNCTION_WORDS, WORD_SIZES, is_allowed
from moon2.augment.text.sanitize import CleanProduct, plain
from moon2.augment.text.source_facts import Piece, SourceFacts, joined, pieces_of
from moon2.augment.text.wording import advertising, as_printed, tidy, without_boilerplate, without_repeats

MAX_CHARACTERS = 300
MAX_WORDS = 50
_BOUNDARY = re.compile(r"[,;:|()\[\]{}/•·!?]|\s-+\s|\.\s")
_WHOLE_PHRASES = [phrase.split() for phrase in (*BRANDS, *WORD_SIZES)]
"""Names and sizes whose words are allowed one by one, but together need a source."""


@dataclass(frozen=True, slots=True)
class Grounded:
    """A title that may be used, or why it may not.

    Attributes:
        text: one line of plain text; None when the title is rejected.
        removed: what was taken out, as the model wrote it; of a rejected title, what no source has.
        reason: of a rejection, "code: one line": `empty`, `many_lines`, `too_long`,
            `contradiction`, `not_grounded`, `nothing_to_add`.
    """

    text: str | None
    removed: tuple[str, ...] = ()
    reason: str = ""


def ground(text: str, product: CleanProduct, entities: Iterable[Entity]) -> Grounded:
    """Takes out of a model's title what nothing supports, or rejects it.

    Args:
        text: the title that the model wrote.
        product: whose title it shall become; its text is the source.
        entities: of the product; the words of its brands may be anything.
    """
    if len(text.strip().splitlines()) > 1:
        return Grounded(None, (), "many_lines: a title is one line")
    brand = " ".join(entity.value for entity in entities if entity.kind == "brand")
    title = without_boilerplate(plain(text), brand)
    if len(title) > MAX_CHARACTERS or len(title.split()) > MAX_WORDS:
        return Grounded(None, (), f"too_long: {len(title)} characters, at most {MAX_CHARACTERS} and {MAX_WORDS} words")
    title = without_repeats(title)
    if contradiction := contradicted_kind(title, product):
        return Grounded(None, (), f"contradiction: {contradiction}")
    facts = SourceFacts(product, entities)
    pieces = list(pieces_of(title))
    unsupported = _unsupported(title, pieces, facts, product)
    removed = tuple(pieces[number].text for number in sorted(unsupported))
    remaining = [
        number for phrase in _phrases(title, pieces) for number in _rest_of(phrase, pieces, unsupported, facts)
    ]
    if removed:  # "with" and its like begin no title
        remaining = list(dropwhile(lambda number: _joins(pieces[number]), remaining))
    content = [pieces[number] for number in remaining if not _joins(pieces[number])]
    if not content and not removed:
        return Grounded(None, (), "empty: the title has no words")
    unrelated = bool(facts.words) and not any(map(facts.has, content))
    if removed and (len(content) < 2 or len(unsupported) > len(content) or unrelated):
        words = ", ".join(repr(word[:40]) for word in removed[:5])
        return Grounded(None, removed, f"not_grounded: no source has {words}, and too little is left without")
    if facts.title_words and all(joined(piece.text) in facts.title_words for piece in content):
        return Grounded(None, removed, "nothing_to_add: the title says no more than the product's own")
    brand_words = {word for entity in entities if entity.kind == "brand" for word in entity.value.split()}
    return Grounded(as_printed(tidy(_assemble(title, pieces, remaining)), brand_words), removed)


def _unsupported(title: str, pieces: list[Piece], facts: SourceFacts, product: CleanProduct) -> set[int]:
    """The numbers of the pieces that nothing supports."""
    words = [piece.text.casefold() for piece in pieces]
    names = _names(title, pieces)
    stated = stated_genders(product)
    unsupported = {
        number
        for number, piece in enumerate(pieces)
        if not (facts.has(piece) or _joins(piece) or (not piece.fact and is_allowed(piece.text)))
        or (number in names and not facts.has(piece))
        or not _may_mean(piece.text, stated)
    } | advertising(words, facts.brand_words, [piece.text.casefold() for piece in pieces_of(product.title)])
    for phrase in _WHOLE_PHRASES:
        for start in range(len(words) - len(phrase) + 1):
            if words[start : start + len(phrase)] == phrase and not facts.has_phrase(phrase):
                unsupported |= set(range(start, start + len(phrase)))
    # "Camel" of "Camel Active": both halves of a name have capitals.
    pairs = [(first, first + 1) for first in range(len(pieces) - 1) if {first, first + 1} & unsupported]
    halves = {number for pair in pairs if _is_one_name(title, *(pieces[half] for half in pair)) for number in pair}
    return unsupported | {number for number in halves if not facts.has(pieces[number])}


def _is_one_name(title: str, before: Piece, after: Piece) -> bool:
    words = not before.fact and not after.fact and title[before.end : after.start] == " "
    return words and before.text[0].isupper() and after.text[0].isupper()


def _names(title: str, pieces: list[Piece]) -> set[int]:
    """Words with a capital in the middle of a sentence; none where the title capitalises most words."""
    words = [number for number, piece in enumerate(pieces) if number and not piece.fact and not _joins(piece)]
    capitals = {number for number in words if pieces[number].text[0].isupper()}
    if len(capitals) > 0.6 * len(words):
        return set()
    return {number for number in capitals if title[: pieces[number].start].rstrip()[-1] not in ".:!?"}


def _phrases(title: str, pieces: list[Piece]) -> list[list[int]]:
    """The numbers of the pieces, cut at punctuation and before function words."""
    phrases: list[list[int]] = []
    for number, piece in enumerate(pieces):
        gap = title[pieces[number - 1].end : piece.start] if number else ","
        if _BOUNDARY.search(gap) or (_joins(piece) and not _joins(pieces[number - 1])):
            phrases.append([])
        phrases[-1].append(number)
    return phrases


def _rest_of(phrase: list[int], pieces: list[Piece], unsupported: set[int], facts: SourceFacts) -> list[int]:
    """What stays of a phrase: nothing if its last word goes, or if a single word stays that no source has.

    The first phrase of a title names the product, and loses its unsupported words only.
    """
    content = [number for number in phrase if not _joins(pieces[number])]
    good = [number for number in content if number not in unsupported]
    loses_head = bool(content) and content[-1] in unsupported and not pieces[content[-1]].fact
    lone = len(good) == 1 < len(content) and not facts.has(pieces[good[0]])
    if not good or (phrase[0] and (loses_head or lone)):
        return []
    return [number for number in phrase if number not in unsupported]


def _assemble(title: str, pieces: list[Piece], remaining: list[int]) -> str:
    """The remaining pieces with the punctuation between them."""
    text = ""
    for before, number in zip([None, *remaining], remaining, strict=False):
        if before is not None:
            gap = title[pieces[before].end : pieces[number].start]
            text += gap if number == before + 1 else ", " if _BOUNDARY.search(gap) else " "
        text += pieces[number].text
    return re.sub(r"\s*[(\[{](?=[^)\]}]*$)", " ", text)


def _may_mean(word: str, stated: set[str]) -> bool:
    """Whether a word names nobody, or somebody for whom the shop says that the product is."""
    gender = gender_of(word)
    return not gender or may_say_gender(gender, stated)


def _joins(piece: Piece) -> bool:
    return piece.text.lower() in FUNCTION_WORDS
