"""Whether a product's text is English, so that no English word enters a title in another language.

Function words decide, as they are short, frequent and hardly shared between languages.
"""

from __future__ import annotations

import re

from moon2.augment.text.lexicon import is_allowed, load_words
from moon2.augment.text.sanitize import CleanProduct

_LANGUAGES = load_words("languages")
_WORD = re.compile(r"[^\W\d_]+")


def is_english(product: CleanProduct) -> bool:
    """By the function words and letters of its title and description, and by the names of its attributes."""
    words = [word for word in _WORD.findall(f"{product.title} {product.description[:400]}".casefold())]
    votes = {"english": 0, "other": 0}
    for word in [*words, *(key.casefold() for key in product.attributes)]:
        if word in _LANGUAGES:
            votes[_LANGUAGES[word]] += 1
        elif not word.isascii():
            votes["other"] += 1
    if votes["other"] == votes["english"]:
        votes["english"] += any(word.isascii() and is_allowed(word) for word in words)
        votes["other"] += bool(words) and not all(map(str.isascii, words))
    return votes["english"] >= votes["other"]
