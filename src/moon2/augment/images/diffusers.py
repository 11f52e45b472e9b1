"""The provider `diffusers`: expanded images by any pipeline that edits an image by an instruction, by hub id or folder.

Qwen-Image-Edit, FLUX Kontext and InstructPix2Pix differ in what they take beside an image and a prompt; each is given
what its own signature names. Each image has a generator of its own, so that other images do not change it.
"""

from __future__ import annotations

import hashlib
import inspect
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from moon2.augment.errors import AugmentationError, ProductError, ProviderError
from moon2.augment.images.provider import Expansion, ImageProvider, expand_by_edits
from moon2.augment.prompts import Prompts
from moon2.augment.text.sanitize import CleanProduct
from moon2.errors import one_line

if TYPE_CHECKING:
    from moon2.augment.settings import ImageSettings

MULTIPLE = 32
"""Sides that every such pipeline takes: two halvings of the latent image beyond the usual factor of eight."""
LONGEST_SIDE = 1024
QUALITY = 95


class DiffusersProvider(ImageProvider):
    """An instruction image-editing pipeline on this machine, on its GPU if there is one."""

    name = "diffusers"

    def __init__(self, settings: ImageSettings, prompts: Prompts) -> None:
        """Loads the pipeline.

        Raises:
            AugmentationError: diffusers is not installed, there is no such pipeline, or it does not edit images.
        """
        self.model = settings.model
        self.prompt = f"{prompts.main_image.version} {prompts.variants_version}"
        self._settings = settings
        self._prompts = prompts
        try:
            from diffusers import DiffusionPipeline
        except ImportError:
            raise AugmentationError(
                "images.provider diffusers: is not installed; pip install 'moon2[diffusers]'"
            ) from None
        on_gpu = torch.cuda.is_available()
        try:
            dtype = torch.bfloat16 if on_gpu else torch.float32
            pipeline: Any = DiffusionPipeline.from_pretrained(settings.model, dtype=dtype)
        except Exception as error:  # whatever the libraries for weights and tokenizers raise
            raise AugmentationError(
                f"images.model {self.model!r}: cannot be opened as a pipeline ({one_line(error)}); choose another"
            ) from None
        self._takes = set(inspect.signature(pipeline.__call__).parameters)
        if not {"image", "prompt"} <= self._takes:
            raise AugmentationError(
                f"images.model {settings.model!r}: a {type(pipeline).__name__} does not edit images by instructions; "
                f"choose one that does, such as Qwen/Qwen-Image-Edit-2511"
            )
        pipeline.set_progress_bar_config(disable=True)
        self._pipeline = pipeline.to("cuda" if on_gpu else "cpu")

    def expand(self, product: CleanProduct, count: int, seed: int) -> Expansion:
        """See `ImageProvider`.

        Raises:
            ProviderError: `out_of_memory`, `editing_failed`.
            ProductError: `no_image`, `unreadable_image`, `blank_image` (what safety checkers leave).
        """

        def edit(image: Image.Image, instruction: str, number: int) -> Image.Image:
            return self._edit(image, instruction, image_seed(seed, product.id, number))

        return expand_by_edits(product, count, seed, self._prompts, edit, _webp)

    def _edit(self, image: Image.Image, instruction: str, seed: int) -> Image.Image:
        size = working_size(image.size, self._settings.size or LONGEST_SIDE)
        arguments: dict[str, Any] = {
            "image": image.resize(size, Image.Resampling.LANCZOS),
            "prompt": instruction,
            "num_inference_steps": self._settings.steps,
            "generator": torch.Generator("cpu").manual_seed(seed),
            "width": size[0],
            "height": size[1],
        }
        try:
            with torch.inference_mode():
                output = self._pipeline(**{name: arguments[name] for name in arguments.keys() & self._takes})
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            raise ProviderError("out_of_memory: the image is too large for the device; set images.size") from None
        except Exception as error:  # whatever a pipeline raises on one image must not end the others
            raise ProviderError(f"editing_failed: {one_line(error)}") from None
        edited: Image.Image = output.images[0].convert("RGB")
        if np.asarray(edited).std() < 1:
            raise ProductError("blank_image: the pipeline gave one even colour, as its safety checker does")
        return edited.resize(image.size, Image.Resampling.LANCZOS)


def working_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Width and height of like shape, the longer side at most `longest`, both multiples of `MULTIPLE`."""
    scale = min(1.0, longest / max(size))
    width, height = (max(MULTIPLE, round(side * scale / MULTIPLE) * MULTIPLE) for side in size)
    return width, height


def image_seed(seed: int, id: str, number: int) -> int:
    """63 bits for torch's generator, a function of seed, product and which of its images."""
    digest = hashlib.blake2b(f"{seed}\0{number}\0{id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def _webp(image: Image.Image) -> bytes:
    stored = io.BytesIO()
    image.save(stored, "WEBP", quality=QUALITY)
    return stored.getvalue()
