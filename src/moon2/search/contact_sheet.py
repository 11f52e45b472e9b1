"""Groups of near-duplicates as a page with photos, to be looked at before anything is removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from moon2.catalog.groups import Group
from moon2.catalog.store import Catalog
from moon2.progress import progress_bar
from moon2.templates import templates
from moon2.thumbnails import thumbnail

SHOWN_GROUPS, SHOWN_MEMBERS = 200, 12
"""Of many groups half of these are the most alike, and half the least: those tell whether the threshold is right."""
SIDE = 160
"""Longest side of a photo, in pixels."""
TEMPLATES = templates("moon2.search")


@dataclass(frozen=True)
class _Card:
    """A product of a group; the photo is a data URI, "" if it cannot be read, None where there is none."""

    id: str
    title: str
    about: str
    photo: str | None
    similarity: float


@dataclass(frozen=True)
class _Shown:
    place: int
    score: float
    cards: list[_Card]
    more: int


def contact_sheet(catalog: Catalog, groups: Sequence[Group], table: str) -> str:
    """HTML with nothing beside it: the most and the least alike groups, and the first products of each.

    Args:
        catalog: whose products they are.
        groups: of the products' numbers.
        table: the file that has all of them.
    """
    places = list(range(len(groups)))
    if len(groups) > SHOWN_GROUPS:
        places = [*places[: SHOWN_GROUPS // 2], *places[-(SHOWN_GROUPS // 2) :]]
    shown = [groups[place] for place in places]
    found = _read(catalog, {number for group in shown for number in group.members[:SHOWN_MEMBERS]})
    pages = [
        _Shown(
            place + 1,
            group.score,
            [
                _Card(*found[number], near)
                for number, near in list(zip(group.members, group.nearest, strict=True))[:SHOWN_MEMBERS]
            ],
            max(0, len(group.members) - SHOWN_MEMBERS),
        )
        for place, group in zip(places, shown, strict=True)
    ]
    return TEMPLATES.get_template("contact_sheet.html.j2").render(
        catalog=catalog.folder.name,
        groups=pages,
        products=sum(len(group.members) for group in groups),
        count=len(groups),
        table=table,
    )


def _read(catalog: Catalog, wanted: set[int]) -> dict[int, tuple[str, str, str, str | None]]:
    """Id, title, category with price, and photo of products by number."""
    found: dict[int, tuple[str, str, str, str | None]] = {}
    with progress_bar(total=len(wanted), desc="contact sheet", unit="products") as bar:
        for number, id in enumerate(catalog.ids()):
            if number in wanted:
                product = catalog.product(id)
                price = "" if product.price is None else f"{product.price:,.2f}"
                about = " · ".join(filter(None, [" › ".join(product.category), price]))
                found[number] = id, product.title, about, thumbnail(next(iter(product.images), None), SIDE)
                bar.update()
    return found
