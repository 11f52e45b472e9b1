"""The settings of co-augmentation, one dataclass a stage, and the random numbers that belong to a product.

Everything that is drawn for a product comes from `product_random`, so it does not depend on the batch, the order, the
process or the machine in which the product's turn comes.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from moon2.errors import UserError


class AugmentationError(UserError):
    """A catalog cannot be augmented as asked; one line with what, where and what to do."""


@dataclass
class ModelSettings:
    """Which provider, which model, and how its server is asked: what the stages that may ask a model share."""

    provider: str = "none"
    """What makes the augmentations."""
    model: str = ""
    """The model as the server calls it, or hub id or folder of one on this machine; not for `rules` and `opencv`."""
    base_url: str | None = None
    """Address of the server, such as http://localhost:8000/v1; OpenAI's own when not given. The key is read from the
    environment, OPENAI_API_KEY."""
    concurrency: int = 8
    """Requests under way at once; for `transformers`, products at once."""
    timeout: float = 60.0
    """Seconds for one request."""
    retries: int = 5
    """How often a request is sent again after a 429, a 5xx, a timeout or a broken connection."""

    @property
    def asks_a_model(self) -> bool:
        """Whether the provider needs a model."""
        return self.provider in ("openai", "transformers", "diffusers")


@dataclass
class TextSettings(ModelSettings):
    """Textual enrichment: T⁺ from title, picture and entities."""

    provider: Literal["rules", "openai", "transformers", "none"] = "rules"
    """`rules`: no model; `openai`: any OpenAI-compatible chat server that takes pictures; `transformers`: a local
    vision-language model; `none`: no enriched titles."""
    max_tokens: int = 128
    """Longest reply."""
    price_in: float = 0.0
    """Currency per million tokens read, for the sum at the end."""
    price_out: float = 0.0
    """Currency per million tokens written."""

    def cost(self, tokens_in: float, tokens_out: float) -> float:
        """Of so many tokens read and written, in the currency of the prices."""
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1_000_000


@dataclass
class ImageSettings(ModelSettings):
    """Visual expansion: a main image without what is not the product, then variants of it."""

    provider: Literal["opencv", "openai", "diffusers", "none"] = "opencv"
    """`opencv`: no model; `diffusers`: an instruction image-editing pipeline on this machine; `openai`: an
    images/edits server; `none`: no expanded images."""
    concurrency: int = 4
    """Requests under way at once; a pipeline makes one picture after the other."""
    timeout: float = 120.0
    """Seconds for one request."""
    count: int = 3
    """Variants a product, beside the main image."""
    steps: int = 20
    """Denoising steps of a pipeline."""
    size: int = 0
    """Longest side in pixels of what a pipeline makes; 0: as large as the product's picture, at most 1,024."""


@dataclass
class ConsistencySettings:
    """The filter: augmentations whose picture and title do not belong together are dropped."""

    checkpoint: str | None = None
    """The judge: a moon2 run or encoder, or a CLIP or SigLIP checkpoint, by folder or hub id; no filter without."""
    threshold: float | None = None
    """Least cosine similarity; found on the catalog's own pictures and titles, matched against shuffled, when not
    given."""


@dataclass
class CoAugmentationSettings:
    """All of `moon2 augment`."""

    text: TextSettings = field(default_factory=TextSettings)
    images: ImageSettings = field(default_factory=ImageSettings)
    consistency: ConsistencySettings = field(default_factory=ConsistencySettings)
    prompts: str | None = None
    """Folder of changed prompts; `--write_prompts FOLDER` makes one to change."""
    seed: int = 0
    """Seed of every draw; the same input and seed give the same augmentations."""

    def __post_init__(self) -> None:
        stages: dict[str, ModelSettings] = {"text": self.text, "images": self.images}
        for name, stage in stages.items():
            for setting in ("concurrency", "timeout"):
                _require(getattr(stage, setting) > 0, f"{name}.{setting}", getattr(stage, setting), "above 0")
            _require(stage.retries >= 0, f"{name}.retries", stage.retries, "0 or more")
            named = bool(stage.model) or not stage.asks_a_model
            _require(named, f"{name}.model", stage.model, f"named for {stage.provider}")
        _require(self.images.count >= 0, "images.count", self.images.count, "0 or more")
        _require(self.text.max_tokens >= 1, "text.max_tokens", self.text.max_tokens, "1 or more")
        _require(self.images.steps >= 1, "images.steps", self.images.steps, "1 or more")
        _require(self.seed >= 0, "seed", self.seed, "0 or more")
        nothing = self.text.provider == "none" and self.images.provider == "none"
        _require(
            not nothing, "text.provider", "none", "something, or images.provider must be; else nothing is to be done"
        )
        alone = self.consistency.threshold is not None and self.consistency.checkpoint is None
        _require(not alone, "consistency.checkpoint", None, "given with a threshold")

    def to_dict(self) -> dict[str, Any]:
        """Every setting, as plain values."""
        return asdict(self)


def product_random(seed: int, id: str, *more: int) -> np.random.Generator:
    """The generator of one product: a function of the seed, the product's id, and perhaps which draw it is."""
    digest = hashlib.blake2b(id.encode(), digest_size=8).digest()
    return np.random.default_rng([seed, int.from_bytes(digest), *more])


def _require(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise AugmentationError(f"augment: {name} is {value!r}; it must be {wanted}")
