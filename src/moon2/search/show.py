"""Hits for people: a table in the terminal, JSON, and a page with their photos."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

from moon2.search.index import Hit
from moon2.templates import templates

TEMPLATES = templates("moon2.search")
BLOCK_COLUMNS = 12
"""Width of a thumbnail in the terminal, in characters."""


@dataclass(frozen=True)
class Found:
    """What a search found; printed, it is a table.

    Attributes:
        asked: the search in words.
        hits: best first.
        photos: product → JPEG, of those that have one.
        in_colour: whether the terminal shows 24-bit colours, and so small photos.
        offset: how many hits come before these.
    """

    asked: str
    hits: Sequence[Hit]
    photos: Mapping[str, bytes]
    in_colour: bool = False
    offset: int = 0

    def __str__(self) -> str:
        if not self.hits:
            return f"{self.asked}: nothing was found"
        width = shutil.get_terminal_size((100, 24)).columns
        numbered = enumerate(self.hits, self.offset + 1)
        return "\n".join([self.asked, *(line for rank, hit in numbered for line in self._lines(rank, hit, width))])

    def _lines(self, rank: int, hit: Hit, width: int) -> list[str]:
        photo = _blocks(self.photos[hit.id]) if self.in_colour and hit.id in self.photos else []
        room = max(30, width - 6 - (BLOCK_COLUMNS + 1 if photo else 0))
        about = " · ".join(filter(None, [hit.id, _price(hit), " > ".join(hit.category)]))
        text = [_cut(hit.title or "(no title)", room), _cut(about, room), _cut(ranks(hit), room)]
        height = max(len(text), len(photo))
        blank = " " * BLOCK_COLUMNS
        lines = []
        for number in range(height):
            left = f"{rank:>4}  " if number == 0 else " " * 6
            picture = f"{photo[number] if number < len(photo) else blank} " if photo else ""
            lines.append(f"{left}{picture}{text[number] if number < len(text) else ''}".rstrip())
        return lines

    def to_json(self) -> str:
        """A JSON list of the hits."""
        return json.dumps([asdict(hit) for hit in self.hits], ensure_ascii=False, indent=1)

    def to_html(self) -> str:
        """A page of the hits and their photos, with nothing beside it."""
        photos = {id: f"data:image/jpeg;base64,{base64.b64encode(data).decode()}" for id, data in self.photos.items()}
        return TEMPLATES.get_template("hits.html.j2").render(
            asked=self.asked, hits=self.hits, photos=photos, ranks=ranks, price=_price
        )


def ranks(hit: Hit) -> str:
    """Why a hit is where it is, in a line."""
    why = [f"its very {hit.exact}"] if hit.exact else []
    why.append(f"vectors: #{hit.vector_rank:,}" if hit.vector_rank else "vectors: far down")
    why[-1] += f" (cosine {hit.cosine:.3f})"
    if hit.word_rank:
        why.append(f"words: #{hit.word_rank:,}")
    if hit.image is not None:
        why.append(f"photo {hit.image + 1}")
    return ", ".join(why)


def _price(hit: Hit) -> str:
    return "" if hit.price is None else f"{hit.price:,.2f}"


def _cut(text: str, width: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _blocks(photo: bytes) -> list[str]:
    """A photo as lines of half blocks in 24-bit colours: two pixels a character, one above the other."""
    image = Image.open(io.BytesIO(photo)).convert("RGB")
    canvas = Image.new("RGB", (BLOCK_COLUMNS, BLOCK_COLUMNS), "white")
    image.thumbnail(canvas.size)
    canvas.paste(image, ((canvas.width - image.width) // 2, (canvas.height - image.height) // 2))
    pixels = np.asarray(canvas).tolist()
    lines = []
    for above, below in zip(pixels[::2], pixels[1::2], strict=True):
        cells = ("\x1b[38;2;{};{};{};48;2;{};{};{}m▀".format(*a, *b) for a, b in zip(above, below, strict=True))
        lines.append("".join(cells) + "\x1b[0m")
    return lines
