"""What all vision-language models share: the image they see, and the title in their reply.

Models wrap the JSON object of the prompt in code fences, in reasoning, in kind words. All of that is tolerated. A reply
without a usable title is not: a guess at its meaning would enter the catalog unseen.
"""

from __future__ import annotations

import json
import re
import unicodedata

from PIL import Image

from moon2.augment.errors import ProductError
from moon2.augment.text.sanitize import CleanProduct
from moon2.images import ImageError
from moon2.records import MAX_TITLE_CHARACTERS
from moon2.thumbnails import open_small

IMAGE_SIDE = 768
"""Longest side, in pixels, of the image a model sees: more costs tokens and shows nothing that belongs in a title."""

_SHORTEST_SIDE = 32  # several servers and processors refuse slivers and single pixels
_LONGEST_REPLY = 50_000
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)


def main_image(product: CleanProduct) -> Image.Image | None:
    """The product's first image as RGB of at most 768 pixels a side; None if there is none that can be read."""
    if not product.images:
        return None
    try:
        image = open_small(product.images[0], IMAGE_SIDE)
    except ImageError:
        return None
    width, height = image.size
    if min(width, height) < _SHORTEST_SIDE:
        return image.resize((max(width, _SHORTEST_SIDE), max(height, _SHORTEST_SIDE)))
    return image


def title_in(reply: str | None) -> str:
    """The title in a reply: that of the last JSON object that has one, since models that reason aloud answer last.

    Raises:
        ProductError: `bad_json`: no JSON object with a text under "title", an empty title, or one of over 2,000
            characters.
    """
    text = _THOUGHT.sub("", (reply or "")[:_LONGEST_REPLY])
    titles = _titles(text)
    if not titles:
        shown = " ".join(text.split())[:80]
        raise ProductError(f'bad_json: no {{"title": …}} in the reply {shown!r}')
    title = " ".join("".join(filter(_is_text, titles[-1])).split())
    if not title:
        raise ProductError("bad_json: the title is empty")
    if len(title) > MAX_TITLE_CHARACTERS:
        raise ProductError(f"bad_json: the title has {len(title)} characters")
    return title


def _titles(text: str) -> list[str]:
    """The titles of all JSON objects in a text, nested ones too."""
    decoder = json.JSONDecoder(strict=False)  # models break lines inside a string
    titles = []
    start = text.find("{")
    while start >= 0:
        end = start + 1
        try:
            value, after = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            value, after = None, end
        if isinstance(value, dict) and isinstance(value.get("title"), str):
            titles.append(value["title"])
            end = after
        start = text.find("{", end)
    return titles


def _is_text(character: str) -> bool:
    # JSON escapes can make lone surrogates, which a record refuses, as it does U+FFFD.
    return character.isspace() or (unicodedata.category(character) not in ("Cc", "Cs") and character != "\ufffd")
