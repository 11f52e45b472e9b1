"""Visual expansion behind one small protocol: a main image I_m, then K variants anchored on it.

Three providers speak it: `opencv` (OpenCV, no model), `diffusers` (an instruction image-editing pipeline here) and
`openai` (an images/edits server). `providers.py` gives the one that the settings name. A picture that cannot be
read or edited is not an exception but an `Expansion` with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from moon2.errors import UserError
from moon2.images import ImageError, open_image
from moon2.records import Product


class ExpansionError(UserError):
    """The settings of visual expansion cannot be followed; the message is one line for people."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One expanded image.

    Attributes:
        image: an encoded picture (WebP, PNG or JPEG), RGB.
        kind: what was varied, e.g. "background".
        prompt: which variant it is: the name of its prompt, or what was done to the picture.
    """

    image: bytes
    kind: str
    prompt: str


@dataclass(frozen=True, slots=True)
class Expansion:
    """What a provider made of one product's first picture.

    Attributes:
        main: I_m, encoded; None when there is none.
        variants: I^c_k, anchored on the main image.
        reason: why something is missing, as "code: one line"; with a main image, what is to be known of it.
    """

    main: bytes | None
    variants: tuple[Variant, ...] = ()
    reason: str = ""


def opened_photo(product: Product) -> Image.Image | Expansion:
    """The product's first picture, RGB; where there is none to start from, the expansion that says why."""
    if not product.images:
        return Expansion(None, (), "no_image: the product has no picture to start from")
    try:
        return open_image(product.images[0], f"product {product.id!r}: image 0")
    except ImageError as error:
        return Expansion(None, (), f"unreadable_picture: {error}")


class ImageProvider(Protocol):
    """What turns a product's first picture into a main image and variants.

    `name`, `model` ("" for opencv) and `prompt` (version of the prompts, "" for opencv) go into the provenance.
    """

    name: str
    model: str
    prompt: str

    def expand(self, products: Sequence[Product], count: int, seed: int) -> list[Expansion]:
        """One `Expansion` a product, in the same order, with `count` variants.

        What is drawn for a product depends on `seed` and its id only. A bad row never raises: it has a reason.
        """
        ...
