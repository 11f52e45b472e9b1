"""The salient entities E of a product: brand, type, material, colour, pattern, style, gender, size, with their source.

Attributes come first, then the title, then the description without its advice on washing and on what to wear with the
product. A value is always characters of the product's own text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast, get_args

from moon2.augment.text.lexicon import (
    ATTRIBUTE_KEYS,
    COLOURS,
    EMPTY_VALUES,
    GENDERS,
    LETTER_SIZES,
    MATERIALS,
    PATTERNS,
    SIZE_UNITS,
    STYLES,
    UNITS,
    WORD_SIZES,
    load_words,
    phrases_pattern,
    singular,
)
from moon2.augment.text.sanitize import CleanProduct

Kind = Literal["brand", "type", "material", "colour", "pattern", "style", "gender", "size"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MAX_VALUE = 80
"""Characters. A longer attribute value is prose, not an entity."""

Span = tuple[int, int]
_LEXICON: dict[str, Kind] = {
    **dict.fromkeys(STYLES, "style"),
    **dict.fromkeys(PATTERNS, "pattern"),
    **dict.fromkeys(MATERIALS, "material"),
    **dict.fromkeys(COLOURS, "colour"),
    **dict.fromkeys(GENDERS, "gender"),
}


def advice_pattern(use: str) -> str:
    """A regular expression for advice in a description: a word of it, and 14 words after the last such word.

    Args:
        use: "values" or "facts", whose headings in words/advice.txt count beside "both".
    """
    words = phrases_pattern([word for word, heading in load_words("advice").items() if heading in (use, "both")])
    after = r"(?:\W+\w+(?:[-'./]\w+)*){0,14}"
    return rf"(?<![\w'-])(?:{words})(?![\w'-])(?:{after}?\W+(?:{words})(?![\w'-]))*{after}"


# Chinese has no blanks between words, so its phrases of several characters are matched anywhere.
_CHINESE = [phrase for phrase in _LEXICON if ord(phrase[0]) > 0x3000 and len(phrase) > 1]
_PHRASE = re.compile(
    rf"(?<![^\W_])(?:{phrases_pattern(_LEXICON)})(?!'?[^\W_])|{phrases_pattern(_CHINESE)}", re.IGNORECASE
)
_ADVICE = re.compile(advice_pattern("values"), re.IGNORECASE)
_AMBIGUOUS = load_words("ambiguous")
_LENGTH_UNITS = [word for word, unit in UNITS.items() if unit in SIZE_UNITS or word[:4] == "inch"]
_SIZE = re.compile(
    r"(?<![\w.,-])\d+(?:[.,]\d+)?(?:\s?[x×*]\s?\d+(?:[.,]\d+)?){0,2}[ -]?"
    rf"(?i:{phrases_pattern(_LENGTH_UNITS)})(?![\w-])"
    r"|\b(?:UK|US|EU|EUR|IND)[ -]?\d{1,2}(?:\.5)?\b"
    rf"|\b(?i:sizes?)[ :]+(?:\d{{1,3}}(?:\.\d)?|{phrases_pattern(LETTER_SIZES)})\b"
    rf"|(?<![\w.&'/-])(?:{phrases_pattern(LETTER_SIZES - set('SML'))})(?![\w.&'-])"
    r"|(?<=[(/,])\s?[SML](?=\s?[)/,])|(?<=\s)[SML]$"
    rf"|\b(?i:{phrases_pattern(WORD_SIZES)})\b"
)
_OF_SOMETHING_ELSE = re.compile(r"\b(?:model|wear\w*|height|warranty)\b[^\n]{0,50}$", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+|'(?=\s|$))?")


@dataclass(frozen=True, slots=True)
class Entity:
    """Something that a product's own text says about it.

    Attributes:
        kind: brand, type, material, colour, pattern, style, gender or size.
        value: as the shop wrote it.
        source: "title", "description", "category" (its leaf), or "attribute:KEY".
    """

    kind: Kind
    value: str
    source: str


def extract_entities(product: CleanProduct) -> tuple[Entity, ...]:
    """What the text of a product says, ordered by kind, within a kind by source; each value once a source."""
    entities = list(_from_attributes(product))
    brands = _brands_in(product.title, entities)
    entities += [Entity("brand", product.title[slice(*span)], "title") for span in brands]
    entities += _from_text(product.title, "title", brands)
    entities += _types(product)
    entities += _from_text(_ADVICE.sub(" | ", product.description), "description")
    once: dict[tuple[str, str, str], Entity] = {}
    for entity in entities:
        once.setdefault((entity.kind, entity.value.casefold(), entity.source), entity)
    return tuple(sorted(once.values(), key=lambda entity: KINDS.index(entity.kind)))


def _from_attributes(product: CleanProduct) -> Iterator[Entity]:
    for key, value in product.attributes.items():
        kind = cast("Kind | None", ATTRIBUTE_KEYS.get(re.sub("[_-]", " ", key.lower()).strip()))
        if kind is None or value.lower() in EMPTY_VALUES or len(value) > MAX_VALUE:
            continue
        source = f"attribute:{key}"
        if kind == "size" and value.upper() not in LETTER_SIZES and not value.isdecimal():
            yield from (Entity("size", size, source) for size, _ in _sizes(value))
        elif kind != "gender" or " ".join(_WORD.findall(value.casefold())) in GENDERS:
            yield Entity(kind, value, source)


def _brands_in(title: str, entities: list[Entity]) -> list[Span]:
    names = [re.escape(entity.value) for entity in entities if entity.kind == "brand"]
    matches = [re.search(rf"(?<!\w){name}(?!\w)", title, re.IGNORECASE) for name in names]
    return [match.span() for match in matches if match]


def _from_text(text: str, source: str, brands: list[Span] | None = None) -> Iterator[Entity]:
    """Entities of the word lists, and sizes, outside the brand's own words."""
    prose = source == "description"
    for match in _PHRASE.finditer(text):
        phrase = match[0].casefold().replace("-", " ")
        if not _overlaps(match.span(), brands or []) and not (prose and phrase in _AMBIGUOUS):
            yield Entity(_LEXICON[phrase], match[0], source)
    for size, span in _sizes(text):
        of_something_else = prose and _OF_SOMETHING_ELSE.search(text[max(0, span[0] - 60) : span[0]])
        if not of_something_else and not _overlaps(span, brands or []):
            yield Entity("size", size, source)


def _sizes(text: str) -> Iterator[tuple[str, Span]]:
    for match in _SIZE.finditer(text):
        yield match[0].strip(), match.span()


def _types(product: CleanProduct) -> Iterator[Entity]:
    """The leaf of the category as the title says it (singular or plural, with or without hyphen); else as it stands."""
    leaf = product.category[-1] if product.category else ""
    if leaf.lower() in EMPTY_VALUES:
        return
    in_title = _type_in_title(leaf, product.title)
    if in_title:
        yield Entity("type", in_title, "title")
    yield Entity("type", leaf, "category")


def _type_in_title(leaf: str, title: str) -> str:
    """The leaf, one of its alternatives ("Shirts & Tops"), or at last its last word, as the title says it; or ""."""
    if not leaf.isascii() and leaf in title:
        return leaf
    words = [match.span() for match in _WORD.finditer(title)]
    alternatives = [part.strip() for part in re.split(r"\s+(?:and|&|or)\s+|[,/&]", leaf) if part.strip()]
    for wanted in map(_bare, [leaf, *alternatives, *(part.split()[-1] for part in alternatives)]):
        for length in (1, 2, 3):
            for first in range(len(words) - length, -1, -1):
                phrase = title[words[first][0] : words[first + length - 1][1]]
                if wanted and _bare(phrase) == wanted:
                    return phrase
    return ""


def _bare(phrase: str) -> str:
    """Letters and digits only, each word in the singular: "T-Shirts", "tshirt" and "T shirts" are one."""
    return "".join(singular(word) for word in _WORD.findall(phrase.casefold()))


def _overlaps(span: Span, others: list[Span]) -> bool:
    return any(span[0] < end and start < span[1] for start, end in others)
