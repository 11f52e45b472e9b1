"""The report's queries with images: what they retrieved, and for the hard ones what they should have retrieved."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from moon2.catalog.store import Catalog, CatalogError
from moon2.images import ImageError, ImageSource, open_image

THUMBNAIL = 144
"""Longest side of an image in the report, in pixels."""
QUERY_VIEWS = {"t→mm": "Words only", "i→mm": "Photo only", "mm→mm": "Words and photo"}


@dataclass(frozen=True)
class Thumbnail:
    """A scaled-down image as a data URI."""

    width: int
    height: int
    uri: str


@dataclass(frozen=True)
class Result:
    """A product; `image` is text where there is nothing to show, `kind` is "right", "wrong" or "wanted"."""

    title: str
    image: Thumbnail | str
    kind: str
    mark: str
    similarity: float


@dataclass(frozen=True)
class Strip:
    """What a query retrieved in one view, best first."""

    view: str
    summary: str
    results: list[Result]
    with_wanted: bool


@dataclass(frozen=True)
class Card:
    """A query; `image` is None for a query of words alone."""

    text: str
    image: Thumbnail | str | None
    strips: list[Strip] = field(default_factory=list)


def example_cards(examples: Mapping[str, Sequence[Mapping[str, Any]]], catalog: Catalog) -> list[Card]:
    """A card for each query, with a strip of products for each of its views.

    Args:
        examples: as `Evaluation.examples` or `Evaluation.hard`; an example with "relevant" shows that product too.
        catalog: where the queries and products are; what it no longer has is left out.
    """
    queries = {interaction.query.id: interaction.query for interaction in catalog.interactions("test")}
    cards: dict[str, Card] = {}
    for direction, some in examples.items():
        for example in some:
            id = example["query"]
            if id not in queries:
                continue
            if id not in cards:
                query = catalog.with_image(queries[id])
                image = None if query.image is None else _thumbnail(query.image)
                cards[id] = Card(query.text.strip(), image)
            cards[id].strips.append(_strip(QUERY_VIEWS.get(direction, direction), example, catalog))
    return list(cards.values())


def _strip(view: str, example: Mapping[str, Any], catalog: Catalog) -> Strip:
    results: list[Result] = []
    for id, right, similarity in zip(example["results"], example["right"], example["similarities"], strict=True):
        results += _result(catalog, id, "right" if right else "wrong", _mark(right), similarity)
    if "relevant" not in example:
        return Strip(view, f"{sum(example['right'])} of {len(results)} relevant", results, False)
    rank = f"{example['rank']:,}"
    wanted = _result(catalog, example["relevant"], "wanted", f"wanted: rank {rank}", example["similarity"])
    return Strip(view, f"best relevant product at rank {rank}", [*results, *wanted], True)


def _mark(right: bool) -> str:
    return "✓ relevant" if right else "✗ not relevant"


def _result(catalog: Catalog, id: str, kind: str, mark: str, similarity: float) -> Iterator[Result]:
    """The product, unless the catalog no longer has it."""
    try:
        product = catalog.product(id)
    except CatalogError:
        return
    image = _thumbnail(product.images[0]) if product.images else "no photo"
    yield Result(product.title.strip() or product.id, image, kind, mark, similarity)


def _thumbnail(source: ImageSource) -> Thumbnail | str:
    try:
        image = open_image(source)
    except ImageError:
        return "photo cannot be read"
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=80)
    return Thumbnail(*image.size, f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}")
