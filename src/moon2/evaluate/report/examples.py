"""The report's queries with pictures: what they found, and for the hard ones what they should have found."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from moon2.catalog.store import Catalog, CatalogError
from moon2.images import ImageError, open_image
from moon2.records import Product, Query

THUMBNAIL = 144
"""Longest side of a picture in the report, in pixels."""

ASKED_WITH = {"t→mm": "Words only", "i→mm": "Photo only", "mm→mm": "Words and photo"}


def example_cards(examples: Mapping[str, Sequence[Mapping[str, Any]]], catalog: Catalog) -> str:
    """A card for each query: its words and photo, and for each form it was asked in the products it found.

    Args:
        examples: as `Evaluation.examples` or `Evaluation.hard`; an example with "relevant" shows that product too.
        catalog: where the queries and products are; what it no longer has is left out.

    Returns:
        HTML; empty text when there is nothing to show.
    """
    queries = {interaction.query.id: interaction.query for interaction in catalog.interactions("test")}
    strips: dict[str, list[str]] = {}
    for direction, some in examples.items():
        for example in some:
            if example["query"] in queries:
                strip = _strip(ASKED_WITH.get(direction, direction), example, catalog)
                strips.setdefault(example["query"], []).append(strip)
    return "".join(
        f'<article>{_query(catalog.with_image(queries[id]))}<div class="strips">{"".join(some)}</div></article>'
        for id, some in strips.items()
    )


def _query(query: Query) -> str:
    picture = _picture(query.image, "the query's photo") if query.image is not None else ""
    words = f"<q>{escape(query.text)}</q>" if query.text.strip() else "<i>no words</i>"
    return f'<div class="query">{picture}<p><small>the query</small> {words}</p></div>'


def _strip(asked_with: str, example: Mapping[str, Any], catalog: Catalog) -> str:
    # Evaluations written before similarities were kept have none.
    similarities = example.get("similarities") or [None] * len(example["results"])
    items = []
    for id, right, similarity in zip(example["results"], example["right"], similarities, strict=True):
        mark = '<b class="mark">✓ relevant</b>' if right else '<span class="mark">✗ not relevant</span>'
        items.append(_item(catalog, id, "right" if right else "wrong", mark, similarity))
    wanted = ""
    if "relevant" in example:
        mark = f'<b class="mark">wanted: rank {example["rank"]:,}</b>'
        wanted = _item(catalog, example["relevant"], "wanted", mark, example["similarity"])
    hits = sum(example["right"])
    said = f"best relevant product at rank {example['rank']:,}" if wanted else f"{hits} of {len(items)} relevant"
    return f"<h3>{escape(asked_with)} <small>{said}</small></h3>{_list([*items, wanted], bool(wanted))}"


def _list(items: Iterable[str], with_wanted: bool) -> str:
    kind = ' class="six"' if with_wanted else ""
    return f"<ol{kind}>{''.join(items)}</ol>"


def _item(catalog: Catalog, id: str, kind: str, mark: str, similarity: float | None) -> str:
    try:
        product = catalog.product(id)
    except CatalogError:
        return ""
    figure = "" if similarity is None else f'<span class="mark">similarity {similarity:.2f}</span>'
    return f'<li class="{kind}">{_thumbnail(product)}{mark}{figure}</li>'


def _thumbnail(product: Product) -> str:
    name = product.title.strip() or product.id
    picture = _picture(product.images[0], name) if product.images else '<span class="none">no photo</span>'
    return f"{picture}<p>{escape(name)}</p>"


def _picture(picture: Any, description: str) -> str:
    """An `img` with the scaled-down picture inside it, or a word where it cannot be read."""
    try:
        image = open_image(picture)
    except ImageError:
        return '<span class="none">photo cannot be read</span>'
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=80)
    data = base64.b64encode(buffer.getvalue()).decode()
    size = f'width="{image.width}" height="{image.height}"'
    return f'<img alt="{escape(description)}" {size} src="data:image/webp;base64,{data}">'
