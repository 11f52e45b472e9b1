"""Compound words, as German writes them, by the words of the catalog itself: no list of a language is needed.

"Gartenstuhl" is "Garten" and "Stuhl" in a shop that has both words. Whoever asks for a Gartenstuhl then finds a "Stuhl
für den Garten", and whoever asks for a Stuhl finds the Gartenstuhl (the idea: Koehn and Knight, EACL 2003).
"""

from __future__ import annotations

from collections.abc import Collection

SHORTEST = 4
"""Letters of a part. With 3, English words fall apart: "carpet" into "car" and "pet"."""
LINKS = ("", "s", "n", "en", "es", "er")
"""What German puts between two parts: "Arbeitsplatz", "Blumentopf"."""


def parts_of(word: str, vocabulary: Collection[str]) -> tuple[str, ...]:
    """The words of the vocabulary that a word is made of, in order; () where it is no compound of them.

    Of several ways, the one whose shortest part is longest: that is seldom chance.

    >>> parts_of("gartenstuhl", {"garten", "stuhl", "tuhl"})
    ('garten', 'stuhl')
    """
    if len(word) < 2 * SHORTEST or not word.isalpha():
        return ()
    best: tuple[str, ...] = ()
    for end in range(SHORTEST, len(word) - SHORTEST + 1):
        first, rest = word[:end], word[end:]
        known = [first.removesuffix(link) for link in LINKS if first.endswith(link)]
        known = [part for part in known if len(part) >= SHORTEST and part in vocabulary]
        if known:
            others = (rest,) if rest in vocabulary else parts_of(rest, vocabulary)
            found = (known[0], *others) if others else ()
            if found and (not best or min(map(len, found)) > min(map(len, best))):
                best = found
    return best
