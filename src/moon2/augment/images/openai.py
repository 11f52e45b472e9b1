"""The provider `openai` for pictures: an images/edits server, hosted or one's own.

Retries, backoff and Retry-After are the `openai` package's. A picture comes back as base64, or at an address; an
address is only followed to the very server that was asked, because a reply is not to be trusted with more.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import openai
from PIL import Image

from moon2.augment import remote
from moon2.augment.images.editor import EditError, InstructionEditor
from moon2.augment.images.provider import Expansion, ExpansionError
from moon2.augment.waiting import all_of, wait_for
from moon2.images import ImageError, open_image
from moon2.records import Product

if TYPE_CHECKING:
    from moon2.augment.settings import ImageSettings

LONGEST_SIDE = 1024
MOST_BYTES = 30_000_000


class EditingServerProvider(InstructionEditor[bytes]):
    """The provider `openai`: main image first, then variants of it, `concurrency` products at once."""

    name = "openai"

    def __init__(self, settings: ImageSettings, prompts: str | None = None) -> None:
        """Asks nothing yet.

        Raises:
            ExpansionError: no model is named, or `base_url` is not an http address.
            PromptError: a changed prompt cannot be used.
        """
        remote.check_address("images", settings, ExpansionError)
        super().__init__(settings, prompts)
        self._reached = False

    def expand(self, products: Sequence[Product], count: int, seed: int) -> list[Expansion]:
        """One `Expansion` a product; see `ImageProvider`. `seed` decides where the round of variants begins.

        Reasons: `no_image`, `unreadable_picture`, `http_NNN`, `timeout`, `connection`, `bad_image`.

        Raises:
            ExpansionError: the server cannot be reached, refuses the key, or does not know the model.
        """
        return wait_for(self._all(products, count, seed)) if products else []

    async def _all(self, products: Sequence[Product], count: int, seed: int) -> list[Expansion]:
        limit = asyncio.Semaphore(self._settings.concurrency)
        async with remote.open_client(self._settings) as client:

            async def edit(picture: bytes, instruction: str, _: int) -> bytes:
                return await self._edit(client, picture, instruction)

            async def one(product: Product) -> Expansion:
                async with limit:
                    return await self._expand(product, count, seed, edit)

            return await all_of(one(product) for product in products)

    def _first(self, photo: Image.Image) -> bytes:
        photo.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        return png(photo)

    def _stored(self, picture: bytes) -> bytes:
        return picture

    async def _edit(self, client: openai.AsyncOpenAI, picture: bytes, instruction: str) -> bytes:
        try:
            reply = await client.images.edit(
                model=self.model, image=("product.png", picture, "image/png"), prompt=instruction, n=1
            )
            self._reached = True
            return rgb_png(await self._picture_of(client, reply))
        except openai.APIStatusError as error:
            self._reached = True
            said = " ".join(str(error.message).split())[:200]
            if error.status_code in remote.NOT_A_ROWS_FAULT:
                advice = remote.NOT_A_ROWS_FAULT[error.status_code].format(stage="images")
                raise ExpansionError(f"{self._where()}: {advice} (HTTP {error.status_code}: {said})") from None
            raise EditError(f"http_{error.status_code}: {said}") from None
        except openai.APITimeoutError:
            raise EditError(f"timeout: no reply within {self._settings.timeout:g} s") from None
        except openai.APIConnectionError as error:
            cause = " ".join(str(error.__cause__ or error).split())[:200]
            if not self._reached:
                raise ExpansionError(
                    f"{self._where()}: nothing answers there ({cause}); start it or mend the URL"
                ) from None
            raise EditError(f"connection: {cause}") from None
        except (openai.OpenAIError, ImageError, binascii.Error, ValueError) as error:
            if isinstance(error, EditError):
                raise
            raise EditError(f"bad_image: {' '.join(str(error).split())[:200]}") from None

    async def _picture_of(self, client: openai.AsyncOpenAI, reply: Any) -> bytes:
        data = getattr(reply, "data", None)
        if not data:
            raise EditError("bad_image: the reply holds no picture")
        if data[0].b64_json:
            return base64.b64decode(data[0].b64_json, validate=True)
        address = str(data[0].url or "")
        if urlsplit(address)[:2] != urlsplit(str(client.base_url))[:2]:
            raise EditError("bad_image: the reply holds neither a picture nor an address on the server itself")
        fetched = await client.get(address, cast_to=openai.HttpxBinaryResponseContent)
        if len(fetched.content) > MOST_BYTES:
            raise EditError(f"bad_image: more than {MOST_BYTES // 1_000_000} MB")
        return fetched.content

    def _where(self) -> str:
        return remote.place(self._settings)


def rgb_png(data: bytes) -> bytes:
    """The picture, checked and without transparency.

    Raises:
        ImageError: it is none.
    """
    return png(open_image(data, "the server's reply"))


def png(image: Image.Image) -> bytes:
    """PNG of a picture."""
    stored = io.BytesIO()
    image.save(stored, "PNG")
    return stored.getvalue()
