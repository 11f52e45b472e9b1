"""The report's queries with images: what they retrieved, and for the hard ones what they should have retrieved."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from moon2.catalog.store import Catalog, CatalogError
from moon2.records import Query
from moon2.thumbnails import thumbnail

THUMBNAIL = 144
"""Longest side of an image in the report, in pixels."""
QUERY_VIEWS = {"t→mm": "Words only", "i→mm": "Photo only", "mm→mm": "Words and photo"}


@dataclass(frozen=True)
class Result:
    """A product of a strip; `kind` is "right", "wrong" or "wanted"."""

    kind: str
    title: str
    image: str | None
    similarity: float


@dataclass(frozen=True)
class Strip:
    """What a query retrieved by one of its views, best first; of a hard query also the wanted product and its rank."""

    view: str
    results: list[Result]
    rank: int | None


@dataclass(frozen=True)
class Card:
    """A query. An image is a thumbnail as a data URI, "" where it cannot be read, and None where there is none.

    `command` is what to type for the same search, "" where there is no index.
    """

    text: str
    image: str | None
    strips: list[Strip] = field(default_factory=list)
    command: str = ""


class Found(NamedTuple):
    """A product that a search of an index found; `photo` is an image file, and the similarity a cosine."""

    id: str
    title: str
    photo: bytes | None
    similarity: float


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
                cards[id] = Card(query.text.strip(), thumbnail(query.image, THUMBNAIL))
            cards[id].strips.append(_strip(QUERY_VIEWS.get(direction, direction), example, catalog))
    return list(cards.values())


def search_card(query: Query, view: str, found: Sequence[Found], relevant: Collection[str], command: str) -> Card:
    """The card of a search in an index.

    Args:
        query: that was searched with.
        view: by what, in words.
        found: best first.
        relevant: ids of the products that are right.
        command: what to type for the same.
    """
    results = [
        Result(
            "right" if one.id in relevant else "wrong",
            one.title or one.id,
            thumbnail(one.photo, THUMBNAIL),
            one.similarity,
        )
        for one in found
    ]
    return Card(query.text.strip(), thumbnail(query.image, THUMBNAIL), [Strip(view, results, None)], command)


def _strip(view: str, example: Mapping[str, Any], catalog: Catalog) -> Strip:
    kinds = ["right" if right else "wrong" for right in example["right"]]
    rows = list(zip(kinds, example["results"], example["similarities"], strict=True))
    if "relevant" in example:
        rows.append(("wanted", example["relevant"], example["similarity"]))
    results = []
    for kind, id, similarity in rows:
        try:
            product = catalog.product(id)
        except CatalogError:
            continue
        image = thumbnail(next(iter(product.images), None), THUMBNAIL)
        results.append(Result(kind, product.title.strip() or product.id, image, similarity))
    return Strip(view, results, example.get("rank"))
