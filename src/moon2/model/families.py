"""What differs between the families of vision-language models that moon2 can upcycle.

Three things: how an image becomes tensors, which tokens stand around it, and how positions count. Everything else
(experts, views, pooling) is the same code for all. Images always stand before the text: a causal decoder's states over
the images then do not depend on the text, so one pass serves two views.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from moon2.images import ReadingSize
from moon2.model.grouped_attention import GROUPED_ATTENTION
from moon2.model.reading_size import QwenReadingSize, TileReadingSize

Grid = tuple[int, int, int]
"""Frames, height and width of an image, in patches."""


@dataclass
class ImageInputs:
    """The images of a batch as a backbone wants them.

    Attributes:
        tensors: keyword arguments of the backbone's forward.
        token_counts: visual tokens of each image, after merging.
        grids: the size of each image in patches.
    """

    tensors: dict[str, Tensor]
    token_counts: list[int]
    grids: list[Grid]


class VisionConfig(Protocol):
    """Of a backbone's vision tower; each family has the sizes that it uses."""

    spatial_merge_size: int
    image_size: int
    patch_size: int
    _attn_implementation: str


class VisionTower(Protocol):
    """Of a backbone of the Qwen family."""

    config: VisionConfig


class BackboneConfig(Protocol):
    """Of a backbone, as transformers has it."""

    image_token_id: int
    scale_factor: int
    vision_config: VisionConfig

    def to_dict(self) -> dict[str, object]:
        """What `AutoConfig.for_model` reads back."""


class LastStates(Protocol):
    """What a backbone's forward pass gives."""

    last_hidden_state: Tensor


class PooledImages(Protocol):
    """What a backbone's vision tower gives: the tokens of the images, one tensor an image or all in one."""

    pooler_output: Sequence[Tensor]


class Backbone(Protocol):
    """What moon2 asks of a dense vision-language model of transformers; it is an `nn.Module` too."""

    config: BackboneConfig

    def __call__(self, *, input_ids: Tensor, use_cache: bool, routing: object, **inputs: Tensor) -> LastStates:
        """One pass; `routing` reaches every decoder layer."""

    def get_image_features(self, *, return_dict: bool, **tensors: Tensor) -> PooledImages:
        """The images as the decoder would get them."""

    def get_submodule(self, target: str) -> nn.Module:
        """A part by its name."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """All weights."""


class QwenBackbone(Backbone, Protocol):
    """A backbone of the Qwen family, whose positions have three dimensions."""

    visual: VisionTower

    def get_rope_index(
        self, input_ids: Tensor, *, mm_token_type_ids: Tensor, image_grid_thw: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Positions [3, B, S] of rows with images, and how far they run ahead of the tokens."""


class ImageProcessor(Protocol):
    """A PIL image processor of transformers."""

    size: dict[str, int]
    patch_size: int
    merge_size: int
    resample: int

    def __call__(self, *, images: object, return_tensors: str, do_resize: bool = ...) -> Mapping[str, Tensor]:
        """RGB images → tensors."""

    def save_pretrained(self, folder: Path) -> object:
        """Writes its settings."""

    def to_dict(self) -> dict[str, object]:
        """Its settings."""


class Family(Protocol):
    """What the rest of the code asks of a family."""

    decoder: str

    def image_processor(self, source: str | Path, config: BackboneConfig, max_pixels: int) -> ImageProcessor:
        """The checkpoint's image processor, without torchvision, limited to images of `max_pixels` pixels."""

    def reading_size(self, processor: ImageProcessor) -> ReadingSize:
        """The size at which the image processor reads an image."""

    def image_inputs(
        self, processor: ImageProcessor, config: BackboneConfig, images: Sequence[Image.Image]
    ) -> ImageInputs:
        """RGB images → tensors."""

    def image_markers(self, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
        """Token ids that stand before and after an image's tokens."""

    def prepare(self, model: Backbone) -> None:
        """Sets the model up for many images a batch."""

    def image_features(self, model: Backbone, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        """Of each image, [tokens, D]: what the decoder would get in the places of its tokens."""

    def positions(self, model: Backbone, grids: Sequence[Sequence[Grid]], length: int) -> Tensor | None:
        """Position ids of rows that begin with images of those grids, `length` tokens long; None: 0, 1, 2 …"""


class QwenFamily:
    """Qwen2.5-VL and Qwen3-VL: images of any size, positions in three dimensions."""

    decoder = "language_model"

    def __init__(self) -> None:
        # By merge size too: one family serves all models of a process.
        self._prefix_positions: dict[tuple[int, tuple[Grid, ...]], Tensor] = {}

    def image_processor(self, source: str | Path, config: BackboneConfig, max_pixels: int) -> ImageProcessor:
        from transformers import Qwen2VLImageProcessorPil

        processor = cast(ImageProcessor, Qwen2VLImageProcessorPil.from_pretrained(source))
        largest = min(max_pixels, processor.size["longest_edge"])
        processor.size = {"shortest_edge": min(largest, processor.size["shortest_edge"]), "longest_edge": largest}
        return processor

    def reading_size(self, processor: ImageProcessor) -> ReadingSize:
        largest = processor.size["longest_edge"]
        # At most a quarter: rounding takes less than that, so what was scaled down is never scaled up again.
        smallest = min(largest // 4, processor.size["shortest_edge"])
        unit = processor.patch_size * processor.merge_size
        return QwenReadingSize(unit, smallest, largest, Image.Resampling(processor.resample))

    def image_inputs(
        self, processor: ImageProcessor, config: BackboneConfig, images: Sequence[Image.Image]
    ) -> ImageInputs:
        reading_size = self.reading_size(processor)
        images = [image.resize(reading_size(*image.size), reading_size.resample) for image in images]
        tensors = dict(processor(images=images, do_resize=False, return_tensors="pt"))
        grids = [tuple(grid) for grid in tensors["image_grid_thw"].tolist()]
        unit = config.vision_config.spatial_merge_size**2
        return ImageInputs(tensors, [frames * height * width // unit for frames, height, width in grids], grids)

    def image_markers(self, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
        # Released Qwen2.5-VL configs omit these two ids in some revisions; the tokens are always in the vocabulary.
        return _ids(tokenizer, "<|vision_start|>"), _ids(tokenizer, "<|vision_end|>")

    def prepare(self, model: Backbone) -> None:
        config = cast(QwenBackbone, model).visual.config
        if not config._attn_implementation.startswith("flash"):
            config._attn_implementation = GROUPED_ATTENTION

    def image_features(self, model: Backbone, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        return list(model.get_image_features(**tensors, return_dict=True).pooler_output)

    def positions(self, model: Backbone, grids: Sequence[Sequence[Grid]], length: int) -> Tensor | None:
        rows = torch.empty(3, len(grids), length, dtype=torch.long)
        for index, row in enumerate(grids):
            prefix = self._prefix(cast(QwenBackbone, model), tuple(row))
            size = min(prefix.shape[1], length)
            rows[:, index, :size] = prefix[:, :size]
            rows[:, index, size:] = torch.arange(length - size) + (int(prefix.max()) + 1)
        return rows

    def _prefix(self, model: QwenBackbone, grids: tuple[Grid, ...]) -> Tensor:
        config = model.config
        unit = config.vision_config.spatial_merge_size**2
        known = self._prefix_positions.get((unit, grids))
        if known is None:
            kinds: list[int] = []
            for frames, height, width in grids:
                kinds += [0, *[1] * (frames * height * width // unit), 0]
            types = torch.tensor([kinds])
            ids = torch.where(types == 1, config.image_token_id, 0)
            positions, _ = model.get_rope_index(ids, mm_token_type_ids=types, image_grid_thw=torch.tensor(grids))
            if len(self._prefix_positions) > 10_000:
                self._prefix_positions.clear()
            known = self._prefix_positions[unit, grids] = positions[:, 0].long()
        return known


class SmolFamily:
    """SmolVLM: every image scaled to one square tile, positions in one dimension."""

    decoder = "text_model"

    def image_processor(self, source: str | Path, config: BackboneConfig, max_pixels: int) -> ImageProcessor:
        from transformers import SmolVLMImageProcessorPil

        # One tile an image, of the size the vision tower was trained at: splitting into many tiles costs a shop
        # dozens of times the tokens for print that no product photo carries.
        side = {"longest_edge": config.vision_config.image_size}
        processor = SmolVLMImageProcessorPil.from_pretrained(
            source, do_image_splitting=False, max_image_size=side, size=side
        )
        return cast(ImageProcessor, processor)

    def reading_size(self, processor: ImageProcessor) -> ReadingSize:
        return TileReadingSize(processor.size["longest_edge"], Image.Resampling(processor.resample))

    def image_inputs(
        self, processor: ImageProcessor, config: BackboneConfig, images: Sequence[Image.Image]
    ) -> ImageInputs:
        tensors = processor(images=[list(images)], return_tensors="pt")
        side = config.vision_config.image_size // config.vision_config.patch_size
        tokens = side * side // config.scale_factor**2
        # Every tile is whole, so the mask of real pixels that the processor also gives is all ones.
        return ImageInputs(
            {"pixel_values": tensors["pixel_values"]}, [tokens] * len(images), [(1, side, side)] * len(images)
        )

    def image_markers(self, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
        fence = "<fake_token_around_image>"
        return _ids(tokenizer, fence, "<global-img>"), _ids(tokenizer, fence)

    def prepare(self, model: Backbone) -> None:
        return None

    def image_features(self, model: Backbone, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        tokens = torch.cat(list(model.get_image_features(**tensors, return_dict=True).pooler_output))
        return list(tokens.view(tensors["pixel_values"].shape[1], -1, tokens.shape[-1]))

    def positions(self, model: Backbone, grids: Sequence[Sequence[Grid]], length: int) -> Tensor | None:
        return None


def _ids(tokenizer: PreTrainedTokenizerBase, *tokens: str) -> list[int]:
    ids: Any = tokenizer.convert_tokens_to_ids(list(tokens))
    return list(ids)


FAMILIES: dict[str, Family] = {
    "qwen2_5_vl": QwenFamily(),
    "qwen3_vl": QwenFamily(),
    "smolvlm": SmolFamily(),
}


def family_of(model_type: str, source: str | Path) -> Family:
    """The family of a model type of transformers.

    Raises:
        ValueError: moon2 has no family for that model type; the message names those it has.
    """
    try:
        return FAMILIES[model_type]
    except KeyError:
        known = ", ".join(FAMILIES)
        raise ValueError(f"{source}: backbone of type {model_type!r}; moon2 upcycles {known}") from None


def decoder_layers(model: Backbone, family: Family) -> tuple[nn.ModuleList, Any]:
    """The decoder's layers and the decoder's config."""
    decoder: Any = model.get_submodule(family.decoder)
    return decoder.layers, decoder.config
