"""What image editing by instructions has in common, in a pipeline here or behind a server: the order of the edits.

The product's photo becomes the main image, and the main image becomes each variant. Which variant comes first is drawn
by product, so that a catalog with one variant a product still sees all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from PIL import Image

from moon2.augment.images.provider import Expansion, ImageProvider, Variant, opened_photo
from moon2.augment.prompts import load_prompts
from moon2.augment.settings import product_random
from moon2.errors import UserError
from moon2.records import Product

if TYPE_CHECKING:
    from moon2.augment.settings import ImageSettings

Picture = TypeVar("Picture")
"""A picture as a provider holds it between two edits: opened, or as the bytes that it sends."""


class EditError(UserError):
    """A picture could not be had; "code: one line"."""


class InstructionEditor(ImageProvider, ABC, Generic[Picture]):
    """Makes a product's expanded images by one edit after the other; a subclass says how one edit is done.

    Attributes:
        model: as the settings name it.
        prompt: the versions of the prompts.
    """

    def __init__(self, settings: ImageSettings, prompts: str | None = None) -> None:
        """Reads the prompts.

        Raises:
            PromptError: a changed prompt cannot be used.
        """
        self._settings = settings
        self._prompts = load_prompts(prompts)
        self.model = settings.model
        self.prompt = f"{self._prompts.main_image.version} {self._prompts.variants_version}"

    @abstractmethod
    def _first(self, photo: Image.Image) -> Picture:
        """The product's photo (RGB) as the first edit takes it."""

    @abstractmethod
    def _stored(self, picture: Picture) -> bytes:
        """A picture as an encoded file."""

    async def _expand(
        self, product: Product, count: int, seed: int, edit: Callable[[Picture, str, int], Awaitable[Picture]]
    ) -> Expansion:
        """The product's expansion.

        Args:
            product: its first picture is edited.
            count: variants wanted.
            seed: decides, with the product's id, where the round of variants begins.
            edit: (picture, instruction, 0 for the main image and the variants from 1) → the edited picture; raises
                `EditError` where there is none.
        """
        photo = opened_photo(product)
        if isinstance(photo, Expansion):
            return photo
        try:
            main = await edit(self._first(photo), self._prompts.for_main_image(product), 0)
        except EditError as error:
            return Expansion(None, (), str(error))
        variants: list[Variant] = []
        reason = ""
        begin = int(product_random(seed, product.id).integers(len(self._prompts.variants)))
        for number in range(count):
            asked = self._prompts.variants[(begin + number) % len(self._prompts.variants)]
            try:
                made = await edit(main, self._prompts.for_variant(asked, product), number + 1)
                variants.append(Variant(self._stored(made), asked.kind, asked.name))
            except EditError as error:
                reason = str(error)
        return Expansion(self._stored(main), tuple(variants), reason)
