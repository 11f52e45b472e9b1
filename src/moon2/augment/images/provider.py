"""Visual expansion: a main image I_m, then K variants anchored on it. A provider's name is the name of its file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Protocol

import numpy as np
from PIL import Image

from moon2.augment.errors import ProductError, ProviderError
from moon2.augment.prompts import Prompts
from moon2.augment.text.sanitize import CleanProduct
from moon2.images import ImageError, ReadingSize, open_image

if TYPE_CHECKING:
    from moon2.augment.settings import ImageSettings

PROVIDERS = {
    "opencv": "moon2.augment.images.opencv:OpenCVProvider",
    "diffusers": "moon2.augment.images.diffusers:DiffusersProvider",
    "openai": "moon2.augment.images.openai:OpenAIImageProvider",
}


@dataclass(frozen=True, slots=True)
class Variant:
    """One expanded image.

    Attributes:
        image: an encoded RGB image (WebP or PNG).
        kind: what was varied, e.g. "background".
        prompt: which variant it is: the name of its prompt, or what was done to the image.
    """

    image: bytes
    kind: str
    prompt: str


@dataclass(frozen=True, slots=True)
class Expansion:
    """What a provider made of one product's first image.

    Attributes:
        main: I_m, encoded.
        variants: I^c_k, anchored on the main image.
        reason: why variants are missing, or what is to be known of the main image, as "code: one line"; else "".
    """

    main: bytes
    variants: tuple[Variant, ...] = ()
    reason: str = ""


class ImageProvider(Protocol):
    """What turns a product's first image into a main image and variants.

    Attributes:
        name, model, prompt: for provenance: the provider, its model and the versions of its prompts; "" where there is
            none.
        batch_size: always one product.
        concurrency: products under way at once, in threads.
    """

    name: str
    model: str
    prompt: str
    batch_size: int = 1
    concurrency: int = 1

    def expand(self, product: CleanProduct, count: int, seed: int) -> Expansion:
        """The expansion with `count` variants; draws depend on `seed` and the product's id alone.

        Raises:
            AugmentationError: the provider cannot work at all.
            ProductError: the product is at fault, as with `no_image` and `unreadable_image`.
            Exception: any other; the provider failed on this product.
        """
        ...


def load_image_provider(settings: ImageSettings, prompts: Prompts) -> ImageProvider:
    """The provider that `settings.provider` names; its file is imported only now, as it may need torch.

    Raises:
        AugmentationError: its model cannot be used.
    """
    provider: ImageProvider = resolve_name(PROVIDERS[settings.provider])(settings, prompts)
    return provider


def first_image(product: CleanProduct, read_at: ReadingSize | None = None) -> Image.Image:
    """The product's first image, RGB, a large one scaled while it is decoded where a reading size is given.

    Raises:
        ProductError: `no_image`, `unreadable_image`.
    """
    if not product.images:
        raise ProductError("no_image: the product has no image to start from")
    try:
        return open_image(product.images[0], f"product {product.id!r}: image 1", read_at)
    except ImageError as error:
        raise ProductError(f"unreadable_image: {error}") from None


def product_random(seed: int, id: str, *more: int) -> np.random.Generator:
    """The generator of one product, whatever its batch, process or machine: a function of the seed, its id, and more.

    Args:
        seed: of the run.
        id: of the product.
        more: which draw it is, where there are several.
    """
    digest = hashlib.blake2b(id.encode(), digest_size=8).digest()
    return np.random.default_rng([seed, int.from_bytes(digest), *more])


def expand_by_edits(
    product: CleanProduct,
    count: int,
    seed: int,
    prompts: Prompts,
    edit: Callable[[Image.Image, str, int], Image.Image],
    encode: Callable[[Image.Image], bytes],
) -> Expansion:
    """Edits the product's first image into the main image, and the main image into each variant.

    The first variant is drawn by product, so that a catalog with one variant a product still sees all of them.

    Args:
        product: its first image is edited.
        count: variants wanted.
        seed: decides, with the product's id, which variant comes first.
        prompts: the instructions.
        edit: (RGB image, instruction, 0 for the main image and the variants from 1) → the edited image.
        encode: image → the bytes to be stored.

    Raises:
        ProviderError, ProductError: `edit` raised it for the main image. A variant on which it does is left out.
    """
    main = edit(first_image(product), prompts.for_main_image(product), 0)
    variants: list[Variant] = []
    reason = ""
    first = int(product_random(seed, product.id).integers(len(prompts.variants)))
    for number in range(count):
        variant = prompts.variants[(first + number) % len(prompts.variants)]
        try:
            edited = edit(main, prompts.for_variant(variant, product), number + 1)
            variants.append(Variant(encode(edited), variant.kind, variant.name))
        except (ProviderError, ProductError) as error:
            reason = str(error)
    return Expansion(encode(main), tuple(variants), reason)
