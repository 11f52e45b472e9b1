"""The salient entities E of a product: brand, type, material, colour, pattern, style, gender, size, and their origin.

Attributes are believed first, then the title, then the description, where a word counts only outside advice on washing
and on what to wear with it. Nothing is guessed: a value is always characters of the product's own text, as the shop
wrote them. What is not to be trusted (see `cleaning`) is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, cast, get_args

from moon2.augment.text.entity_words import (
    COLOURS,
    EMPTY_VALUES,
    GENDER_OF,
    KIND_OF_KEY,
    LETTER_SIZES,
    MATERIALS,
    PATTERNS,
    SIZE_UNITS,
    STYLES,
    UNITS,
    WORD_SIZES,
    word_set,
)
from moon2.augment.text.sanitize import plain, unsafe_spans
from moon2.records import Product

Kind = Literal["brand", "type", "material", "colour", "pattern", "style", "gender", "size"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MAX_VALUE = 80
"""Characters: an attribute value longer than that is prose, not an entity."""

_LEXICON: dict[str, Kind] = {
    **dict.fromkeys(STYLES, "style"),
    **dict.fromkeys(PATTERNS, "pattern"),
    **dict.fromkeys(MATERIALS, "material"),
    **dict.fromkeys(COLOURS, "colour"),
    **dict.fromkeys(GENDER_OF, "gender"),
}
_KIND_OF_KEY = cast("dict[str, Kind]", KIND_OF_KEY)
_STARTS = {phrase.split()[0] for phrase in _LEXICON if " " in phrase}
_ASIAN = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_ASIAN_WORDS = tuple(sorted((word for word in _LEXICON if ord(word[0]) > 0x3000), key=len, reverse=True))
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+|['’](?=\s|$))?")
_HAS_ASIAN = re.compile(f"[{_ASIAN}]")
_UNREAL_IN_PROSE = word_set("down iron paper felt glass concrete metal party classic modern slim mini")
"""Words that in running text mostly mean something else; in titles and attributes they count."""
_ADVICE = word_set("""
    wash washing wipe clean cleaning iron ironing bleach pair paired team teamed style wear wearing wears model
    match matching goes
""")
_ADVICE_REACH = 14
"""Words after one of advice in which a description's words are not read as facts about the product."""

_SIZE_UNIT = "|".join(
    sorted(
        (re.escape(word) for word, unit in UNITS.items() if unit in SIZE_UNITS and word != "in"), key=len, reverse=True
    )
)
_SIZES = "|".join(sorted(LETTER_SIZES, key=len, reverse=True))
_SIZE = re.compile(
    rf"(?<![\w.,-])\d+(?:[.,]\d+)?(?:\s?[x×*]\s?\d+(?:[.,]\d+)?){{0,2}}[ -]?(?i:{_SIZE_UNIT})(?![\w-])"
    r"|\b(?:UK|US|EU|EUR|IND)[ -]?\d{1,2}(?:\.5)?\b"
    rf"|\b(?i:sizes?)[ :]+(?:\d{{1,3}}(?:\.\d)?|{_SIZES})\b"
    rf"|(?<![\w.&'’/-])(?:{'|'.join(sorted(LETTER_SIZES - set('SML'), key=len, reverse=True))})(?![\w.&'’-])"
    r"|(?<=[(/,])\s?[SML](?=\s?[)/,])|(?<=\s)[SML]$"
    rf"|\b(?i:{'|'.join(sorted(WORD_SIZES))})\b"
)


@dataclass(frozen=True, slots=True)
class Entity:
    """Something that a product's own text says about it.

    Attributes:
        kind: brand, type, material, colour, pattern, style, gender or size.
        value: as the shop wrote it.
        source: "title", "description", "category" (its leaf), or "attribute:KEY".
        span: first character and the one after the last, in that text; None where the value was read as a whole.
    """

    kind: Kind
    value: str
    source: str
    span: tuple[int, int] | None = None


def extract_entities(product: Product) -> tuple[Entity, ...]:
    """What the text of a product says, ordered by kind, within a kind by how far the source is believed.

    A value that an earlier source of the same kind gave is kept once a source, so that its spans are not lost.
    """
    found = [*_from_attributes(product)]
    found += _brand_in_title(found, product.title)
    found += _from_text(product.title, "title", brand=_spans_of(found, "brand"))
    found += _types(product)
    found += _from_text(product.description, "description")
    once: dict[tuple[str, str, str], Entity] = {}
    for entity in found:
        once.setdefault((entity.kind, entity.value.casefold(), entity.source), entity)
    return tuple(sorted(once.values(), key=lambda entity: KINDS.index(entity.kind)))


def _spans_of(found: list[Entity], kind: Kind) -> list[tuple[int, int]]:
    return [entity.span for entity in found if entity.kind == kind and entity.source == "title" and entity.span]


def _from_attributes(product: Product) -> Iterator[Entity]:
    for key, value in product.attributes.items():
        kind = _KIND_OF_KEY.get(plain(key).lower().replace("_", " ").replace("-", " ").strip())
        stripped = value.strip()
        if kind is None or plain(stripped).lower() in EMPTY_VALUES or len(stripped) > MAX_VALUE or unsafe_spans(value):
            continue
        source = f"attribute:{key}"
        start = len(value) - len(value.lstrip())
        if kind == "size":
            yield from _sizes(value, source, whole=plain(stripped).upper() in LETTER_SIZES or stripped.isdecimal())
        elif kind != "gender" or _phrase(stripped) in GENDER_OF:
            yield Entity(kind, stripped, source, (start, start + len(stripped)))


def _brand_in_title(found: list[Entity], title: str) -> list[Entity]:
    brands = [entity.value for entity in found if entity.kind == "brand"]
    matches = [re.search(rf"(?<!\w){re.escape(brand)}(?!\w)", title, re.IGNORECASE) for brand in brands]
    return [Entity("brand", match[0], "title", match.span()) for match in matches if match]


def _from_text(text: str, source: str, brand: list[tuple[int, int]] | None = None) -> Iterator[Entity]:
    """Entities of the lexicon, and sizes, outside what is not trusted and outside the brand's own words."""
    if not text:
        return
    closed = [*unsafe_spans(text), *(brand or [])]
    prose = source == "description"
    for kind, start, end, told in _phrases(text, prose):
        if told and not _overlaps(start, end, closed):
            yield Entity(kind, text[start:end], source, (start, end))
    for entity in _sizes(text, source):
        assert entity.span is not None
        near = text[max(0, entity.span[0] - 60) : entity.span[0]].lower() if prose else ""
        if not _overlaps(*entity.span, closed) and not re.search(r"\b(?:model|wear\w*|height|warranty)\b", near):
            yield entity


def _phrases(text: str, prose: bool) -> Iterator[tuple[Kind, int, int, bool]]:
    """Longest phrases of the lexicon: kind, span, and whether the place tells a fact."""
    matches = list(_WORD.finditer(text))
    words = [match[0].casefold().replace("’", "'") for match in matches]
    here, advice = 0, -_ADVICE_REACH - 1
    while here < len(words):
        word = words[here]
        if prose and word in _ADVICE:
            advice = here
        length = _longest(words, matches, here, text) if word in _STARTS else int(word in _LEXICON)
        if length:
            phrase = " ".join(words[here : here + length])
            told = not prose or (here - advice > _ADVICE_REACH and phrase not in _UNREAL_IN_PROSE)
            yield _LEXICON[phrase], matches[here].start(), matches[here + length - 1].end(), told
        elif ord(word[0]) > 0x3000 and not word.isascii():
            yield from _asian_words(text, *matches[here].span())
        here += max(1, length)


def _longest(words: list[str], matches: list[re.Match[str]], here: int, text: str) -> int:
    """How many words from here on are a phrase of the lexicon; 0 for none."""
    for length in (3, 2):
        last = here + length - 1
        if last < len(words) and " ".join(words[here : last + 1]) in _LEXICON:
            gaps = (text[matches[n].end() : matches[n + 1].start()] for n in range(here, last))
            if all(gap in (" ", "-") for gap in gaps):
                return length
    return int(words[here] in _LEXICON)


def _asian_words(text: str, start: int, end: int) -> Iterator[tuple[Kind, int, int, bool]]:
    """Chinese has no spaces: the longest listed words, none inside another."""
    taken: list[tuple[int, int]] = []
    for word in _ASIAN_WORDS:
        at = text.find(word, start, end)
        if at >= 0 and len(word) > 1 and not _overlaps(at, at + len(word), taken):
            taken.append((at, at + len(word)))
            yield _LEXICON[word], at, at + len(word), True


def _sizes(text: str, source: str, whole: bool = False) -> Iterator[Entity]:
    if whole:
        start = len(text) - len(text.lstrip())
        yield Entity("size", text.strip(), source, (start, start + len(text.strip())))
        return
    for match in _SIZE.finditer(text):
        start = match.start() + len(match[0]) - len(match[0].lstrip())
        yield Entity("size", text[start : match.end()], source, (start, match.end()))


def _types(product: Product) -> Iterator[Entity]:
    """The leaf of the category as the title says it (singular or plural, with or without hyphen); else as it stands."""
    if not product.category:
        return
    leaf = product.category[-1].strip()
    if plain(leaf).lower() in EMPTY_VALUES or unsafe_spans(leaf):
        return
    span = _find_type(leaf, product.title)
    if span is not None:
        yield Entity("type", product.title[slice(*span)], "title", span)
    yield Entity("type", leaf, "category")


def _find_type(leaf: str, title: str) -> tuple[int, int] | None:
    """Where the leaf, one of its alternatives ("Shirts & Tops"), or at last its last word stands in the title."""
    alternatives = [part.strip() for part in re.split(r"\s+(?:and|&|or)\s+|[,/&]", leaf) if part.strip()]
    if _HAS_ASIAN.search(leaf):
        at = title.find(leaf)
        return (at, at + len(leaf)) if at >= 0 else None
    matches = [match for match in _WORD.finditer(title)]
    closed = unsafe_spans(title)
    for wanted in [_bare(leaf), *map(_bare, alternatives), *(_bare(part.split()[-1]) for part in alternatives)]:
        for length in (1, 2, 3):
            for here in range(len(matches) - length, -1, -1):
                start, end = matches[here].start(), matches[here + length - 1].end()
                if wanted and _bare(title[start:end]) == wanted and not _overlaps(start, end, closed):
                    return start, end
    return None


@lru_cache(maxsize=8192)
def _bare(phrase: str) -> str:
    """Letters and digits only, each word in the singular: "T-Shirts", "tshirt" and "T shirts" are one."""
    words = [singular(match[0].casefold()) for match in _WORD.finditer(phrase)]
    return "".join(words)


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


def _phrase(text: str) -> str:
    return " ".join(match[0].casefold().replace("’", "'") for match in _WORD.finditer(plain(text)))


def _overlaps(start: int, end: int, spans: list[tuple[int, int]]) -> bool:
    return any(start < stop and begin < end for begin, stop in spans)
