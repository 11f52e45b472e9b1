"""Compound words, as German writes them, by the words of the catalog itself: no list of a language is needed.

"Gartenstuhl" is "Garten" and "Stuhl" in a shop that has both words. Whoever asks for a Gartenstuhl then finds a "Stuhl
für den Garten", and whoever asks for a Stuhl finds the Gartenstuhl (the idea: Koehn and Knight, EACL 2003).
"""

from __future__ import annotations

from collections.abc import Collection

SHORTEST = 4
"""Letters of a part. With 3, English words fall apart: "carpet" into "car" and "pet"."""
LONGEST = 64
"""Letters of a word that is taken apart: German's longest have fewer, and a run of letters that is no word is slow."""
LINKS = ("", "s", "n", "en", "es", "er")
"""What German puts between two parts: "Arbeitsplatz", "Blumentopf"."""


def parts_of(word: str, vocabulary: Collection[str]) -> tuple[str, ...]:
    """The words of the vocabulary that a word is made of, in order; () where it is no compound of them.

    Of several ways, the one whose shortest part is longest: that is seldom chance.

    >>> parts_of("gartenstuhl", {"garten", "stuhl", "tuhl"})
    ('garten', 'stuhl')
    """
    if not 2 * SHORTEST <= len(word) <= LONGEST or not word.isalpha():
        return ()
    return _parts_from(0, word, vocabulary, {})


def _parts_from(
    start: int, word: str, vocabulary: Collection[str], known: dict[int, tuple[str, ...]]
) -> tuple[str, ...]:
    """The parts of a word from a letter on; `known` keeps them, for many ways of splitting lead to the same letter."""
    if start in known:
        return known[start]
    best: tuple[str, ...] = ()
    for end in range(start + SHORTEST, len(word) - SHORTEST + 1):
        first, rest = word[start:end], word[end:]
        parts = [first.removesuffix(link) for link in LINKS if first.endswith(link)]
        parts = [part for part in parts if len(part) >= SHORTEST and part in vocabulary]
        if parts:
            others = (rest,) if rest in vocabulary else _parts_from(end, word, vocabulary, known)
            found = (parts[0], *others) if others else ()
            if found and (not best or min(map(len, found)) > min(map(len, best))):
                best = found
    known[start] = best
    return best
