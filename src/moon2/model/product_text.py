"""What is read as a product's text: the fields that `input.fields` names, in that order, joined by one template.

    Navy shirt | A light shirt for summer. | category: Apparel > Shirts | brand: Nordwind | colour: navy

The title and the description stand as they are, every other field after its name. A field that is empty is left out,
so a product read by its title alone is its title. `attributes` is all attributes that are not fields of their own, in
the order of their names: the same facts always make the same text.

Text is cut at `input.max_text_tokens`. The description gives way first, so that it never pushes out what comes after
it; then the end is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from moon2.meant import did_you_mean
from moon2.recipe import InputSettings
from moon2.records import Product

SEPARATOR = " | "
PATH_SEPARATOR = " > "
FIELDS = ("title", "description", "category", "attributes")
"""The fields that every catalog has; any other name is that of an attribute."""
CHARACTERS_A_TOKEN = 16
"""More than a tokenizer packs into a token, on average: what lies further on is never read, and need not be joined."""


def product_text(product: Product, settings: InputSettings) -> str:
    """The whole text of a product, not cut but for the unread end of a long description."""
    return join_fields(product.title, product.description, product.category, product.attributes, settings)


def join_fields(
    title: str, description: str, category: Sequence[str], attributes: Mapping[str, str], settings: InputSettings
) -> str:
    """`product_text` of what a product is made of, such as a row of a catalog."""
    texts = []
    for field in settings.fields:
        if field == "title":
            texts.append(title.strip())
        elif field == "description":
            texts.append(_readable(description, settings))
        elif field == "category":
            texts.append(_labelled(field, PATH_SEPARATOR.join(category)))
        elif field == "attributes":
            names = sorted(set(attributes) - set(settings.fields))
            texts += [_labelled(name, attributes[name]) for name in names]
        else:
            texts.append(_labelled(field, attributes.get(field, "")))
    return SEPARATOR.join(filter(None, texts))


def fitted_text(product: Product, settings: InputSettings, token_starts: Callable[[str], Sequence[int]]) -> str:
    """The text of a product with no more of its description than leaves room for its other fields.

    Args:
        product: to be read.
        settings: fields, and the limit on tokens.
        token_starts: where each token of a text begins, in characters.
    """
    text, description = product_text(product, settings), _readable(product.description, settings)
    while "description" in settings.fields and description:
        excess = len(token_starts(text)) - settings.max_text_tokens
        if excess <= 0:
            break
        # Apart, its tokens may be others than within the text; so the text that is left is counted again.
        starts = token_starts(description)
        description = description[: starts[-excess]].rstrip() if excess < len(starts) else ""
        text = join_fields(product.title, description, product.category, product.attributes, settings)
    return text


def columns_read(fields: Collection[str]) -> list[str]:
    """The columns of a catalog's products that these fields are made of."""
    return sorted({field if field in FIELDS else "attributes" for field in fields})


def unknown_fields(fields: Collection[str], attributes: Collection[str]) -> list[str]:
    """A line about each field that is none of a catalog's, whose products have these attributes.

    It is no error: not every product has every attribute, and the next catalog may have it.
    """
    known = [*FIELDS, *attributes]
    return [
        f"input.fields names {field!r}, and no product has such an attribute{did_you_mean(field, known)}"
        for field in fields
        if field not in known
    ]


def _readable(description: str, settings: InputSettings) -> str:
    """No more of it than may be read, so that joining and counting stay cheap."""
    return " ".join(description.split())[: CHARACTERS_A_TOKEN * settings.max_text_tokens]


def _labelled(name: str, value: str) -> str:
    value = " ".join(value.split())
    return f"{name.replace('_', ' ')}: {value}" if value else ""
