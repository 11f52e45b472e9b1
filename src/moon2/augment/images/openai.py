"""The provider `openai`: expanded images by an images/edits server, hosted or one's own.

An image comes back as base64, or at an address. An address is only followed to the server itself, because a reply is
not to be trusted with more.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import openai
from PIL import Image

from moon2.augment.errors import ProviderError
from moon2.augment.images.provider import Expansion, ImageProvider, expand_by_edits
from moon2.augment.openai_client import failure_of, open_client
from moon2.augment.prompts import Prompts
from moon2.augment.text.sanitize import CleanProduct
from moon2.errors import one_line
from moon2.images import ImageError, open_image

if TYPE_CHECKING:
    from moon2.augment.settings import ImageSettings

LONGEST_SIDE = 1024
MOST_BYTES = 30_000_000


class OpenAIImageProvider(ImageProvider):
    """`settings.concurrency` products at once, from threads."""

    name = "openai"

    def __init__(self, settings: ImageSettings, prompts: Prompts) -> None:
        self.model = settings.model
        self.prompt = f"{prompts.main_image.version} {prompts.variants_version}"
        self.concurrency = settings.concurrency
        self._settings = settings
        self._prompts = prompts
        self._client = open_client(settings)

    def expand(self, product: CleanProduct, count: int, seed: int) -> Expansion:
        """See `ImageProvider`.

        Raises:
            AugmentationError: the server cannot be reached, refuses the key, or does not know the model.
            ProviderError: `http_NNN`, `timeout`, `connection`, `bad_image`.
            ProductError: `no_image`, `unreadable_image`, `refused`.
        """
        return expand_by_edits(product, count, seed, self._prompts, self._edit, _png)

    def _edit(self, image: Image.Image, instruction: str, number: int) -> Image.Image:
        if number == 0:
            image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        try:
            reply = self._client.images.edit(
                model=self.model, image=("product.png", _png(image), "image/png"), prompt=instruction, n=1
            )
            return open_image(self._image_in(reply), "the server's reply")
        except openai.OpenAIError as error:
            raise failure_of(error, "images", self._settings) from None
        except (ImageError, ValueError) as error:
            raise ProviderError(f"bad_image: {one_line(error)}") from None

    def _image_in(self, reply: Any) -> bytes:
        data = getattr(reply, "data", None)
        if not data:
            raise ImageError("the reply holds no image")
        if data[0].b64_json:
            return base64.b64decode(data[0].b64_json, validate=True)
        address = str(data[0].url or "")
        if urlsplit(address)[:2] != urlsplit(str(self._client.base_url))[:2]:
            raise ImageError("the reply holds neither an image nor an address on the server itself")
        content: bytes = self._client.get(address, cast_to=openai.HttpxBinaryResponseContent).content
        if len(content) > MOST_BYTES:
            raise ImageError(f"more than {MOST_BYTES // 1_000_000} MB")
        return content


def _png(image: Image.Image) -> bytes:
    stored = io.BytesIO()
    image.save(stored, "PNG")
    return stored.getvalue()
