"""How a title is worded: the house rules for every provider's titles, whether a model wrote them or rules did.

Boilerplate, leftovers of HTML and signs that shout are taken out; punctuation, blanks and capitals are set as a shop
would set them; nothing is said twice. All of it holds for any language: what is on no list stays as it is.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Collection, Container, Sequence
from functools import lru_cache

from moon2.augment.text.lexicon import (
    FUNCTION_WORDS,
    HARMLESS,
    IN_NAMES,
    KINDS,
    NEVER,
    UNITS,
    is_allowed,
    load_words,
    phrases_pattern,
    stem,
)

_BOILERPLATE_WORDS = load_words("boilerplate")
_HEADINGS = "|".join(word for word, heading in _BOILERPLATE_WORDS.items() if heading)
_LATIN = phrases_pattern(word for word, heading in _BOILERPLATE_WORDS.items() if not heading and ord(word[0]) < 0x3000)
_CHINESE = "|".join(word for word in _BOILERPLATE_WORDS if ord(word[0]) > 0x3000)
_BOILERPLATE = re.compile(
    rf"(?<![\w-])(?:{_LATIN})(?:\s20\d\d)?(?![\w-])\s?:?|(?<![\w-])(?:{_HEADINGS})\s?:|[【\[(]?(?:{_CHINESE})[】\])]?"
    r"|#\s?\d+(?=\s|$)|(?<!\w)new\s?!|^\s*(?:new|neu|nouveau|nuevo)\s*[-!:|,]\s+"
    r"|\s[-|!,]\s*(?:new|neu|nouveau|nuevo)[\s!|-]*$",
    re.IGNORECASE,
)
_ASIAN = "\u3000-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef"
_JOINS = r"&|\+|-|and|by|for|from|in|of|or|the|to|with|und|mit|für|von|et|de|y"
_DANGLING = re.compile(
    rf"(?:^(?:[,，.:;/|•·~*!?+&-]+\s*)+)|(?:\s*(?:[,，.:;/|•·~*!?+-]|(?<=\s)(?:{_JOINS})$)+$)", re.IGNORECASE
)
_WORD = re.compile(r"[^\W_]+(?:[-'.&/+][^\W_]+)*")
MAX_SHOUTED = 3
"""Letters of a word that may be an abbreviation in a title of capitals, as USB and LED are."""


def without_boilerplate(title: str, brand: str = "") -> str:
    """The title without calls to buy, praise, and the stars and arrows that a shop put between its words.

    Args:
        title: one line.
        brand: a name that may hold such words.
    """

    def gap(match: re.Match[str]) -> str:
        return match[0] if match[0].strip().casefold() in brand.casefold() else " , "

    if not title.isascii():
        title = "".join(" " if unicodedata.category(letter) in ("So", "Sk", "Co") else letter for letter in title)
    return tidy(_BOILERPLATE.sub(gap, title))


@lru_cache(maxsize=1024)  # a title is tidied after each step, and mostly is tidy already
def tidy(title: str) -> str:
    """Punctuation and blanks as they are printed: one blank after a comma, none before, nothing that dangles."""
    title = re.sub(r"!+|\?{2,}|\*+|~+|_{2,}", " ", title)
    title = re.sub(r"\s*[|•·]+\s*|\s*;\s*", ", ", title)
    title = re.sub(r"[(\[{]\s*[,.;:-]*\s*[)\]}]", " ", title)
    title = re.sub(r"\s+([,.:;)\]])", r"\1", title)
    title = re.sub(r"([(\[])\s+", r"\1", title)
    title = re.sub(rf",+(?=[^\s\d{_ASIAN}])|(?<!\d),+(?=\d)", ", ", title)
    title = re.sub(r"(?:,\s*)+(?=,)|(?<=[-:]),|,\s*(?=[-:]\s)", "", title)
    title = re.sub(rf"(?<=[{_ASIAN}])\s*[,，][\s,，]*(?=[{_ASIAN}\d])", "，", " ".join(title.split()))
    title = re.sub(r"\s-\s(?=,)|,(?=\s-\s)", "", title)
    before = None
    while before != title:
        before, title = title, _DANGLING.sub("", title).strip()
    return title


def advertising(words: Sequence[str], brand_words: Container[str], own_title: Sequence[str]) -> set[int]:
    """Which of these words, in lower case, advertise, address or command; "free" of "sugar free" does not.

    Args:
        words: of a title, in order.
        brand_words: words of the product's brands, which may be any.
        own_title: the words of the shop's title. "My" may stand before "Little" where it does there.
    """
    own = set(itertools.pairwise(own_title))
    found = {number for number, word in enumerate(words) if word in NEVER and word not in brand_words}
    for number in list(found):
        pairs = itertools.pairwise(words[max(number - 1, 0) : number + 2])
        named = words[number] in IN_NAMES and any(pair in own for pair in pairs)
        starts = range(max(number - 2, 0), number + 1)
        if named or any(" ".join(words[start : start + size]) in HARMLESS for start in starts for size in (2, 3)):
            found.discard(number)
    return found


def without_repeats(title: str) -> str:
    """The title without a word that was said before in the same breath, and without parts that say nothing new.

    A word stays where a function word stands between the two ("black case with black strap"), or where it alone names
    the kind ("flat zip flats").
    """
    said: dict[str, int] = {}
    forms: dict[str, str] = {}
    breath = 0
    removed: list[tuple[int, int]] = []
    for match in _WORD.finditer(title):
        word = match[0].casefold()
        if word in FUNCTION_WORDS or word in UNITS or not word.isascii():
            breath += word in FUNCTION_WORDS
            continue
        key = stem("".join(filter(str.isalnum, word)))
        first = forms.setdefault(key, word)
        names_kind = word in KINDS and first not in KINDS
        if len(key) > 1 and not key.isdecimal() and said.get(key) == breath and not names_kind:
            removed.append(match.span())
        said.setdefault(key, breath)
        said[key] = breath
    for start, end in reversed(removed):
        title = title[:start] + title[end:]
    return tidy(title) if removed else title


def as_printed(title: str, spellings: Collection[str] = ()) -> str:
    """A title of capitals in capitals and small letters, and a large letter where a title begins.

    Args:
        title: one line.
        spellings: words as the product's other text writes them; such a word keeps its capitals.
    """
    letters = [letter for letter in title if letter.isalpha() and letter.upper() != letter.lower()]
    words = _WORD.findall(title)
    shouts = len(letters) > 6 and len(words) > 1 and sum(map(str.isupper, letters)) > 0.8 * len(letters)
    if shouts:
        title = _WORD.sub(lambda match: _spoken(match[0], spellings), title)
    elif any(map(str.isupper, words)):
        title = _WORD.sub(lambda match: _as_in(spellings, match[0]), title)
    first = _WORD.search(title)
    if first and first.start() == 0 and first[0].islower() and first[0] not in spellings:
        title = title[0].upper() + title[1:]
    return title


def _as_in(spellings: Collection[str], word: str) -> str:
    """A single shouted word as the product's other text writes it, if it does in small letters."""
    if len(word) <= MAX_SHOUTED + 1 or not word.isupper() or not word.isalpha() or word in spellings:
        return word
    return next((form for form in (word.capitalize(), word.lower()) if form in spellings), word)


def _spoken(word: str, spellings: Collection[str]) -> str:
    """A shouted word as it is spoken: codes, and what may be an abbreviation, stay."""
    if any(map(str.isdecimal, word)) or word in spellings:
        return word
    if len(word) <= MAX_SHOUTED and not is_allowed(word):
        return word
    return word.lower() if word.lower() in FUNCTION_WORDS else word.capitalize()
