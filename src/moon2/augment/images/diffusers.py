"""The provider `diffusers`: any pipeline that edits a picture by an instruction, by hub id or folder.

Qwen-Image-Edit, FLUX Kontext and InstructPix2Pix differ in what they take beside a picture and a prompt; each is given
what its own signature names. A product's pictures are made one after the other, each from a generator of its own, so
that neither the batch nor the machine's other work changes them.
"""

from __future__ import annotations

import hashlib
import inspect
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from moon2.augment.images.editor import EditError, InstructionEditor
from moon2.augment.images.provider import Expansion, ExpansionError
from moon2.augment.waiting import wait_for
from moon2.records import Product

if TYPE_CHECKING:
    from moon2.augment.settings import ImageSettings

MULTIPLE = 32
"""Sides that every such pipeline takes: two halvings of the latent picture beyond the usual factor of eight."""
LONGEST_SIDE = 1024
QUALITY = 95


class EditingProvider(InstructionEditor[Image.Image]):
    """An instruction image-editing pipeline on this machine, on its GPU if there is one."""

    name = "diffusers"

    def __init__(self, settings: ImageSettings, prompts: str | None = None) -> None:
        """Loads the pipeline.

        Raises:
            ExpansionError: diffusers is not installed, there is no such pipeline, or it does not edit pictures.
            PromptError: a changed prompt cannot be used.
        """
        super().__init__(settings, prompts)
        try:
            from diffusers import DiffusionPipeline
        except ImportError:
            raise ExpansionError(
                "images.provider diffusers: is not installed; pip install 'moon2[diffusers]'"
            ) from None
        on_gpu = torch.cuda.is_available()
        try:
            pipeline: Any = DiffusionPipeline.from_pretrained(
                settings.model, dtype=torch.bfloat16 if on_gpu else torch.float32
            )
        except Exception as error:  # whatever the libraries for weights and tokenizers raise
            reason = " ".join(str(error).split())[:200]
            raise ExpansionError(
                f"images.model {settings.model!r}: cannot be opened as a pipeline ({reason}); choose another"
            ) from None
        self._takes = set(inspect.signature(pipeline.__call__).parameters)
        if not {"image", "prompt"} <= self._takes:
            raise ExpansionError(
                f"images.model {settings.model!r}: a {type(pipeline).__name__} does not edit pictures by instructions; "
                f"choose one that does, such as Qwen/Qwen-Image-Edit-2511"
            )
        pipeline.set_progress_bar_config(disable=True)
        self._pipeline = pipeline.to("cuda" if on_gpu else "cpu")

    def expand(self, products: Sequence[Product], count: int, seed: int) -> list[Expansion]:
        """One `Expansion` a product; see `ImageProvider`.

        Reasons: `no_image`, `unreadable_picture`, `blank_picture` (what safety checkers leave), `out_of_memory`,
        `editing_failed`.
        """
        return [self._one(product, count, seed) for product in products]

    def _one(self, product: Product, count: int, seed: int) -> Expansion:
        # A coroutine because a server's edits are; nothing here waits.
        async def edit(picture: Image.Image, instruction: str, number: int) -> Image.Image:
            return self._edit(picture, instruction, picture_seed(seed, product.id, number))

        return wait_for(self._expand(product, count, seed, edit))

    def _first(self, photo: Image.Image) -> Image.Image:
        return photo

    def _stored(self, picture: Image.Image) -> bytes:
        return encoded(picture)

    def _edit(self, picture: Image.Image, instruction: str, seed: int) -> Image.Image:
        size = working_size(picture.size, self._settings.size or LONGEST_SIDE)
        given: dict[str, Any] = {
            "image": picture.resize(size, Image.Resampling.LANCZOS),
            "prompt": instruction,
            "num_inference_steps": self._settings.steps,
            "generator": torch.Generator("cpu").manual_seed(seed),
            "width": size[0],
            "height": size[1],
        }
        try:
            with torch.inference_mode():
                made = self._pipeline(**{name: value for name, value in given.items() if name in self._takes}).images[0]
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            raise EditError("out_of_memory: the picture is too large for the device; set images.size") from None
        except Exception as error:  # whatever a pipeline raises on one picture must not end the others
            raise EditError(f"editing_failed: {' '.join(str(error).split())[:200]}") from None
        image: Image.Image = made.convert("RGB")
        if np.asarray(image).std() < 1:
            raise EditError("blank_picture: the pipeline gave one even colour, as its safety checker does")
        return image.resize(picture.size, Image.Resampling.LANCZOS)


def working_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Width and height of like shape, the longer side at most `longest`, both multiples of `MULTIPLE`."""
    scale = min(1.0, longest / max(size))
    width, height = (max(MULTIPLE, round(side * scale / MULTIPLE) * MULTIPLE) for side in size)
    return width, height


def picture_seed(seed: int, id: str, number: int) -> int:
    """63 bits for torch's generator, a function of seed, product and which of its pictures."""
    digest = hashlib.blake2b(f"{seed}\0{number}\0{id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def encoded(image: Image.Image) -> bytes:
    """WebP of a picture."""
    stored = io.BytesIO()
    image.save(stored, "WEBP", quality=QUALITY)
    return stored.getvalue()
