"""Typing mistakes in a shop's title: one letter doubled, dropped or swapped in a word that its own row spells right.

A word is only mended towards the brand, category, attributes and description of the same product, or a colour or kind
of the word lists; a name that merely looks like another word is left alone.
"""

from __future__ import annotations

import re

from moon2.augment.text.lexicon import COLOURS, KINDS, MATERIALS, PATTERNS, is_allowed, singular
from moon2.augment.text.sanitize import CleanProduct

SHORTEST = 5
"""Letters of a word that may be mended; shorter ones are one letter away from too many others."""
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_LISTED = {
    word for words in (COLOURS, MATERIALS, PATTERNS, KINDS) for word in words if word.isalpha() and len(word) > 3
}


def corrected(title: str, product: CleanProduct) -> str:
    """The title with its typing mistakes mended."""
    row = f"{' '.join(product.attributes.values())} {' '.join(product.category)} {product.description[:300]}"
    spelled = {word.casefold(): word for word in _WORD.findall(row) if len(word) >= SHORTEST}

    def mended(match: re.Match[str]) -> str:
        written, word = match[0], match[0].casefold()
        known = is_allowed(word) or any(form in spelled or form in KINDS for form in (word, singular(word)))
        if len(word) < SHORTEST or not word.isascii() or known:
            return written
        for right in _one_slip_from(word):
            if right.startswith(word) or right.replace("our", "or") == word:
                continue  # an inflection, or another country's spelling
            # A name has a capital; a slip in a listed word is only believed in small letters.
            listed = written.islower() and (right in _LISTED or singular(right) in _LISTED)
            if right in spelled or listed:
                return _in_capitals_of(written, spelled.get(right, right))
        return written

    return _WORD.sub(mended, title)


def _in_capitals_of(written: str, word: str) -> str:
    if written.isupper():
        return word.upper()
    return word[0].upper() + word[1:] if written[0].isupper() else word.lower()


def _one_slip_from(word: str) -> list[str]:
    """The words of which this may be a slip: a letter doubled, two swapped, one dropped."""
    doubled = [word[:i] + word[i + 1 :] for i in range(1, len(word)) if word[i] == word[i - 1]]
    swapped = [word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1) if word[i] != word[i + 1]]
    letters = "abcdefghijklmnopqrstuvwxyz"
    dropped = [word[:i] + letter + word[i:] for i in range(1, len(word) + 1) for letter in letters]
    return [*doubled, *swapped, *dropped]
