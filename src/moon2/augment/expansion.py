"""Visual expansion behind one small protocol: a main image I_m, then K variants anchored on it.

Three providers speak it: `classical` (OpenCV, no model), `diffusers` (an instruction image-editing pipeline here) and
`openai` (an images/edits server). A provider's file is imported only when it is asked for. A picture that cannot be
read or edited is not an exception but an `Expansion` with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from moon2.records import Product

if TYPE_CHECKING:
    from moon2.augment.settings import ImageSettings


class ExpansionError(ValueError):
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


class ImageProvider(Protocol):
    """What turns a product's first picture into a main image and variants.

    `name`, `model` ("" for classical) and `prompt` (version of the prompts, "" for classical) go into the provenance.
    """

    name: str
    model: str
    prompt: str

    def expand(self, products: Sequence[Product], count: int, seed: int) -> list[Expansion]:
        """One `Expansion` a product, in the same order, with `count` variants.

        What is drawn for a product depends on `seed` and its id only. A bad row never raises: it has a reason.
        """
        ...


def image_provider(settings: ImageSettings, prompts: str | None = None) -> ImageProvider:
    """The provider that `settings.provider` names.

    Args:
        settings: which provider, which model, and how it is reached.
        prompts: a folder of changed prompts, see `moon2.augment.prompts.load_prompts`; None for moon2's own.

    Raises:
        ExpansionError: there is no such provider, or "none" was asked for.
        PromptError: a changed prompt cannot be used.
    """
    if settings.provider == "classical":
        from moon2.augment.classical import ClassicalProvider

        return ClassicalProvider()
    if settings.provider == "diffusers":
        from moon2.augment.editing import EditingProvider

        return EditingProvider(settings, prompts)
    if settings.provider == "openai":
        from moon2.augment.editing_api import EditingServerProvider

        return EditingServerProvider(settings, prompts)
    raise ExpansionError(
        f"image provider {settings.provider!r} makes no expanded images; choose classical, diffusers or openai"
    )
