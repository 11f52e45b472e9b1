"""What the rest of moon2 asks of an encoder. `moon2.Encoder` is one; `load_encoder` makes others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
from PIL import Image

from moon2.errors import UserError
from moon2.images import ImageError, ImageSource, ReadingSize, open_image
from moon2.model.encoder import Vectors, logger
from moon2.model.errors import EncoderError
from moon2.model.item_checks import require_items
from moon2.model.items import ItemError, ItemSource, text_and_images
from moon2.model.product_text import product_text
from moon2.model.reading_size import ShorterSideReadingSize
from moon2.recipe import InputSettings
from moon2.records import Product, Query
from moon2.views import VIEWS, View

RIBBON = 16
"""How many times as long as wide an image may be for an adapter."""


class VectorEncoder(Protocol):
    """Products, queries and plain text to vectors."""

    @property
    def fields(self) -> Sequence[str]:
        """What it reads of a product as its text, as `input.fields` names it."""

    def product_text(self, product: Product) -> str:
        """Those fields as one text; "" where the product has none of the fields that it reads."""

    def encode(
        self, items: Sequence[ItemSource], *, view: View | None = None, batch_size: int = 64, skip_bad: bool = False
    ) -> Vectors:
        """[n, D] float32 of unit length, in order; with `skip_bad`, NaN for an item that cannot be embedded."""

    def encode_views(
        self, products: Sequence[Product], *, batch_size: int = 64, skip_bad: bool = False
    ) -> dict[View, Vectors]:
        """The same for the views t, i and mm of products that have both text and images."""


class EncoderAdapter(ABC):
    """A `VectorEncoder` over a model that embeds texts, images and pairs of both; only a product's first image is read.

    `role` is "query", "document", or "" for what is neither, such as a label.

    Args:
        name: which model it is.
        prompt: put before every query's text.

    Attributes:
        inputs: which fields of a product are its text; its title alone unless it is set.
        reading_size: to which large images are scaled while they are decoded; more than most models read.
    """

    takes_images = True
    """A model of text alone has no view i; its view mm is that of the text."""

    def __init__(self, name: str, prompt: str = "") -> None:
        self.name = name
        self.prompt = prompt
        self.inputs = InputSettings()
        self.reading_size: ReadingSize = ShorterSideReadingSize(768)
        self._dimension = 0

    @property
    def fields(self) -> Sequence[str]:
        """Those in `inputs`."""
        return self.inputs.fields

    def product_text(self, product: Product) -> str:
        """The fields in `inputs`, whole: the model cuts its text itself."""
        return product_text(product, self.inputs)

    @abstractmethod
    def embed_texts(self, texts: Sequence[str], batch_size: int = 64, role: str = "") -> Vectors:
        """[n, D] float32 of unit length."""

    @abstractmethod
    def embed_images(self, images: Sequence[Image.Image], batch_size: int = 64, role: str = "") -> Vectors:
        """[n, D] float32 of unit length, of RGB images."""

    def embed_pairs(
        self, texts: Sequence[str], images: Sequence[Image.Image], batch_size: int = 64, role: str = ""
    ) -> Vectors:
        """[n, D] float32 of unit length: the normalised sum of both vectors, as such models are commonly used."""
        both = self.embed_texts(texts, batch_size, role) + self.embed_images(images, batch_size, role)
        return both / np.linalg.norm(both, axis=1, keepdims=True).clip(min=1e-12)

    def encode(
        self, items: Sequence[ItemSource], *, view: View | None = None, batch_size: int = 64, skip_bad: bool = False
    ) -> Vectors:
        """As `moon2.Encoder.encode`; with `skip_bad`, a row of NaN even where not one item can be embedded.

        Raises:
            EncoderError: an item cannot be embedded and `skip_bad` is off.
        """
        sources = require_items(items, () if view is None else (view,), batch_size)
        if view == "i" and skip_bad and not self.takes_images:
            return np.full((len(sources), self._length()), np.nan, np.float32)
        groups: dict[tuple[View, str], list[_Opened]] = {}
        for row, item in enumerate(sources):
            try:
                text, image, where = self._text_and_image(item, view)
                if not text and image is None:
                    raise ItemError(f"has nothing to embed in view {view or 'mm'}")
            except UserError as error:
                _set_aside(f"item {row}: {error}", skip_bad)
                continue
            has: View = "i" if not text else "t" if image is None else "mm"
            role = "query" if isinstance(item, Query) else "document" if isinstance(item, Product) else ""
            groups.setdefault((has, role), []).append((row, text, image, where))
        parts = []
        for (has, role), group in groups.items():
            for start in range(0, len(group), batch_size):  # images are opened batch by batch
                batch = group[start : start + batch_size]
                rows, texts, images = self._open(batch, skip_bad)
                if not rows:
                    continue
                if has == "t":
                    parts.append((rows, self.embed_texts(texts, batch_size, role)))
                elif has == "i":
                    parts.append((rows, self.embed_images(images, batch_size, role)))
                else:
                    parts.append((rows, self.embed_pairs(texts, images, batch_size, role)))
        vectors = np.full((len(sources), parts[0][1].shape[1] if parts else self._length()), np.nan, np.float32)
        for rows, part in parts:
            vectors[rows] = part
        return vectors

    def encode_views(
        self, products: Sequence[Product], *, batch_size: int = 64, skip_bad: bool = False
    ) -> dict[View, Vectors]:
        """As `moon2.Encoder.encode_views`.

        A product without an image has no joint view. One whose image cannot be read has none at all: the caller decides
        whether its text shall stand for it. So it is with every product, where the model takes no images.
        """
        if not self.takes_images:
            return {view: np.full((len(products), self._length()), np.nan, np.float32) for view in VIEWS}
        vectors = {view: self.encode(products, view=view, batch_size=batch_size, skip_bad=skip_bad) for view in VIEWS}
        without_image = np.isnan(vectors["i"]).all(axis=1)
        vectors["mm"][without_image] = np.nan
        vectors["t"][without_image & np.array([bool(product.images) for product in products], dtype=bool)] = np.nan
        return vectors

    def _length(self) -> int:
        """Of a vector; a model tells by making one."""
        if not self._dimension:
            self._dimension = self.embed_texts(["a"]).shape[1]
        return self._dimension

    def _text_and_image(self, item: ItemSource, view: View | None) -> tuple[str, ImageSource | None, str]:
        """What is read of an item in a view, the image unopened, and how messages call it."""
        text, images, where = text_and_images(item)
        if isinstance(item, Product):
            text = self.product_text(item)
        elif isinstance(item, Query) and text:
            text = f"{self.prompt}{text}"
        if text and view != "i" and not self.takes_images:
            images = ()
        return "" if view == "i" else text.strip(), None if view == "t" or not images else images[0], where

    def _open(self, batch: Sequence[_Opened], skip_bad: bool) -> tuple[list[int], list[str], list[Image.Image]]:
        """The rows of a batch that can be embedded, with their texts and images; all have an image, or none has."""
        rows, texts, opened = [], [], []
        for row, text, image, where in batch:
            if image is not None:
                try:
                    opened.append(_within_ribbon(open_image(image, where, self.reading_size)))
                except ImageError as error:
                    # The text alone would be another vector under the name of both.
                    _set_aside(f"item {row}: {error}", skip_bad)
                    continue
            rows.append(row)
            texts.append(text)
        return rows, texts, opened


_Opened: TypeAlias = "tuple[int, str, ImageSource | None, str]"
"""Row, text, image, and how messages call it."""


def _set_aside(problem: str, skip_bad: bool) -> None:
    if not skip_bad:
        raise EncoderError(f"{problem}; fix or leave it out, or pass skip_bad=True for a row of NaN")
    logger.warning("set aside %s", problem)


def _within_ribbon(image: Image.Image) -> Image.Image:
    """The middle of an image more than 16 times as long as wide: processors that scale the shorter side up would make
    gigabytes of it, and crop it then."""
    longest = RIBBON * min(image.size)
    left, top = (max(0, (side - longest) // 2) for side in image.size)
    return image.crop((left, top, image.width - left, image.height - top)) if left or top else image
