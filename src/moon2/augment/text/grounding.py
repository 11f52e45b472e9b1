"""Grounding: a model's title keeps what the product's own text or an ordinary word list supports, and loses the rest.

A model invents model numbers, brands and sizes, and a stranger's description may tell it to advertise. Nobody can list
all names, so the rule runs the other way: every word must be in the sources (also inflected) or be an ordinary word of
description (`ordinary_words`); every number, with its unit, every size and every identifier must be in the sources.
What is not is taken out together with the words that hang on it; where too little would remain, the title is rejected.
Conservative by intent: a title that lost a true word costs less than one that gained a false brand. What cannot be told
apart: a brand made of listed words alone, in a title that capitalises every word.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from moon2.augment.prompts import load_prompts
from moon2.augment.text.entities import Entity
from moon2.augment.text.entity_words import WORD_SIZES
from moon2.augment.text.evidence import Evidence, Piece, are_ordinary, is_ordinary, pieces_of
from moon2.augment.text.ordinary_words import FUNCTION_WORDS, KNOWN_BRANDS, NEVER
from moon2.augment.text.sanitize import has_instruction, plain, unsafe_spans
from moon2.records import Product

MAX_CHARACTERS = 300
MAX_WORDS = 50
COPIED_WORDS = 7
"""So many words of the prompt in a row are a copy of it; rules of a prompt share shorter runs with honest titles."""
LONGEST_NUMBER = 9
"""Digits in a row from which on a number is a telephone number or a bar code, which no title needs."""

_REFUSAL = re.compile(
    r"^\W*(?:sorry|i(?:'m| am| can| cannot| will| do|'ve| have)\b|as an? (?:ai|language)|unable to"
    r"|cannot\b|can't\b|no (?:title|answer|product|information)\b"
    r"|n/?a\W*$|none\W*$|null\W*$|unknown\W*$|sure\b|certainly\b|of course\b|here(?:'s| is| are)\b|okay\b"
    r"|ok,|understood\b|error\b|抱歉|对不起|我无法)"
    r"|\b(?:i cannot|i can't|i'm sorry|i am sorry|i apologi[sz]e|language model|not able to"
    r"|cannot (?:assist|help|comply|provide))\b",
    re.IGNORECASE,
)
_LABEL = re.compile(r"^\s*(?:enriched |rich(?:er)? |product |new )?title\s*:\s*", re.IGNORECASE)
_WHOLE_PHRASES = KNOWN_BRANDS | WORD_SIZES
_BOUNDARY = re.compile(r"[,;:|()\[\]{}/•·!?]|\s-+\s|\.\s")
_MAKER = frozenset(["by", "from"])


@dataclass(frozen=True, slots=True)
class Grounded:
    """A title that may be used, or why it may not.

    Attributes:
        text: one line of plain text; None when the title is rejected.
        removed: what was taken out, as the model wrote it; for a rejected title, what spoke against it.
        reason: "" when nothing was removed, "removed: …", or the code and line of the rejection: `empty`, `many_lines`,
            `too_long`, `refusal`, `instruction`, `copied_prompt`, `not_grounded`, `nothing_to_add`.
    """

    text: str | None
    removed: tuple[str, ...] = ()
    reason: str = ""


def ground(text: str | None, product: Product, entities: Iterable[Entity], prompt: str = "") -> Grounded:
    """Takes out of a model's title what nothing supports, or rejects it.

    Args:
        text: what the model answered, as the title alone (not the JSON around it).
        product: whose title it shall become; its text is the evidence.
        entities: of the product; the words of its brands may be anything.
        prompt: what the model was asked with, when it is not moon2's own prompt.
    """
    refused = _refuse(text, prompt)
    if refused is not None or text is None:
        return refused or Grounded(None, (), "empty: the model answered nothing")
    title = _LABEL.sub("", plain(text).strip("\"'` ")).strip("\"'` ")
    evidence = Evidence.of(product, entities)
    title, cut = _cut_unsafe(title)
    pieces = pieces_of(title)
    bad = _unsupported(title, pieces, evidence)
    removed = (*cut, *(pieces[number].text for number in sorted(bad)))
    kept = _whole_phrases(title, pieces, bad, evidence)
    if removed and _is_broken(pieces, kept, bad, evidence):
        return Grounded(None, removed, f"not_grounded: {_some(removed)} in no source, and too little is left without")
    grounded = _assemble(title, pieces, kept)
    remaining = [piece for piece in pieces_of(grounded) if piece.text.lower() not in FUNCTION_WORDS]
    if not remaining:
        return Grounded(None, removed, "empty: the title has no words")
    if evidence.title_words and all(piece.text.lower() in evidence.title_words for piece in remaining):
        return Grounded(None, removed, "nothing_to_add: the title says no more than the product's own")
    return Grounded(grounded, removed, f"removed: {_some(removed)}" if removed else "")


def _refuse(text: str | None, prompt: str) -> Grounded | None:
    """What is wrong with the answer as a whole."""
    if text is None or not plain(text):
        return Grounded(None, (), "empty: the model answered nothing")
    line = plain(text)
    if len(text.strip().splitlines()) > 1:
        return Grounded(None, (), "many_lines: a title is one line")
    if len(line) > MAX_CHARACTERS or len(line.split()) > MAX_WORDS:
        return Grounded(None, (), f"too_long: {len(line)} characters, at most {MAX_CHARACTERS} and {MAX_WORDS} words")
    if _REFUSAL.search(line):
        return Grounded(None, (), f"refusal: {line[:60]!r} is no title")
    if has_instruction(text):
        return Grounded(None, (), f"instruction: {line[:60]!r} speaks to a model or plays a role")
    shared = _runs(line) & (_runs(prompt) if prompt else _own_prompt_runs())
    if shared:
        return Grounded(None, (), f"copied_prompt: repeats {min(shared)!r}")
    return None


@functools.cache
def _own_prompt_runs() -> frozenset[str]:
    return _runs(load_prompts().enrich.text)


def _runs(text: str) -> frozenset[str]:
    words = re.findall(r"\w+", text.lower())
    return frozenset(" ".join(words[here : here + COPIED_WORDS]) for here in range(len(words) - COPIED_WORDS + 1))


def _cut_unsafe(title: str) -> tuple[str, list[str]]:
    """The title without addresses, markup and advertising, and what they were."""
    cut = []
    for start, end in reversed(unsafe_spans(title)):
        cut.append(title[start:end])
        title = f"{title[:start]} {title[end:]}"
    return plain(title), [piece.strip() for piece in reversed(cut) if re.search(r"\w", piece)]


def _unsupported(title: str, pieces: list[Piece], evidence: Evidence) -> set[int]:
    """Which pieces nothing supports."""
    words = [piece.text.casefold() for piece in pieces]
    shouts = _capitals_mean_nothing(pieces)
    bad = {
        number
        for number, piece in enumerate(pieces)
        if not _supported(piece, evidence, number, words)
        or (number and not shouts and _is_name(title, piece) and not evidence.has(piece))
        or (words[number] in NEVER and words[number] not in evidence.names)
        or len(re.sub(r"\D", "", piece.text)) >= LONGEST_NUMBER
    }
    for phrase in _WHOLE_PHRASES:
        name = phrase.split()
        for here in range(len(words) - len(name) + 1):
            if words[here : here + len(name)] == name and not evidence.has_phrase(name):
                bad |= set(range(here, here + len(name)))
    for number in range(len(pieces) - 1):
        # A maker is named, not described: after "by" ordinary words are no better than unknown ones.
        if words[number] in _MAKER and not evidence.has(pieces[number + 1]):
            bad.add(number + 1)
    return bad | {beside for number in bad for beside in _rest_of_name(title, pieces, number, evidence)}


def _rest_of_name(title: str, pieces: list[Piece], number: int, evidence: Evidence) -> Iterator[int]:
    """Capitalised words beside an unsupported name that nothing supports either: "Camel" of "Camel Active"."""
    for beside in (number - 1, number + 1):
        if 0 <= beside < len(pieces) and pieces[number].kind == "word":
            first, second = sorted((pieces[number], pieces[beside]), key=lambda piece: piece.start)
            together = title[first.end : second.start] == " " and first.text[0].isupper() and second.text[0].isupper()
            if together and pieces[beside].kind == "word" and not evidence.has(pieces[beside]):
                yield beside


def _supported(piece: Piece, evidence: Evidence, number: int, words: list[str]) -> bool:
    if evidence.has(piece) or piece.text.lower() in FUNCTION_WORDS:
        return True
    if piece.kind != "word":
        return False
    before = words[number - 1] if number else ""
    after = words[number + 1] if number + 1 < len(words) else ""
    return is_ordinary(piece.text) or are_ordinary(before, piece.text) or are_ordinary(piece.text, after)


def _capitals_mean_nothing(pieces: list[Piece]) -> bool:
    """Whether the title capitalises ordinary words throughout, so that a capital marks no name."""
    words = [piece.text for piece in pieces[1:] if piece.kind == "word" and piece.text.lower() not in FUNCTION_WORDS]
    return sum(word[0].isupper() for word in words) > 0.6 * len(words)


def _is_name(title: str, piece: Piece) -> bool:
    """Whether a capital in the middle of a sentence marks this word as a name."""
    before = title[: piece.start].rstrip()
    return (
        piece.text[0].isupper()
        and piece.text.lower() not in FUNCTION_WORDS
        and not before.endswith((".", ":", "!", "?"))
    )


def _segments(title: str, pieces: list[Piece]) -> list[list[int]]:
    """Numbers of the pieces, cut where a phrase ends: before a function word, and at punctuation."""
    segments: list[list[int]] = []
    for number, piece in enumerate(pieces):
        gap = title[pieces[number - 1].end : piece.start] if number else ","
        if number == 0 or _BOUNDARY.search(gap) or piece.text.lower() in FUNCTION_WORDS:
            segments.append([])
        segments[-1].append(number)
    return segments


def _whole_phrases(title: str, pieces: list[Piece], bad: set[int], evidence: Evidence) -> set[int]:
    """What stays when the unsupported goes.

    A later phrase that loses its last word, on which the others hang, goes as a whole; so does one of which a single
    unsupported word would be left.
    """
    kept: set[int] = set()
    for order, segment in enumerate(_segments(title, pieces)):
        content = [number for number in segment if pieces[number].text.lower() not in FUNCTION_WORDS]
        good = [number for number in content if number not in bad]
        beheaded = bool(content) and content[-1] in bad and pieces[content[-1]].kind == "word"
        lone = 0 < len(good) < len(content) and len(good) == 1 and not evidence.has(pieces[good[0]])
        if content and (not good or (order and (beheaded or lone))):
            continue
        kept.update(number for number in segment if number not in bad)
    return kept


def _is_broken(pieces: list[Piece], kept: set[int], bad: set[int], evidence: Evidence) -> bool:
    """Whether what remains of a title is too little to be trusted or understood."""
    content = {number for number, piece in enumerate(pieces) if piece.text.lower() not in FUNCTION_WORDS}
    remaining = content & kept
    if len(bad) > 0.5 * len(content) or (len(bad) > 2 and len(bad) > 0.4 * len(content)) or len(remaining) < 2:
        return True
    return bool(evidence.words) and not any(evidence.has(pieces[number]) for number in remaining)


def _assemble(title: str, pieces: list[Piece], kept: set[int]) -> str:
    """The kept pieces with the punctuation between them, without function words that nothing follows."""
    numbers = _without_dangling(title, pieces, sorted(kept))
    text = ""
    for place, number in enumerate(numbers):
        piece = pieces[number]
        if place:
            gap = title[pieces[numbers[place - 1]].end : piece.start]
            whole = number == numbers[place - 1] + 1
            text += gap if whole else ", " if _BOUNDARY.search(gap) else " "
        text += title[piece.start : piece.end]
    return re.sub(r"\s*[(\[{](?=[^)\]}]*$)", " ", re.sub(r"\s+", " ", text)).strip(" ,;:-|/")


def _without_dangling(title: str, pieces: list[Piece], numbers: list[int]) -> list[int]:
    """Leaves out function words before a boundary, before another that lost its word, and at the ends."""
    result: list[int] = []
    for place, number in enumerate(numbers):
        following = numbers[place + 1] if place + 1 < len(numbers) else None
        if pieces[number].text.lower() in FUNCTION_WORDS:
            gap = title[pieces[number].end : pieces[following].start] if following is not None else ","
            lost = following is not None and following != number + 1
            if _BOUNDARY.search(gap) or (lost and pieces[following or 0].text.lower() in FUNCTION_WORDS):
                continue
        result.append(number)
    while result and pieces[result[-1]].text.lower() in FUNCTION_WORDS:
        result.pop()
    while result and pieces[result[0]].text.lower() in FUNCTION_WORDS - {"the", "a", "an"}:
        result.pop(0)
    return result


def _some(removed: Iterable[str]) -> str:
    listed = [repr(item[:40]) for item in removed]
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")
