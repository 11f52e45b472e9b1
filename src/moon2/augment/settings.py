"""The settings of `moon2 augment`, one dataclass for each of its steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from moon2.recipe import require


@dataclass
class ModelSettings:
    """What all providers with a model share: which model, and how its server is reached."""

    provider: str = "none"
    """What makes the augmentations."""
    model: str = ""
    """The model as the server calls it, or the hub id or folder of a local one; not for `rules` and `opencv`."""
    base_url: str | None = None
    """Address of the server, such as http://localhost:8000/v1; OpenAI's own when not given. The key is read from the
    environment, OPENAI_API_KEY."""
    concurrency: int = 8
    """Requests under way at once; for `transformers`, products of one batch."""
    timeout: float = 60.0
    """Seconds for one request."""
    retries: int = 5
    """How often a request is sent again after a 429, a 5xx, a timeout or a broken connection."""

    def validate(self, section: str) -> None:
        """Refuses values out of range.

        Raises:
            RecipeError: one is; the message calls it by its section.
        """
        for name in ("concurrency", "timeout"):
            require(getattr(self, name) > 0, f"{section}.{name}", getattr(self, name), "above 0")
        require(self.retries >= 0, f"{section}.retries", self.retries, "0 or more")
        has_model = self.provider in ("openai", "transformers", "diffusers")
        require(bool(self.model) or not has_model, f"{section}.model", self.model, f"named for {self.provider}")
        is_address = self.base_url is None or self.base_url.startswith(("http://", "https://"))
        require(is_address, f"{section}.base_url", self.base_url, "an address that begins with http:// or https://")


@dataclass
class TextSettings(ModelSettings):
    """Textual enrichment: T⁺ from title, image and entities."""

    provider: Literal["rules", "openai", "transformers", "none"] = "rules"
    """`rules`: no model; `openai`: any OpenAI-compatible chat server that takes images; `transformers`: a local
    vision-language model; `none`: no enriched titles."""
    max_tokens: int = 128
    """Longest reply."""
    price_in: float = 0.0
    """Currency per million tokens read, for the sum at the end."""
    price_out: float = 0.0
    """Currency per million tokens written."""

    def cost(self, tokens_in: float, tokens_out: float) -> float:
        """The price of so many tokens read and written."""
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1_000_000


@dataclass
class ImageSettings(ModelSettings):
    """Visual expansion: a main image of the product alone, then variants of it."""

    provider: Literal["opencv", "openai", "diffusers", "none"] = "opencv"
    """`opencv`: no model; `diffusers`: an instruction image-editing pipeline on this machine; `openai`: an
    images/edits server; `none`: no expanded images."""
    concurrency: int = 4
    """Requests under way at once; a pipeline makes one image after the other."""
    timeout: float = 120.0
    """Seconds for one request."""
    count: int = 3
    """Variants of a product, beside the main image."""
    steps: int = 20
    """Denoising steps of a pipeline."""
    size: int = 0
    """Longest side in pixels of what a pipeline makes; 0: that of the product's image, at most 1,024."""


@dataclass
class ConsistencySettings:
    """The filter: augmentations whose image and title do not belong together are dropped."""

    checkpoint: str | None = None
    """The judge, by folder or hub id: a moon2 run, a CLIP or SigLIP checkpoint, or any other encoder of text and
    images; no filter when not given."""
    threshold: float | None = None
    """Least cosine similarity; when not given, 95 % of the catalog's own images and titles reach it."""


@dataclass
class CoAugmentationSettings:
    """All of `moon2 augment`."""

    text: TextSettings = field(default_factory=TextSettings)
    images: ImageSettings = field(default_factory=ImageSettings)
    consistency: ConsistencySettings = field(default_factory=ConsistencySettings)
    prompts: str | None = None
    """Folder of changed prompts; `moon2 augment prompts FOLDER` writes one to change."""
    seed: int = 0
    """Seed of every draw; the same input and seed give the same augmentations."""

    def __post_init__(self) -> None:
        self.text.validate("text")
        self.images.validate("images")
        require(self.images.count >= 0, "images.count", self.images.count, "0 or more")
        require(self.text.max_tokens >= 1, "text.max_tokens", self.text.max_tokens, "1 or more")
        require(self.images.steps >= 1, "images.steps", self.images.steps, "1 or more")
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        does_something = self.text.provider != "none" or self.images.provider != "none"
        require(does_something, "text.provider", "none", "another provider where images.provider is none too")
        threshold = self.consistency.threshold
        in_range = threshold is None or -1 <= threshold <= 1
        require(in_range, "consistency.threshold", threshold, "a cosine, -1 to 1")
        has_judge = self.consistency.checkpoint is not None or threshold is None
        require(has_judge, "consistency.checkpoint", None, "given with a threshold")
