"""What can be embedded: text, images, products and queries, in whatever form they come; and what cannot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, TypeAlias, TypeGuard, cast

import numpy as np
from PIL import Image

from moon2.errors import UserError
from moon2.images import ImageSource, is_image_array
from moon2.model.product_text import product_text
from moon2.recipe import InputSettings
from moon2.records import Product, Query


class ItemError(UserError):
    """Something given to be embedded cannot be; the message says what it is and what can be given."""


@dataclass
class Item:
    """What the model sees of one record: its text, its opened images (RGB; large ones at their reading size), or both.

    `added_text` follows the text and is cut at a length of its own: the enriched title, in training only.
    """

    text: str = ""
    images: list[Image.Image] = field(default_factory=list)
    added_text: str = ""


ItemSource: TypeAlias = "str | ImageSource | Mapping[str, Any] | Product | Query | Item"
"""What can be embedded. A string is text, or an image if it is a data URI; a `Path`, bytes, a file-like object, a PIL
image, an array or a tensor is an image; a dictionary has "text", "image" (one or a list), or both."""


def is_one_item(source: object) -> TypeGuard[ItemSource]:
    """Whether it is one `ItemSource`, not an iterable of them."""
    one = (str, bytes, bytearray, PathLike, Image.Image, Mapping, Product, Query, Item)
    return isinstance(source, one) or is_image_array(source) or hasattr(source, "read")


def item_list(items: object) -> list[ItemSource]:
    """The items of any iterable in its order, or a single one.

    Raises:
        ItemError: it is neither; or a table, whose iteration gives names of columns, or a set, which has no order.
    """
    if isinstance(items, np.ndarray) and items.ndim == 1 and items.dtype.kind in "OU":  # as tables give columns of text
        return list(items.tolist())
    if is_one_item(items):
        return [items]
    kind = type(items).__name__
    if hasattr(items, "columns"):
        raise ItemError(f"cannot embed a {kind}; give a list of texts or images, such as list(table['title'])")
    if isinstance(items, (set, frozenset)):
        raise ItemError(f"cannot embed a {kind}, which has no order; give a list")
    if not isinstance(items, Iterable):
        raise ItemError(f"cannot embed a {kind}; give text, images, Products, or a list of them")
    return list(items)


def require_whole_characters(text: str, where: str) -> None:
    """Text that UTF-8 can hold: half of an emoji, as when a text is cut in the middle of one, is no character."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ItemError(f"{where}: its text has half a character at {error.start}; decode or cut it anew") from None


def item_length(source: ItemSource, settings: InputSettings) -> tuple[int, int]:
    """Number of images and characters, by which items of similar length are put together."""
    if isinstance(source, str):
        return 0, len(source)
    if isinstance(source, Product):
        return len(source.images), len(product_text(source, settings))
    return 1, len(source.text) if isinstance(source, (Query, Item)) else 0


def text_and_images(source: ItemSource) -> tuple[str, tuple[ImageSource, ...], str]:
    """Text, images, and how messages call it.

    Raises:
        ItemError: it is of another type, a dictionary with other keys, or its text is none.
    """
    if isinstance(source, Product):
        return "", source.images, f"product {source.id!r}"
    if isinstance(source, Query):
        return source.text, () if source.image is None else (source.image,), f"query {source.id!r}"
    if isinstance(source, Mapping):
        if unknown := set(source) - {"text", "image"}:
            raise ItemError(f"cannot embed a dictionary with {sorted(map(str, unknown))[0]!r}; give text and image")
        image = source.get("image")
        several = image if isinstance(image, (list, tuple)) else () if image is None else (image,)
        text = source.get("text")
        if not isinstance(text, str | None):
            raise ItemError(f"cannot embed a dictionary whose text is a {type(text).__name__} ({text!r:.40})")
        require_whole_characters(text or "", "item")
        return text or "", tuple(several), "item"
    if isinstance(source, str) and not source.startswith("data:image/"):
        require_whole_characters(source, "text")
        return source, (), "text"
    if is_one_item(source):
        return "", (cast(ImageSource, source),), "image"
    raise ItemError(
        f"cannot embed a {type(source).__name__}; give text, an image (path, bytes, PIL image, array), a Product, a "
        f'Query or {{"text": …, "image": …}}'
    )
