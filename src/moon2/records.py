"""Product, query and interaction: plain records, validated when they are made.

A record that exists is usable: construction raises `RecordError`, one line that says what is wrong, in which record,
and what to do. Readers of other people's files catch it, list the row with that line, and go on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from os import PathLike, fspath
from typing import TYPE_CHECKING, TypeVar

from moon2.errors import UserError

if TYPE_CHECKING:
    from moon2.images import ImageSource  # which imports numpy and PIL

MAX_TITLE_CHARACTERS = 2_000
MAX_DESCRIPTION_CHARACTERS = 100_000
SHOWN_CHARACTERS = 60
"""Of a text in a record's repr."""

# A decoder writes U+FFFD for bytes that are not valid in the encoding.
_BROKEN = re.compile("[\x00\ufffd\ud800-\udfff]")
# A file name may hold U+FFFD; no address and no UTF-8 text can hold the others.
_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")
_T = TypeVar("_T")


class RecordError(UserError):
    """A record breaks a rule; `reason` is a short stable code for counting, the message is for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True, repr=False)
class Product:
    """One product of a shop: text, images, or both.

    Attributes:
        id: unique within a catalog, not empty.
        title: the shop's title; may be empty if there is an image.
        description: longer text; optional.
        category: path from the root to the leaf, e.g. ("Apparel", "Topwear", "Shirts").
        attributes: key to value, e.g. {"colour": "navy"}.
        images: whatever `open_image` reads, or URLs; the main one first; may be empty if there is a title.
        price: in the shop's currency, not negative; None when unknown.
        enriched_title: the title from textual enrichment (T⁺ of the paper), used in training only.
        expanded_images: the images from visual expansion (I^c_k), used in training only.
        provenance: where the augmentations come from.

    Raises:
        RecordError: reasons `no_id`, `no_content`, `text_too_long`, `broken_encoding`, `bad_price`; for values of
            another type `not_text`, `not_a_list`, `not_a_mapping`.
    """

    id: str
    title: str = ""
    description: str = ""
    category: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    images: tuple[ImageSource, ...] = ()
    price: float | None = None
    enriched_title: str | None = None
    expanded_images: tuple[ImageSource, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = f"product {self.id!r}"
        for name in ("category", "images", "expanded_images"):
            value = getattr(self, name)
            if type(value) is not tuple:
                object.__setattr__(self, name, _as_tuple(value, f"{where}: {name}"))
        if not isinstance(self.id, str) or not self.id.strip():
            raise RecordError("no_id", f"{where}: has no id; give every product a unique non-empty id")
        _check_text(self.id, where, "id", MAX_TITLE_CHARACTERS)
        _check_text(self.title, where, "title", MAX_TITLE_CHARACTERS)
        _check_text(self.description, where, "description", MAX_DESCRIPTION_CHARACTERS)
        if self.enriched_title is not None:
            _check_text(self.enriched_title, where, "enriched_title", MAX_TITLE_CHARACTERS)
        if not isinstance(self.attributes, Mapping):
            kind = type(self.attributes).__name__
            raise RecordError("not_a_mapping", f"{where}: attributes must be a mapping, got {kind}")
        for part in self.category:
            _check_text(part, where, "category", MAX_TITLE_CHARACTERS)
        for key, value in self.attributes.items():
            _check_text(key, where, "attribute name", MAX_TITLE_CHARACTERS)
            if not _is_sound(value, MAX_TITLE_CHARACTERS):
                _check_text(value, where, f"attribute {key!r}", MAX_TITLE_CHARACTERS)
        for name in ("images", "expanded_images"):
            for i, image in enumerate(getattr(self, name)):
                if not _is_sound(image, MAX_TITLE_CHARACTERS):
                    _check_image(image, where, f"{name}[{i}]")
        if not self.title.strip() and not self.images:
            raise RecordError("no_content", f"{where}: has neither a title nor an image; give it at least one")
        if self.price is not None and not (_is_number(self.price) and self.price >= 0):
            raise RecordError("bad_price", f"{where}: price {self.price!r} is not a number of at least 0")

    def __repr__(self) -> str:
        """One short line, without image bytes."""
        parts = [repr(self.id), *([_short(self.title)] if self.title else [])]
        parts += [_count(len(self.images), "image")] if self.images else []
        return f"Product({', '.join(parts)})"


@dataclass(frozen=True, slots=True, repr=False)
class Query:
    """What a shopper searches with: words, an image, or both.

    Attributes:
        id: unique within a catalog's log, not empty.
        text: the words; may be empty if there is an image.
        image: whatever `open_image` reads, or a URL; None where the shopper gave none.
        product_id: the product whose photo the shopper searched with. The query's image is that product's first image.
            Training counts the product as a known positive; evaluation leaves it out of the gallery.

    Raises:
        RecordError: reasons `no_id`, `no_content`, `text_too_long`, `broken_encoding`, `not_text`.
    """

    id: str
    text: str = ""
    image: ImageSource | None = None
    product_id: str | None = None

    def __post_init__(self) -> None:
        where = f"query {self.id!r}"
        if not isinstance(self.id, str) or not self.id.strip():
            raise RecordError("no_id", f"{where}: has no id; give every query a non-empty id")
        _check_text(self.id, where, "id", MAX_TITLE_CHARACTERS)
        _check_text(self.text, where, "text", MAX_TITLE_CHARACTERS)
        _check_image(self.image, where, "image")
        if self.product_id is not None:
            _check_text(self.product_id, where, "product_id", MAX_TITLE_CHARACTERS)
        if not self.text.strip() and self.image is None and self.product_id is None:
            raise RecordError("no_content", f"{where}: has neither text nor an image; give it at least one")

    def __repr__(self) -> str:
        """One short line, without image bytes."""
        parts = [repr(self.id), *([_short(self.text)] if self.text else [])]
        parts += ["an image"] if self.image is not None else []
        parts += [f"the image of {self.product_id!r}"] if self.image is None and self.product_id is not None else []
        return f"Query({', '.join(parts)})"


@dataclass(frozen=True, slots=True, repr=False)
class Interaction:
    """One event of a search log: a query, the products bought (or relevant), and products shown but not bought.

    Attributes:
        query: the search.
        positive_ids: products bought after the query (training), or all relevant products (test); at least one.
        negative_ids: products shown but not bought; may be empty.
        grades: how relevant each graded product is, by its id, as the log writes it; may be empty.

    Raises:
        RecordError: reasons `no_positive`, `positive_is_negative`, `bad_grade`, `not_a_list`.
    """

    query: Query
    positive_ids: tuple[str, ...]
    negative_ids: tuple[str, ...] = ()
    grades: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = f"query {self.query.id!r}"
        for name in ("positive_ids", "negative_ids"):
            object.__setattr__(self, name, _as_tuple(getattr(self, name), f"{where}: {name}"))
        if not self.positive_ids:
            raise RecordError("no_positive", f"{where}: has no positive product; a training row needs a purchase")
        both = set(self.positive_ids) & set(self.negative_ids)
        if both:
            raise RecordError("positive_is_negative", f"{where}: {sorted(both)[0]!r} is both positive and negative")
        for id, grade in self.grades.items():
            if not _is_number(grade):
                raise RecordError("bad_grade", f"{where}: the grade of {id!r} is {grade!r}, which is no number")

    def __repr__(self) -> str:
        """One short line, without image bytes."""
        counts = f"{_count(len(self.positive_ids), 'positive')}, {_count(len(self.negative_ids), 'negative')}"
        return f"Interaction({self.query!r}, {counts})"


def _short(text: str) -> str:
    return repr(text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…")


def _count(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def _as_tuple(value: Iterable[_T], where: str) -> tuple[_T, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise RecordError("not_a_list", f"{where} must be a list, got one {type(value).__name__}")
    return tuple(value)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def _is_sound(text: object, limit: int) -> bool:
    """Whether an ASCII text breaks no rule; quicker than the checks, which say what is wrong."""
    return type(text) is str and len(text) <= limit and text.isascii() and "\0" not in text


def _check_text(text: str, where: str, what: str, limit: int) -> None:
    if _is_sound(text, limit):
        return
    if not isinstance(text, str):
        raise RecordError("not_text", f"{where}: {what} must be text, got {type(text).__name__} {text!r:.80}")
    if len(text) > limit:
        raise RecordError("text_too_long", f"{where}: {what} has {len(text)} characters; shorten it to {limit}")
    if _BROKEN.search(text):
        raise RecordError("broken_encoding", f"{where}: {what} has broken characters; save the source as UTF-8")


def _check_image(image: object, where: str, what: str) -> None:
    """A path or URL must be one that can be written to a file; images are opened later, where they are used."""
    if isinstance(image, (str, PathLike)) and _UNWRITABLE.search(str(fspath(image))):
        name = f"{what} {str(fspath(image))!r:.200}"
        raise RecordError(
            "broken_encoding", f"{where}: {name} has broken characters; rename it, or save the source as UTF-8"
        )
