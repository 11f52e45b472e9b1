"""Augmentations in training: what `moon2 augment` made of a product, concatenated to it or drawn in its place.

The paper concatenates: a product's input is its title and enriched title, its image and n_c expanded ones. Drawing one
of each in their place (ours) costs only the longer text. Either way some products are given as they are, since at test
time none is augmented. Queries never are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from moon2.catalog.store import Catalog
from moon2.images import ImageError, ImageSource, open_image
from moon2.recipe import AugmentationSettings, RecipeError
from moon2.records import Product

Warn = Callable[[str, str], None]
OpenAt = Callable[[ImageSource, str], Image.Image]


@dataclass
class AugmentedProduct:
    """A product as one step gives it.

    Attributes:
        product: what stands in its place; the product itself unless something was drawn instead of its own.
        added_text: concatenated after its title.
        added_images: concatenated after its images; RGB.
    """

    product: Product
    added_text: str = ""
    added_images: list[Image.Image] = field(default_factory=list)


def draw_augmentations(
    product: Product,
    settings: AugmentationSettings,
    random: np.random.Generator,
    warn: Warn,
    open_at: OpenAt = open_image,
) -> AugmentedProduct:
    """Draws whether and with which augmentations a product is given; without any it stays as it is.

    Args:
        product: with its own title and images, and what was added to it.
        settings: `augmentations` of the recipe.
        random: only drawn from where augmentations are used.
        warn: called with a key and a line about an expanded image that cannot be read and is left out.
        open_at: opens an image, at a size of the caller's choice.
    """
    if settings.use == "none" or random.random() < settings.keep_original:
        return AugmentedProduct(product)
    if settings.use == "concatenate":
        return _concatenate(product, settings.images, random, warn, open_at)
    return AugmentedProduct(_replace(product, random, warn, open_at))


def _concatenate(
    product: Product, count: int, random: np.random.Generator, warn: Warn, open_at: OpenAt
) -> AugmentedProduct:
    numbers = list(range(len(product.expanded_images)))
    if len(numbers) > count:
        numbers = sorted(int(number) for number in random.choice(len(numbers), count, replace=False))
    opened = [_open(product, number, warn, open_at) for number in numbers]
    images = [image for image in opened if image is not None]
    text = (product.enriched_title or "").strip()
    if text and not product.title.strip():
        return AugmentedProduct(replace(product, title=text), "", images)
    return AugmentedProduct(product, text, images)


def _replace(product: Product, random: np.random.Generator, warn: Warn, open_at: OpenAt) -> Product:
    text = (product.enriched_title or "").strip()
    if text and random.random() < 0.5:
        product = replace(product, title=text)
    if product.images and product.expanded_images:
        number = int(random.integers(len(product.expanded_images) + 1)) - 1  # −1 is the product's own main image
        image = _open(product, number, warn, open_at) if number >= 0 else None
        if image is not None:
            product = replace(product, images=(image, *product.images[1:]))
    return product


def _open(product: Product, number: int, warn: Warn, open_at: OpenAt) -> Image.Image | None:
    where = f"product {product.id!r}: expanded image {number}"
    try:
        return open_at(product.expanded_images[number], where)
    except ImageError as error:
        warn(where, f"{error}; trained without it")
        return None


def require_augmentations(catalog: Catalog, settings: AugmentationSettings) -> None:
    """Refuses a run, before it begins, that asks for augmentations which are not there.

    Raises:
        RecipeError: not one product to train on has an enriched title or an expanded image.
    """
    if settings.use == "none":
        return
    rows = catalog.rows("train", ["enriched_title", "expanded_images"])
    if not any(row["enriched_title"] or row["expanded_images"] for row in rows):
        raise RecipeError(
            f"{catalog.folder}: catalog has no augmentations, and augmentations.use is {settings.use!r}; run "
            f"`moon2 augment {catalog.folder} --out …` and train on what it writes, or set augmentations.use to none"
        )


def augmentation_texts(catalog: Catalog, settings: AugmentationSettings) -> Iterator[str]:
    """What tells one run's augmentations from another's: enriched titles, and where everything added came from."""
    if settings.use != "none":
        for row in catalog.rows("train", ["enriched_title", "provenance"]):
            yield row["enriched_title"] or ""
            yield from (f"{pair['key']}={pair['value']}" for pair in row["provenance"] or ())
