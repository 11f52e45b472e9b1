"""The style of a product: what tells, without a log, that two products answer the same query."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

# An attribute that names the style decides alone; otherwise the category and two of brand, colour and gender decide.
STYLE_NAMES = ("styleid", "itemgroupid", "groupid", "parentid", "parentsku", "variantof")
BRAND_NAMES = ("brand", "brandname", "manufacturer")
COLOUR_NAMES = ("colour", "color", "basecolour", "basecolor", "colourname", "colorname")
GENDER_NAMES = ("gender", "targetgender", "department")


def style_of(category: tuple[str, ...], attributes: Mapping[str, str]) -> tuple[str, ...]:
    """A key that products of one style share; () when too little is known."""
    by_name = {re.sub(r"[\W_]", "", name.casefold()): value.strip().casefold() for name, value in attributes.items()}

    def first(names: Sequence[str]) -> str:
        return next((by_name[name] for name in names if by_name.get(name)), "")

    if first(STYLE_NAMES):
        return ("style", first(STYLE_NAMES))
    parts = (first(BRAND_NAMES), first(COLOUR_NAMES), first(GENDER_NAMES))
    return (*category, *parts) if category and sum(map(bool, parts)) >= 2 else ()
