"""Takes out of strangers' text what must never reach an enriched title or a prompt as if it were ours.

Addresses, telephone numbers, markup, advertising, and instructions to a model ("ignore previous instructions …") that
stand in a title or description. From an instruction on, the rest of that text is not trusted: nobody can tell where it
ends. Disguises are looked through: full-width letters, zero-width characters, look-alikes from other alphabets, digits
for letters, spaced letters, HTML entities.
"""

from __future__ import annotations

import functools
import html
import re
import unicodedata

from moon2.augment.text.untrusted import INSTRUCTIONS, UNWANTED

_LOOKALIKES = str.maketrans(
    "авеѕіјкмнорстухѵгԁԛԝαβεικνορτυχγωіıℓ’‘“”–—‑",
    "abesijkmhopctyxvrdqwabeiknoptuxywiil''\"\"---",
)
_LEET = str.maketrans("013457@$", "oieastas")

_HINTS = re.compile(r"[^\x20-\x7e]|&[#a-z]|[0-9@$][a-z]|[a-z][0-9@$]")


def plain(text: str) -> str:
    """NFKC without invisible characters: digits of every script as 0-9, one kind of quote and dash, single spaces."""
    if text.isascii():
        return " ".join(text.split())
    text = unicodedata.normalize("NFKC", text)
    return " ".join("".join(_plain_character(character) for character in text).split())


@functools.lru_cache(maxsize=1024)
def safe_text(text: str) -> str:
    """The text in plain form without what `unsafe_spans` finds.

    Returns:
        One line, maybe empty.
    """
    kept, end = [], 0
    for start, stop in unsafe_spans(text):
        kept.append(text[end:start])
        end = stop
    kept.append(text[end:])
    return plain(" ".join(kept) if end else text)


@functools.lru_cache(maxsize=1024)
def unsafe_spans(text: str) -> list[tuple[int, int]]:
    """The parts of a text that are not to be trusted, as (start, end) characters, in order and not overlapping."""
    if not text:
        return []
    view, starts = _view(text)
    instruction = _first_instruction(view, text if _HINTS.search(text) else "")
    end = len(view) if instruction is None else instruction
    spans = [match.span() for form in UNWANTED for match in form.matches(view, end)]
    if instruction is not None:
        spans.append((instruction, len(view)))
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        elif stop > start:
            merged.append((start, stop))
    if starts is None:
        return merged
    return [(starts[start], starts[stop] if stop < len(starts) else len(text)) for start, stop in merged]


def has_instruction(text: str) -> bool:
    """Whether a text speaks to a model instead of describing a product."""
    return _first_instruction(_view(text)[0], text) is not None


def _first_instruction(view: str, disguised: str) -> int | None:
    starts = [_start(view)]
    if disguised:
        starts.append(_start(view.translate(_LEET)))
    if "&" in disguised and _start(plain(html.unescape(disguised)).lower()) is not None:
        starts.append(0)
    return min((start for start in starts if start is not None), default=None)


def _start(view: str) -> int | None:
    starts = (match.start() for form in INSTRUCTIONS for match in form.matches(view, len(view)))
    return min(starts, default=None)


def _view(text: str) -> tuple[str, list[int] | None]:
    """The text in lower case without disguises, and where each of its characters stood; None where nothing moved."""
    if text.isascii():
        return text.lower(), None
    characters: list[str] = []
    starts: list[int] = []
    for position, character in enumerate(text):
        seen = _plain_character(unicodedata.normalize("NFKC", character)).lower().translate(_LOOKALIKES)
        characters.append(seen)
        starts.extend([position] * len(seen))
    return "".join(characters), starts


def _plain_character(character: str) -> str:
    if character.isascii():
        return character
    if len(character) > 1:
        return "".join(map(_plain_character, character))
    kind = unicodedata.category(character)
    if kind == "Nd":
        return str(unicodedata.digit(character))
    if kind in ("Cf", "Mn", "Me", "Cc"):
        return "" if kind != "Cc" else " "
    if kind.startswith("Z"):
        return " "
    return {"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "‑": "-", "‐": "-", "−": "-"}.get(
        character, character
    )
