"""The provider `rules`: enriched titles without a model, from entities in the order of a shop title, then more facts.

`Puma Men's Navy Polo` with its attributes and description becomes "Puma men's navy cotton Polo T-shirt, solid, casual,
ribbed collar, short sleeves". Nothing is drawn at random, no word is repeated, filler and advertising are left out, and
every word is the product's own, so grounding removes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import get_args

from moon2.augment.text.entities import Entity, Kind, advice_pattern
from moon2.augment.text.lexicon import (
    ATTRIBUTE_KEYS,
    EMPTY_VALUES,
    FUNCTION_WORDS,
    GENDERS,
    NEVER,
    NOUNS,
    is_allowed,
    load_words,
    singular,
    stem,
)
from moon2.augment.text.provider import Enrichment, TextProvider
from moon2.augment.text.sanitize import CleanProduct

MAX_WORDS = 40
"""Words of an enriched title."""
MAX_TITLE_WORDS = 16
"""Words that an enriched title takes over from the title."""
MAX_FACTS = 6
"""Facts from the description and from attributes that are no entities."""

_WORD = re.compile(r"[\w€$£¥₹°]+(?:[-'.,/+&][\w%]+)*[%']?")
_PHRASE_END = re.compile(r"[.,;:!?()\[\]|•]")
_ADVICE = re.compile(advice_pattern("facts"), re.IGNORECASE)
_FILLER = NEVER | load_words("filler").keys()
_NO_FACT = NEVER | FUNCTION_WORDS | load_words("no_facts").keys()
_OTHER_PRODUCTS = load_words("other_products")
_NO_FACT_KEY = re.compile(
    r"care|warranty|wash|measure|season|year|brand|country|origin|seller|sku|code|id\b|ean|gtin", re.IGNORECASE
)
_NOUN_STEMS = frozenset(map(stem, NOUNS))
_SPECIFIC = ("boys", "girls", "baby", "kids", "women", "men", "unisex")
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
    values: dict[Kind, list[str]] = {kind: _values(entities, kind) for kind in get_args(Kind)}
    title = _Title()
    for value in (*values["brand"][:1], _gender(entities), *values["colour"][:2], *values["material"][:1]):
        title.say(value)
    main_type = values["type"][:1]
    title.reserve(main_type)
    title.take_over(product.title)
    for value in main_type:
        title.say(value, reserved=True)
    # Two values of a kind say what it is; more are mostly parts of it.
    more_types = [value.lower() for value in values["type"][1:2]]
    for value in (*values["pattern"][:2], *values["style"][:2], *more_types, *values["size"][:2]):
        title.add_fact(value)
    facts = 0
    for fact in (*_other_attributes(product), *_described(product)):
        facts += title.add_fact(fact)
        if facts == MAX_FACTS:
            break
    text = title.text()
    if _says_no_more(text, product.title):
        return Enrichment(None, "nothing_to_add: attributes and description say no more than the title")
    return Enrichment(text)


def _says_no_more(text: str, title: str) -> bool:
    """Whether the title has every word of a text already; Chinese has no blanks between words."""
    known = {_key(word) for word in _words(title)}
    return all(
        _key(word) in known or word in FUNCTION_WORDS or (not word.isascii() and word in title.lower())
        for word in _words(text)
    )


class _Title:
    """A title as it grows: it repeats no word, and it ends before it is too long."""

    def __init__(self) -> None:
        self._phrases: list[str] = [""]
        self._keys: set[str] = set()
        self._length = 0

    def reserve(self, values: Iterable[str]) -> None:
        """Lets only `say(value, reserved=True)` use the words of these values."""
        for value in values:
            self._keys.update(key for word in _words(value) for key in _keys(word))

    def say(self, value: str, reserved: bool = False) -> bool:
        """Continues the current phrase, unless a word of the value is in the title."""
        keys = [key for word in _words(value) if word not in FUNCTION_WORDS for key in _keys(word)]
        if any(map(str.isdecimal, value)) and " " in value:
            keys.append("".join(value.lower().split()))  # 400 ml is 400ml
        if not keys or self._length + len(value.split()) > MAX_WORDS or (not reserved and self._repeats(keys, value)):
            return False
        self._keys.update(keys)
        self._length += len(value.split())
        self._phrases[-1] = f"{self._phrases[-1]} {value}".strip()
        return True

    def add_fact(self, value: str) -> bool:
        """Adds the value after a comma."""
        self._phrases.append("")
        if self.say(value):
            return True
        self._phrases.pop()
        return False

    def take_over(self, title: str) -> None:
        """Adds the rest of the shop's title: no filler, and a function word only between two words that stay."""
        taken, before_stays, joining = 0, False, ""
        for word in _WORD.findall(title):
            if word.lower() in FUNCTION_WORDS:
                before_stays = before_stays and not joining
                joining = word.lower() if before_stays else ""
                continue
            before_stays = (
                word.lower() not in _FILLER
                and taken < MAX_TITLE_WORDS
                and self.say(f"{joining} {word}" if joining else word)
            )
            taken += before_stays
            joining = ""

    def text(self) -> str:
        return ", ".join(phrase for phrase in self._phrases if phrase)

    def _repeats(self, keys: list[str], value: str) -> bool:
        return (
            len(set(keys)) < len(keys)
            or not self._keys.isdisjoint(keys)
            or (not value.isascii() and value in self.text())
        )


def _values(entities: tuple[Entity, ...], kind: Kind) -> list[str]:
    """The different values of a kind: the title's, then the attributes', and the description's only without others.

    Brands, types and sizes keep their letters; what describes is in lower case.
    """
    of_kind = [entity for entity in entities if entity.kind == kind]
    stated = [entity for entity in of_kind if entity.source != "description"]
    ordered = sorted(stated or (of_kind if kind != "size" else []), key=lambda entity: entity.source != "title")
    if kind == "brand" and ordered and ordered[0].source != "title":
        ordered.reverse()
    shown = [entity.value if kind in ("brand", "type", "size") else entity.value.lower() for entity in ordered]
    return [value for value in dict.fromkeys(shown) if value.lower() not in EMPTY_VALUES]


def _gender(entities: tuple[Entity, ...]) -> str:
    for source in ("title", "attribute", "description"):
        values = [entity.value for entity in entities if entity.kind == "gender" and entity.source.startswith(source)]
        genders = {GENDERS.get(" ".join(re.findall(r"[^\W_]+(?:'\w*)?", value.lower())), "") for value in values}
        for gender in _SPECIFIC:
            if gender in genders:
                return _POSSESSIVE.get(gender, gender) if all(map(str.isascii, values)) else values[0]
    return ""


def _other_attributes(product: CleanProduct) -> Iterator[str]:
    """Values of attributes that are no entities and explain themselves, such as "Short Sleeves"."""
    for key, value in product.attributes.items():
        words = value.lower().split()
        is_entity = key.lower().replace("_", " ") in ATTRIBUTE_KEYS
        if 2 <= len(words) <= 3 and not is_entity and not _NO_FACT_KEY.search(key) and _is_fact(words):
            yield value.lower()


def _described(product: CleanProduct) -> Iterator[str]:
    """Short phrases of the description that name a part or a property: allowed words that end in a noun."""
    for phrase in _PHRASE_END.split(_ADVICE.sub(" | ", product.description)):
        run: list[str] = []
        for word in (*_words(phrase), ""):
            if word.isascii() and word not in _NO_FACT and is_allowed(word):
                run.append(word)
                continue
            if 2 <= len(run) <= 4 and _is_fact(run):
                yield " ".join(run)
            run = []


def _is_fact(words: list[str]) -> bool:
    last = singular(words[-1])
    if last in _OTHER_PRODUCTS or not (last in NOUNS or stem(last) in _NOUN_STEMS):
        return False
    return all(is_allowed(word) and word not in _NO_FACT for word in words)


def _key(word: str) -> str:
    """What counts as the same word: T-shirt and tshirts, Levi's and Levis."""
    return stem("".join(filter(str.isalnum, word)))


def _keys(word: str) -> list[str]:
    """The word and, where hyphens join it, its parts: a title with off-white does not say off white again."""
    return [_key(word), *(stem(part) for part in word.split("-") if len(part) > 2 and "-" in word)]


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]
