"""Textual enrichment without a model: entities phrased in the order of a shop title, then facts the title leaves out.

`Puma Men's Navy Polo` with its attributes and description becomes "Puma men's navy cotton Polo T-shirt, solid, casual,
ribbed collar, short sleeves". Nothing is drawn at random, no word is said twice, filler and advertising are left out,
and every word is the product's own, so that grounding has nothing to take away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from moon2.augment.text.entities import Entity, Kind, singular
from moon2.augment.text.entity_words import EMPTY_VALUES, GENDER_OF, KIND_OF_KEY, word_set
from moon2.augment.text.evidence import is_ordinary, stem
from moon2.augment.text.ordinary_words import FUNCTION_WORDS, NEVER, NOUNS
from moon2.augment.text.provider import Enrichment, TextProvider
from moon2.augment.text.sanitize import plain, safe_text
from moon2.records import Product

MAX_WORDS = 40
MAX_TITLE_WORDS = 16
MAX_FACTS = 6
"""Words of an enriched title; words it takes over from the title; facts from other attributes and the description."""

_WORD = re.compile(r"[\w€$£¥₹°]+(?:[-'.,/+&][\w%]+)*[%']?")
_RUN_BREAK = re.compile(r"[.,;:!?()\[\]|•]")
_FILLER = NEVER | word_set("""
    high quality hot new brand latest premium top super great perfect nice good cool luxury luxurious genuine
    original authentic official beautiful gorgeous stunning lovely trendy fashion fashionable stylish excellent
    superb special popular have ideal get it its item product products
""")
_NO_FACT = NEVER | word_set("""
    suitable fits worn sits comes can be use used uses designed made sized styled care wash washed machine
    comfort look day home view wear style detail details piece picture brand colour color size iron dry clean
    cleaner water pair time season summer winter autumn spring work hand off arm
""")
"""Words with which no fact is made of a description: they speak about care, use and the text itself."""
_OTHER_PRODUCTS = word_set("""
    shirt trouser pant jean shoe sandal boot sneaker loafer heel jacket coat sweatshirt sweater skirt dress top
    tee t-shirt kurta legging belt bag handbag clutch watch sock tie scarf hat cap short shorts blazer saree
    jewellery earring bracelet necklace tea coffee outfit clothes clothing suit cardigan pullover hoodie
""")
"""What a description advises to combine with the product, and so no fact about it."""
_NO_FACT_KEY = re.compile(
    r"care|warranty|wash|measure|season|year|brand|country|origin|seller|sku|code|id\b|ean|gtin", re.IGNORECASE
)
_ADVICE = word_set("wash wipe clean iron bleach pair team style wear wearing wears model match care storage")
_ADVICE_REACH = 14
_SPECIFIC = ("boys", "girls", "baby", "kids", "women", "men", "unisex")
_POSSESSIVE = {"men": "men's", "women": "women's", "boys": "boys'", "girls": "girls'", "kids": "kids'"}


class RulesProvider(TextProvider):
    """The embedded default of textual enrichment: deterministic, without a model."""

    name = "rules"
    model = ""
    prompt = ""

    def enrich(
        self, products: Sequence[Product], entities: Sequence[tuple[Entity, ...]], seed: int
    ) -> list[Enrichment]:
        """One `Enrichment` a product, in the same order; `seed` changes nothing, as nothing is drawn.

        The reason of a product without a text is `nothing_to_add`.
        """
        return [_enrich(product, of_product) for product, of_product in zip(products, entities, strict=True)]


def _enrich(product: Product, entities: tuple[Entity, ...]) -> Enrichment:
    title = safe_text(product.title)
    if not title and not entities and not product.description.strip():
        return Enrichment(None, "nothing_to_add: the product has no text")
    text = _phrased(product, entities, title)
    if _is_known(text, title):
        return Enrichment(None, "nothing_to_add: attributes and description say no more than the title")
    return Enrichment(text)


def _phrased(product: Product, entities: tuple[Entity, ...], title: str) -> str:
    line = _Line()
    for value in _head(entities):
        line.say(value)
    kinds: dict[Kind, list[str]] = {kind: _values(entities, kind) for kind in ("type", "pattern", "style", "size")}
    main_type = kinds["type"][:1]
    line.hold(main_type)
    line.take_over(title)
    for value in main_type:
        line.say(value, known=True)
    # Of the values that one kind has, two say what it is; more are mostly parts of it.
    more_types = [value.lower() for value in kinds["type"][1:2]]
    for value in (*kinds["pattern"][:2], *kinds["style"][:2], *more_types, *kinds["size"][:2]):
        line.add_fact(value)
    facts = 0
    for fact in (*_other_attributes(product), *_described(product)):
        facts += line.add_fact(fact)
        if facts == MAX_FACTS:
            break
    return line.text()


def _is_known(text: str, title: str) -> bool:
    """Whether the title says every word already; where words are not parted by spaces, as characters."""
    known = {_key(word) for word in _words(title)}
    return all(
        _key(word) in known or word in FUNCTION_WORDS or (not word.isascii() and word in title.lower())
        for word in _words(text)
    )


class _Line:
    """A title as it grows: it says no word twice, and it ends before it is too long."""

    def __init__(self) -> None:
        self._phrases: list[str] = [""]
        self._said: set[str] = set()
        self._words = 0

    def hold(self, values: Iterable[str]) -> None:
        """Keeps words for later: until they are said as known, nothing else may say them."""
        for value in values:
            self._said.update(key for word in _words(value) for key in _keys(word))

    def say(self, value: str, known: bool = False) -> bool:
        """Goes on with the current phrase, unless a word of the value was said before."""
        stems = [key for word in _words(value) if word not in FUNCTION_WORDS for key in _keys(word)]
        if any(map(str.isdecimal, value)) and " " in value:
            stems.append("".join(value.lower().split()))  # 400 ml is 400ml
        if not stems or self._words + len(value.split()) > MAX_WORDS or (not known and self._repeats(stems, value)):
            return False
        self._said.update(stems)
        self._words += len(value.split())
        self._phrases[-1] = f"{self._phrases[-1]} {value}".strip()
        return True

    def add_fact(self, value: str) -> bool:
        """Says the value after a comma."""
        self._phrases.append("")
        if self.say(value):
            return True
        self._phrases.pop()
        return False

    def take_over(self, title: str) -> None:
        """Says what is left of the title: no filler, nothing said; a joining word only between two words that stay."""
        joining, taken = "", 0
        last = False
        for match in _WORD.finditer(title):
            word = match[0]
            lower = word.lower()
            if lower in FUNCTION_WORDS:
                joining = lower if last and not joining else ""
                last = False if not joining else last
                continue
            last = (
                lower not in _FILLER
                and taken < MAX_TITLE_WORDS
                and self.say(f"{joining} {word}" if last and joining else word)
            )
            taken += last
            joining = ""

    def text(self) -> str:
        return ", ".join(phrase for phrase in self._phrases if phrase)

    def _repeats(self, stems: list[str], value: str) -> bool:
        return (
            len(set(stems)) < len(stems)
            or not self._said.isdisjoint(stems)
            or (not value.isascii() and value in self.text())
        )


def _head(entities: tuple[Entity, ...]) -> Iterator[str]:
    """Brand, gender, colours and material, in the order of a shop title."""
    yield from _values(entities, "brand")[:1]
    gender = _gender(entities)
    if gender:
        yield gender
    yield from _values(entities, "colour")[:2]
    yield from _values(entities, "material")[:1]


def _values(entities: tuple[Entity, ...], kind: Kind) -> list[str]:
    """The different values of a kind: the title's first, then the attributes', and the description's only for want of
    others.

    Brands and types keep their letters; what describes is in lower case.
    """
    of_kind = [entity for entity in entities if entity.kind == kind]
    told = [entity for entity in of_kind if entity.source != "description"]
    if kind == "size":
        of_kind = told
    ordered = sorted(told or of_kind, key=lambda entity: entity.source != "title")
    if kind == "brand":
        ordered = ordered[::-1] if ordered and ordered[0].source != "title" else ordered
    values = dict.fromkeys(safe_text(entity.value) for entity in ordered)
    shown = [value if kind in ("brand", "type", "size") else value.lower() for value in values]
    return [value for value in dict.fromkeys(shown) if value and value.lower() not in EMPTY_VALUES]


def _gender(entities: tuple[Entity, ...]) -> str:
    for source in ("title", "attribute", "description"):
        found = [entity.value for entity in entities if entity.kind == "gender" and entity.source.startswith(source)]
        genders = {
            GENDER_OF.get(" ".join(re.findall(r"[^\W_]+(?:'\w*)?", plain(value).lower())), "") for value in found
        }
        for gender in _SPECIFIC:
            if gender in genders:
                return _POSSESSIVE.get(gender, gender) if all(map(str.isascii, found)) else plain(found[0])
    return ""


def _other_attributes(product: Product) -> Iterator[str]:
    """Values of attributes that are no entities and explain themselves, such as "Short Sleeves"."""
    for key, value in product.attributes.items():
        words = value.lower().split()
        if (
            2 <= len(words) <= 3
            and not _NO_FACT_KEY.search(key)
            and key.lower().replace("_", " ") not in KIND_OF_KEY
            and _is_fact(words)
        ):
            yield safe_text(value).lower()


def _described(product: Product) -> Iterator[str]:
    """Short phrases of the description that name a part or a property: ordinary words that end in a noun."""
    run: list[str] = []
    advice = -_ADVICE_REACH - 1
    text = safe_text(product.description)
    end = 0
    for place, match in enumerate(_WORD.finditer(text)):
        word = match[0].lower()
        if word in _ADVICE:
            advice = place
        goes_on = not _RUN_BREAK.search(text[end : match.start()]) and place - advice > _ADVICE_REACH
        end = match.end()
        if not goes_on:
            yield from _fact(run)
            run = []
        if (
            place - advice > _ADVICE_REACH
            and word.isascii()
            and word not in FUNCTION_WORDS
            and word not in _NO_FACT
            and is_ordinary(word)
        ):
            run.append(word)
        else:
            yield from _fact(run)
            run = []
    yield from _fact(run)


def _fact(run: list[str]) -> Iterator[str]:
    """The run of ordinary words as a phrase, when it ends in a noun and is neither one word nor a heap of them."""
    if 2 <= len(run) <= 4 and _is_fact(run):
        yield " ".join(run)


def _is_fact(words: list[str]) -> bool:
    last = singular(words[-1])
    if last in _OTHER_PRODUCTS or not (last in NOUNS or stem(last) in _NOUN_STEMS):
        return False
    return all(is_ordinary(word) and word not in FUNCTION_WORDS and word not in _NO_FACT for word in words)


_NOUN_STEMS = frozenset(map(stem, NOUNS))


def _key(word: str) -> str:
    """What counts as the same word: T-shirt and tshirts, Levi's and Levis."""
    return stem(word if word.isalnum() else "".join(filter(str.isalnum, word)))


def _keys(word: str) -> list[str]:
    """The word and, where hyphens join it, its parts: who said off-white does not say off white again."""
    return [_key(word), *(stem(part) for part in word.split("-") if len(part) > 2 and "-" in word)]


def _words(text: str) -> list[str]:
    return [match[0].lower() for match in _WORD.finditer(text)]
