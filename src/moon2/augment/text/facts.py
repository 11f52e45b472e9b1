"""What a product's own row says beyond its title, as short phrases that a title can end in: the facts of `rules`.

Attributes come first, then the description, of which only phrases count that are whole and name a part ("ribbed
collar", "metal legs"), and a material that the product is said to be made of. What the title says in another word, or
what it says otherwise, is no fact: of a striped shirt that an attribute calls solid, the title is believed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from moon2.augment.text.contradictions import kind_words, may_say_gender, stated_genders
from moon2.augment.text.entities import Entity, Kind, advice_pattern
from moon2.augment.text.lexicon import (
    ATTRIBUTE_KEYS,
    COLOURS,
    EMPTY_VALUES,
    FUNCTION_WORDS,
    KINDS,
    MATERIALS,
    NEVER,
    NOUNS,
    PARTS,
    PATTERNS,
    STYLES,
    is_allowed,
    load_words,
    phrases_pattern,
    singular,
    stem,
)
from moon2.augment.text.sanitize import CleanProduct

_LISTS: dict[Kind, Mapping[str, str]] = {
    "colour": COLOURS, "material": MATERIALS, "pattern": PATTERNS, "style": STYLES,
}  # fmt: skip
_NAMES = {kind: re.compile(rf"(?<![\w-])(?:{phrases_pattern(words)})(?![\w-])", re.I) for kind, words in _LISTS.items()}
_WORD = re.compile(r"[\w°%]+(?:[-'.,/+&][\w%]+)*'?")
_LISTED: tuple[Kind, ...] = ("colour", "style")
"""Kinds whose values may be anything ("Skin", "Daily"): in English, only what a word list knows is shown."""
_ADVICE = re.compile(advice_pattern("facts"), re.IGNORECASE)
_CLAUSE = re.compile(r"[^.,;!?()\[\]|•\n]+")
# "Non-slip" and "no-iron" say what a product is.
_DENIES = re.compile(
    r"\b(?:not|never|no|without|unlike|lacks?|lacking|free (?:of|from)|excludes|excluding|replaces)\b(?!-)|n['’]t\b",
    re.IGNORECASE,
)
_BESIDE = re.compile(r"\b(?:with|fits?|lining|packag\w*)\b", re.IGNORECASE)
_BREAK = re.compile(r"[.,;:!?()\[\]|•]|\s-+\s")
_MADE = re.compile(
    rf"\b(?:made|crafted|woven|knitted|constructed|fashioned|built|cut)\b[^.,;]{{0,24}}?\b(?:of|from|in|with|out of)\s"
    rf"(?:[a-z-]+\s){{0,2}}?({phrases_pattern(MATERIALS)})(?![\w-])(?!\s+(?:lining|trim\w*|accents?|details?|sole))"
    rf"|\b100\s?%\s(?:pure\s)?({phrases_pattern(MATERIALS)})(?![\w-])(?!\s+(?:lining|trim\w*))",
    re.IGNORECASE,
)
_NO_FACT = NEVER | load_words("no_facts").keys()
_NO_FACT_KEY = re.compile(
    r"care|warranty|wash|measure|season|year|brand|country|origin|seller|sku|code|id\b|ean|gtin|shade name|shelf|trend",
    re.IGNORECASE,
)
_DIMENSION = re.compile(
    r"height|width|length|depth|diameter|capacity|memory|storage|höhe|breite|länge|tiefe|durchmesser", re.IGNORECASE
)


def facts_of(product: CleanProduct, entities: tuple[Entity, ...], title: str, english: bool) -> Iterator[str]:
    """The facts, the weightiest first: colour, material, kind, pattern, style, size, other attributes, parts.

    Args:
        product: whose facts.
        entities: of the product.
        title: as it is printed so far; a fact about what it names already is left out.
        english: whether the product's text is; of another one, attributes alone are read, as the shop writes them.
    """
    worn = families_of(product, title) & _WORN
    stated = [entity for entity in entities if entity.source.startswith("attribute:")]
    for kind in ("colour", "material", "type", "pattern", "style", "size"):
        values = [entity.value for entity in stated if entity.kind == kind and entity.value.lower() not in EMPTY_VALUES]
        if kind == "type":
            values = list(product.category[-1:]) + values
            yield from _type(values, title) if english else []
        elif kind == "size":
            yield from (_with_its_name(entity) for entity in stated if entity.kind == "size")
        elif kind == "material" and not values and english:
            yield from _new(kind, _made_of(product.description), title)
        else:
            if kind == "style":
                values = [value for value in values if worn or STYLES.get(value.lower(), "") != "worn"]
            if english:
                values = [
                    _in_small_letters(value) for value in values if kind not in _LISTED or _NAMES[kind].search(value)
                ]
            yield from _new(kind, values, title)
    yield from _other_attributes(product, english)
    if english:
        yield from _parts(product)


def _in_small_letters(value: str) -> str:
    return value if value.isupper() and len(value) <= 4 else value.lower()  # PVC stays


_WORN = {
    "top", "layer", "dress", "suit", "bottom", "underwear", "sock", "shoe", "hat", "scarf", "belt", "tie", "watch",
    "jewellery", "eyewear", "glove",
}  # fmt: skip


def families_of(product: CleanProduct, title: str) -> set[str]:
    """The families of all kinds that a title and the product's category name."""
    return {kind.split()[0] for _, kind in kind_words(", ".join([title, *product.category]))}


def gender_fact(product: CleanProduct, entities: tuple[Entity, ...]) -> str:
    """For whom the shop's attributes say that the product is, by its one name; "" where it is silent or undecided."""
    stated = stated_genders(product)
    named = [entity for entity in entities if entity.kind == "gender" and entity.source.startswith("attribute:")]
    for gender in ("boys", "girls", "baby", "kids", "women", "men", "unisex"):
        agreed = gender in stated and all(may_say_gender(other, {gender, "kids"}) for other in stated)
        # Whether a mug is for both sexes is no question.
        if named and agreed and (gender != "unisex" or families_of(product, product.title) & _WORN):
            return gender
    return ""


def _new(kind: Kind, values: list[str], title: str) -> Iterator[str]:
    """At most two values where the title names none of this kind; a colour also where it names a shade of it."""
    named = [match[0].lower().replace("-", " ") for match in _NAMES[kind].finditer(title)]
    for value in values[: 2 if kind == "material" else 1]:
        if named and not (kind == "colour" and any(value in COLOURS.get(shade, "").split() for shade in named)):
            continue
        yield value


def _type(values: list[str], title: str) -> Iterator[str]:
    """The kind, where the title names none: "Backpacks" says "backpack", "Clothing & Shoes" says nothing."""
    if kind_words(title):
        return
    for value in values:
        words = _WORD.findall(value.lower())
        if (
            len(words) <= 3
            and NEVER.isdisjoint(words)
            and not {"and", "&", "other", "others"} & {*words, *value.lower().split()}
        ):
            last = words[-1:] and (words[-1] if words[-1] in KINDS else singular(words[-1]))
            if last:
                yield " ".join([*words[:-1], last])
                return


def _with_its_name(size: Entity) -> str:
    """A size, and what it measures where the attribute's name says it: "height 75 cm", "M"."""
    key = size.source.removeprefix("attribute:")
    if _DIMENSION.search(key) and any(map(str.isdecimal, size.value)) and len(key.split()) <= 2:
        return f"{key.lower() if key.isascii() else key} {size.value}"
    return size.value


def _other_attributes(product: CleanProduct, english: bool) -> Iterator[str]:
    """Values of attributes that are no entities and explain themselves, such as "Short Sleeves"."""
    for key, value in product.attributes.items():
        words = value.lower().split()
        is_entity = re.sub("[_-]", " ", key.lower()).strip() in ATTRIBUTE_KEYS
        if 2 <= len(words) <= 3 and english and not is_entity and not _NO_FACT_KEY.search(key) and _is_part(words):
            yield value.lower()


def _affirmed(description: str) -> str:
    """A description without the clauses that say what the product is not, as in "made without leather"."""
    return _CLAUSE.sub(lambda clause: " | " if _DENIES.search(clause[0]) else clause[0], description)


def _made_of(description: str) -> list[str]:
    """What the product is said to be made of, in a clause that names nothing else before."""
    for clause in _CLAUSE.findall(_affirmed(description)):
        if (made := _MADE.search(clause)) and not _names_another(clause[: made.start()].lower()):
            return [(made[1] or made[2]).lower()]
    return []


def _names_another(words: str) -> bool:
    """Whether the words before "made of" name a part, or something that comes with the product."""
    return bool(_BESIDE.search(words)) or any(word in PARTS or singular(word) in PARTS for word in _WORD.findall(words))


def _parts(product: CleanProduct) -> Iterator[str]:
    """Phrases of the description that name a part, whole: a function word or a break stands on both sides."""
    for phrase in _BREAK.split(_ADVICE.sub(" | ", _affirmed(product.description))):
        run: list[str] = []
        for word in (*_WORD.findall(phrase.lower()), "and"):
            if word not in FUNCTION_WORDS:
                run.append(word)
                continue
            if 2 <= len(run) <= 4 and _is_part(run):
                yield " ".join(run)
            run = []


def _is_part(words: list[str]) -> bool:
    """Whether these words, all allowed, describe and then name a part."""
    last = singular(words[-1])
    if not (words[-1] in PARTS or last in PARTS) or any(word in _NO_FACT or not is_allowed(word) for word in words):
        return False
    if any(word not in _DESCRIBES for word in words[:-2]) or stem(words[-2]) == stem(last):
        return False
    # One noun may stand before the part ("welt pocket"), but no other part or product ("closure strap", "tee hem").
    noun = words[-2]
    is_plain_noun = noun in NOUNS and singular(noun) == noun and noun not in PARTS and noun not in KINDS
    return noun in _DESCRIBES or is_plain_noun


_DESCRIBES = load_words("descriptive").keys() | COLOURS.keys() | MATERIALS.keys() | PATTERNS.keys() | STYLES.keys()
