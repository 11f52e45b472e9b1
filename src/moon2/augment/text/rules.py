"""The provider `rules`: enriched titles without a model: the shop's own title, put in order, and facts of its row.

`Puma Men Navy Polo T-shirt - best quality, HOT SALE!` with its attributes and description becomes "Puma Men Navy Polo
T-shirt, cotton, solid, casual, short sleeves, ribbed collar". What the shop wrote keeps its order, because taking a
title apart breaks names ("Brick Orange", "wool blend"). Nothing is drawn at random.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from moon2.augment.text.contradictions import contradicted_kind, gender_of
from moon2.augment.text.entities import Entity
from moon2.augment.text.facts import facts_of, gender_fact
from moon2.augment.text.language import is_english
from moon2.augment.text.lexicon import EMPTY_VALUES, FUNCTION_WORDS, UNITS, is_allowed, stem
from moon2.augment.text.provider import Enrichment, TextProvider
from moon2.augment.text.sanitize import CleanProduct
from moon2.augment.text.spelling import corrected
from moon2.augment.text.wording import advertising, as_printed, tidy, without_boilerplate, without_repeats

MAX_WORDS = 40
MAX_CHARACTERS = 150
"""Of an enriched title, which is what product feeds take. Facts end there; a longer title is cut between words."""
MAX_FACTS = 6

_WORD = re.compile(r"[\w€$£¥₹°]+(?:[-'.,/+&][\w%]+)*[%']?")
_POSSESSIVE = {"men": "men's", "women": "women's", "boys": "boys'", "girls": "girls'", "kids": "kids'"}


class RulesProvider(TextProvider):
    """The default of textual enrichment: deterministic, without a model."""

    name = "rules"
    model = ""
    prompt = ""

    def __init__(self, *_: object) -> None:
        """Needs neither settings nor prompts."""

    def enrich(
        self, products: Sequence[CleanProduct], entities: Sequence[tuple[Entity, ...]], seed: int
    ) -> list[Enrichment]:
        """See `TextProvider`. The reason of a product without a text is `nothing_to_add`."""
        return [_enrich(product, its_entities) for product, its_entities in zip(products, entities, strict=True)]


def _enrich(product: CleanProduct, entities: tuple[Entity, ...]) -> Enrichment:
    english = is_english(product)
    brand = _brand(entities)
    title = _with_brand(own_title(product, brand), brand)
    gains = brand if brand and not _says(product.title, brand) else ""
    if english and title and not any(map(gender_of, _WORD.findall(title))):
        gender = gender_fact(product, entities)
        title = _with_gender(title, brand, gender)
        gains += gender
    said = title
    facts = 0
    if not product.title:
        said = " ".join(_named(product, entities, brand))
        gains = said
    for fact in facts_of(product, entities, title, english):
        extended = f"{said}, {fact}" if said else fact
        if facts == MAX_FACTS or len(extended) > MAX_CHARACTERS or len(extended.split()) > MAX_WORDS:
            break
        if english or not fact.isascii() or not _is_english_phrase(fact):
            is_new = not _repeats(said, fact, english) and not contradicted_kind(extended, product)
            said, facts = (extended, facts + 1) if is_new else (said, facts)
    if not said or not (facts or gains):
        return Enrichment(None, "nothing_to_add: attributes and description say no more than the title")
    return Enrichment(tidy(without_repeats(as_printed(said, {brand.split()[0]} if brand else ()))))


def _named(product: CleanProduct, entities: tuple[Entity, ...], brand: str) -> list[str]:
    """What a product without a title is called: brand, whom it is for, colour, material, kind."""
    gender = gender_fact(product, entities)
    words = [brand, _POSSESSIVE.get(gender, gender)]
    for kind in ("colour", "material", "type"):
        values = [entity.value for entity in entities if entity.kind == kind]
        words += values[:1] if kind == "type" else [value.lower() for value in values[:1]]
    return [word for word in words if word]


def own_title(product: CleanProduct, brand: str) -> str:
    """The shop's title without boilerplate, repeats and typing mistakes, in ordinary capitals, at a usable length."""
    title = without_boilerplate(product.title, brand)
    brand_words = {word.casefold() for word in _WORD.findall(brand)}
    spans = [match.span() for match in _WORD.finditer(title)]
    words = [title[start:end].lower() for start, end in spans]
    unwanted = advertising(words, brand_words, words)
    for start, end in (spans[number] for number in sorted(unwanted, reverse=True)):
        title = title[:start] + title[end:]
    title = corrected(without_repeats(title), product)
    title = as_printed(title, set(_WORD.findall(f"{product.description} {' '.join(product.attributes.values())}")))
    words = title.split()
    while words and (len(" ".join(words)) > MAX_CHARACTERS or len(words) > MAX_WORDS):
        words.pop()
    return tidy(" ".join(words))


def _brand(entities: tuple[Entity, ...]) -> str:
    """The brand as an attribute has it, if that is a name."""
    brands = [
        entity.value for entity in entities if entity.kind == "brand" and entity.value.lower() not in EMPTY_VALUES
    ]
    return brands[0] if brands else ""


def _says(title: str, brand: str) -> bool:
    """Whether a title has the brand, its first word, or the first letters of its words."""
    words = [word.casefold() for word in _WORD.findall(title)]
    names = [word.casefold() for word in _WORD.findall(brand)]
    initials = "".join(name[0] for name in names if name not in FUNCTION_WORDS)
    together = "".join(filter(str.isalnum, "".join(names[:2])))
    return (
        not names
        or names[0] in words
        or (len(initials) > 1 and initials in words)
        or together in "".join(filter(str.isalnum, title.casefold()))
    )


def _with_brand(title: str, brand: str) -> str:
    """The title with its brand: at the front where it has none, or has it at the end; as the brand spells itself."""
    if not brand:
        return title
    match = re.search(rf"(?<![\w-]){re.escape(brand)}(?![\w-])", title, re.IGNORECASE)
    if match:
        # The shop's own title knows best, unless it whispers or shouts.
        written = brand if match[0].islower() or (match[0].isupper() and not brand.islower()) else match[0]
        before, after = title[: match.start()], title[match.end() :]
        if before and not after.strip() and all(map(str.isascii, before)):
            rest = re.sub(r"(?:^|\s)(?:by|from|von|de|par)\s*$|[\s,|-]+$", "", before)
            return tidy(f"{written} {_lowered(rest)}")
        return before + written + after
    if _says(title, brand):
        return title
    return f"{brand} {_lowered(title)}".strip()


def _with_gender(title: str, brand: str, gender: str) -> str:
    """The title with whom it is for, after the brand; in the title's own capitals."""
    if not gender:
        return title
    word = _POSSESSIVE.get(gender, gender)
    at = len(brand) + 1 if brand and title.casefold().startswith(f"{brand.casefold()} ") else 0
    rest = title[at:] if at else _lowered(title)
    if rest[:1].isupper() and at:
        word = word.capitalize()
    return f"{title[:at]}{word} {rest}"


def _lowered(title: str) -> str:
    """A title that goes on: its first word without the capital of a beginning, where the second has none either."""
    words = title.split()
    plain = len(words) > 1 and words[1][0].islower() and is_allowed(words[0])
    return title[0].lower() + title[1:] if plain else title


def _repeats(title: str, fact: str, english: bool) -> bool:
    """Whether a title has a word of a fact, also in another inflection or inside a compound."""
    measured = re.search(r"\d.*", fact.lower())
    if measured and any(word.lower() in UNITS for word in re.findall(r"[^\W\d]+", measured[0])):
        return "".join(measured[0].split()) in "".join(title.lower().split())
    said = {_key(word) for word in _WORD.findall(title)}
    words = [word for word in _WORD.findall(fact) if word.lower() not in FUNCTION_WORDS]
    keys = {key for word in words for key in (_key(word), *(_key(part) for part in word.split("-") if len(part) > 2))}
    if not words or not said.isdisjoint(keys) or "".join(fact.lower().split()) in "".join(title.lower().split()):
        return True
    if english:
        return False
    return any(len(key) > 3 and key[: max(4, len(key) - 2)] in title.casefold() for key in keys)


def _is_english_phrase(text: str) -> bool:
    words = _WORD.findall(text)
    return bool(words) and all(is_allowed(word) for word in words)


def _key(word: str) -> str:
    """What counts as the same word: T-shirt and tshirts, Levi's and Levis, gray and grey."""
    word = stem("".join(filter(str.isalnum, word.casefold())))
    return word.replace("gray", "grey").replace("color", "colour")
