"""What the rest of moon2 asks of an encoder. `moon2.Encoder` is one; `load_encoder` makes others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol, cast

import numpy as np
from PIL import Image

from moon2.images import ImageError, ImageSource, open_image
from moon2.model.encoder import Vectors, logger
from moon2.model.encoder_folder import EncoderError
from moon2.model.processor import ItemSource, is_one_item
from moon2.model.product_text import product_text
from moon2.recipe import InputSettings
from moon2.records import Product, Query
from moon2.views import VIEWS, View


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
    """

    def __init__(self, name: str, prompt: str = "") -> None:
        self.name = name
        self.prompt = prompt
        self.inputs = InputSettings()
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
        opened = [self._open(item, view, skip_bad) for item in items]
        groups: dict[tuple[View, str], list[int]] = {}
        for row, (item, (text, image)) in enumerate(zip(items, opened, strict=True)):
            if not text and image is None:
                if not skip_bad:
                    raise EncoderError(f"item {row} has nothing to embed in view {view or 'mm'}")
                continue
            has: View = "i" if not text else "t" if image is None else "mm"
            role = "query" if isinstance(item, Query) else "document" if isinstance(item, Product) else ""
            groups.setdefault((has, role), []).append(row)
        parts = []
        for (has, role), rows in groups.items():
            texts, images = [opened[row][0] for row in rows], [opened[row][1] for row in rows]
            if has == "t":
                parts.append((rows, self.embed_texts(texts, batch_size, role)))
            elif has == "i":
                parts.append((rows, self.embed_images([image for image in images if image], batch_size, role)))
            else:
                pairs = [image for image in images if image]
                parts.append((rows, self.embed_pairs(texts, pairs, batch_size, role)))
        if not self._dimension:
            # A model tells the length of its vectors by making one; here perhaps not one item can be embedded.
            self._dimension = (parts[0][1] if parts else self.embed_texts(["a"])).shape[1]
        vectors = np.full((len(opened), self._dimension), np.nan, np.float32)
        for rows, part in parts:
            vectors[rows] = part
        return vectors

    def encode_views(
        self, products: Sequence[Product], *, batch_size: int = 64, skip_bad: bool = False
    ) -> dict[View, Vectors]:
        """As `moon2.Encoder.encode_views`.

        A product without an image has no joint view. One whose image cannot be read has none at all: the caller decides
        whether its text shall stand for it.
        """
        vectors = {view: self.encode(products, view=view, batch_size=batch_size, skip_bad=skip_bad) for view in VIEWS}
        without_image = np.isnan(vectors["i"]).all(axis=1)
        vectors["mm"][without_image] = np.nan
        vectors["t"][without_image & np.array([bool(product.images) for product in products], dtype=bool)] = np.nan
        return vectors

    def _open(self, item: ItemSource, view: View | None, skip_bad: bool) -> tuple[str, Image.Image | None]:
        text, image, where = "", None, "image"
        if isinstance(item, str):
            text = item
        elif isinstance(item, Product):
            text, image, where = self.product_text(item), next(iter(item.images), None), f"product {item.id!r}"
        elif isinstance(item, Query):
            text, image, where = f"{self.prompt}{item.text}" if item.text else "", item.image, f"query {item.id!r}"
        elif is_one_item(item):
            image = cast(ImageSource, item)
        else:
            raise EncoderError(f"cannot embed a {type(item).__name__}; give text, an image, a Product or a Query")
        text = "" if view == "i" else text.strip()
        if view == "t" or image is None:
            return text, None
        try:
            return text, open_image(image, where)
        except ImageError as error:
            if not skip_bad:
                raise EncoderError(str(error)) from None
            logger.warning("%s", error)
            # The text alone would be another vector under the name of both.
            return "", None
