"""What is common to asking any vision-language model for a title: the picture it sees, and reading what it replies.

Models wrap the JSON object they were asked for in code fences, in reasoning, in kind words. All that is tolerated; a
reply without a usable title is not, because a guess at what the model meant would enter the catalog unseen.
"""

from __future__ import annotations

import json
import re
import unicodedata

from PIL import Image

from moon2.errors import UserError
from moon2.images import ImageError, open_image
from moon2.records import MAX_TITLE_CHARACTERS, Product

PICTURE_SIDE = 768
"""Longest side, in pixels, of the picture a model sees: more costs tokens and shows nothing that belongs in a title."""

_SHORTEST_SIDE = 32  # several servers and processors refuse slivers and single pixels
_LONGEST_REPLY = 50_000
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)


class ReplyError(UserError):
    """A model's reply holds no title; the message is one line that says why."""


def main_picture(product: Product) -> Image.Image | None:
    """The product's main picture as RGB of at most 768 pixels a side; None if there is none that can be read."""
    if not product.images:
        return None
    try:
        picture = open_image(product.images[0], f"product {product.id!r}: image 0")
    except ImageError:
        return None
    picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS)
    width, height = picture.size
    if min(width, height) < _SHORTEST_SIDE:
        return picture.resize((max(width, _SHORTEST_SIDE), max(height, _SHORTEST_SIDE)))
    return picture


def title_in(reply: str | None) -> str:
    """The title in a reply: that of the last JSON object that has one, since models that reason aloud answer last.

    Raises:
        ReplyError: empty, no JSON object with a text under "title", an empty title, or one of over 2,000 characters.
    """
    text = _THOUGHT.sub("", (reply or "")[:_LONGEST_REPLY])
    titles = _titles(text)
    if not titles:
        shown = " ".join(text.split())[:80]
        raise ReplyError(f'no {{"title": …}} in the reply {shown!r}' if shown else "the reply is empty")
    title = " ".join("".join(character for character in titles[-1] if _is_text(character)).split())
    if not title:
        raise ReplyError("the title is empty")
    if len(title) > MAX_TITLE_CHARACTERS:
        raise ReplyError(f"the title has {len(title)} characters")
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
    # Lone surrogates come out of JSON escapes, and a record refuses them and U+FFFD; line breaks become spaces later.
    return character.isspace() or (unicodedata.category(character) not in ("Cc", "Cs") and character != "\ufffd")
