"""What differs between the families of vision-language models that moon2 can upcycle.

Three things: how an image becomes tensors, which tokens stand around it, and how positions count. Everything else
(experts, views, pooling) is the same code for all. Images always stand before the text: a causal decoder's states over
the images then do not depend on the text, so one pass serves two views.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.vision_utils import (
    get_vision_interpolation_indices_and_weights,
    get_vision_position_ids,
    get_vision_window_index,
)

from moon2.images import ReadingSize
from moon2.model.backbone_types import Backbone, BackboneConfig, Decoder, QwenBackbone
from moon2.model.packed_attention import PACKED_ATTENTION, Packing
from moon2.model.reading_size import QwenReadingSize, TileReadingSize

Grid = tuple[int, int, int]
"""Frames, height and width of an image, in patches."""


@dataclass(frozen=True)
class ImageTensor:
    """One image as a backbone wants it.

    Attributes:
        pixels: float32, of the family's own shape.
        grid: its size in patches.
        tokens: how many visual tokens it becomes.
    """

    pixels: Tensor
    grid: Grid
    tokens: int


@dataclass
class VisionInputs:
    """The distinct images of a batch, as a vision tower wants them.

    Attributes:
        pixels: of all images.
        arguments: what else the tower computes of the images' sizes; made on the host, so that no step waits for it.
    """

    pixels: Tensor
    arguments: dict[str, Tensor | Packing | int]

    def to(self, device: torch.device | str) -> VisionInputs:
        """The same on another device."""
        moved = {
            name: value
            if isinstance(value, int)
            else value.to(device, non_blocking=True)
            if isinstance(value, Tensor)
            else value.to(device)
            for name, value in self.arguments.items()
        }
        return VisionInputs(self.pixels.to(device, non_blocking=True), moved)


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
    vision_blocks: str

    def image_processor(self, source: str | Path, config: BackboneConfig, max_pixels: int) -> ImageProcessor:
        """The checkpoint's image processor, without torchvision, limited to images of `max_pixels` pixels."""

    def reading_size(self, processor: ImageProcessor) -> ReadingSize:
        """The size at which the image processor reads an image."""

    def image_tensors(
        self, processor: ImageProcessor, config: BackboneConfig, images: Sequence[Image.Image]
    ) -> list[ImageTensor]:
        """RGB images → tensors."""

    def largest_image(self, config: BackboneConfig, max_pixels: int) -> ImageTensor:
        """The size of an image with the most visual tokens that `max_pixels` allows; its pixels are on `meta`."""

    def vision_inputs(self, config: BackboneConfig, images: Sequence[ImageTensor]) -> VisionInputs:
        """Images → the input of the vision tower."""

    def generation_inputs(self, images: Sequence[ImageTensor]) -> dict[str, Tensor]:
        """Images → keyword arguments of transformers' own model, which generates text."""

    def image_markers(self, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
        """Token ids that stand before and after an image's tokens."""

    def prepare(self, model: Backbone) -> None:
        """Sets the model up for packed images."""

    def image_features(self, model: Backbone, inputs: VisionInputs) -> tuple[Tensor, list[Tensor]]:
        """[V, D], what the decoder gets in the places of image tokens; and what deepstack adds after each layer."""

    def positions(self, config: BackboneConfig, grids: Sequence[Grid], length: int) -> Tensor:
        """[P, length] int64: the positions of a row that begins with images of those grids, between their markers."""


class QwenFamily:
    """Qwen2.5-VL and Qwen3-VL: images of any size, positions in three dimensions."""

    decoder = "language_model"
    vision_blocks = "visual.blocks"

    def image_processor(self, source: str | Path, config: BackboneConfig, max_pixels: int) -> ImageProcessor:
        from transformers import Qwen2VLImageProcessorPil

        processor = cast(ImageProcessor, Qwen2VLImageProcessorPil.from_pretrained(source))
        # Not limited by the checkpoint's own: a saved encoder that goes on learning may read larger images than before.
        processor.size = {
            "shortest_edge": min(max_pixels, processor.size["shortest_edge"]),
            "longest_edge": max_pixels,
        }
        return processor

    def reading_size(self, processor: ImageProcessor) -> ReadingSize:
        largest = processor.size["longest_edge"]
        # At most a quarter: rounding takes less than that, so what was scaled down is never scaled up again.
        smallest = min(largest // 4, processor.size["shortest_edge"])
        unit = processor.patch_size * processor.merge_size
        return QwenReadingSize(unit, smallest, largest, Image.Resampling(processor.resample))

    def image_tensors(
        self, processor: ImageProcessor, config: BackboneConfig, images: Sequence[Image.Image]
    ) -> list[ImageTensor]:
        reading_size = self.reading_size(processor)
        images = [image.resize(reading_size(*image.size), reading_size.resample) for image in images]
        tensors = processor(images=images, do_resize=False, return_tensors="pt")
        grids: list[Grid] = [tuple(grid) for grid in tensors["image_grid_thw"].tolist()]
        patches = [frames * height * width for frames, height, width in grids]
        unit = config.vision_config.spatial_merge_size**2
        pixels = tensors["pixel_values"].split(patches)
        return [ImageTensor(*parts) for parts in zip(pixels, grids, (count // unit for count in patches), strict=True)]

    def largest_image(self, config: BackboneConfig, max_pixels: int) -> ImageTensor:
        vision: Any = config.vision_config
        unit = vision.patch_size * vision.spatial_merge_size
        tokens = max(1, max_pixels // unit**2)
        rows = math.isqrt(tokens)
        grid = (1, rows * vision.spatial_merge_size, tokens // rows * vision.spatial_merge_size)
        values = 3 * vision.temporal_patch_size * vision.patch_size**2
        pixels = torch.empty(grid[1] * grid[2], values, device="meta")
        return ImageTensor(pixels, grid, rows * (tokens // rows))

    def vision_inputs(self, config: BackboneConfig, images: Sequence[ImageTensor]) -> VisionInputs:
        vision: Any = config.vision_config
        per_image = [_vision_arguments(vision, image.grid) for image in images]
        packing = Packing.of([len(image.pixels) for image in images], causal=False)
        arguments: dict[str, Tensor | Packing | int] = {
            "packing": packing,
            "cu_seqlens": packing.bounds,
            "max_seqlen": packing.longest,
            **{name: torch.cat([each[name] for each in per_image]) for name in per_image[0] if name != "windows"},
        }
        if "windows" in per_image[0]:
            windows = torch.cat([each["windows"] for each in per_image]).tolist()
            window_packing = Packing.of(windows, causal=False)
            arguments["window_packing"] = window_packing
            arguments["cu_window_seqlens"] = window_packing.bounds
            arguments["max_window_seqlen"] = window_packing.longest
            starts = torch.tensor([0, *(image.tokens for image in images[:-1])]).cumsum(0)
            arguments["window_index"] = torch.cat(
                [each["window_index"] + start for each, start in zip(per_image, starts, strict=True)]
            )
        return VisionInputs(torch.cat([image.pixels for image in images]), arguments)

    def generation_inputs(self, images: Sequence[ImageTensor]) -> dict[str, Tensor]:
        pixels = torch.cat([image.pixels for image in images])
        return {"pixel_values": pixels, "image_grid_thw": torch.tensor([image.grid for image in images])}

    def image_markers(self, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
        # Released Qwen2.5-VL configs omit these two ids in some revisions; the tokens are always in the vocabulary.
        return _ids(tokenizer, "<|vision_start|>"), _ids(tokenizer, "<|vision_end|>")

    def prepare(self, model: Backbone) -> None:
        tower = cast(QwenBackbone, model).visual
        tower.config._attn_implementation = PACKED_ATTENTION
        whole = getattr(tower, "fullatt_block_indexes", None)
        for number, block in enumerate(tower.blocks):
            attention: Any = block.get_submodule("attn")
            attention.windowed = whole is not None and number not in whole

    def image_features(self, model: Backbone, inputs: VisionInputs) -> tuple[Tensor, list[Tensor]]:
        tower = cast(QwenBackbone, model).visual
        # The tower wants grids only for what is given to it already.
        states = tower(inputs.pixels.to(tower.dtype), grid_thw=torch.empty(0, 3), **inputs.arguments)
        return states.pooler_output, list(getattr(states, "deepstack_features", None) or [])

    def positions(self, config: BackboneConfig, grids: Sequence[Grid], length: int) -> Tensor:
        merge = config.vision_config.spatial_merge_size
        parts, next_position = [], 0
        for frames, height, width in grids:
            start = next_position + 1
            parts.append(torch.full((3, 1), next_position))
            parts.append(_grid_positions(frames, height // merge, width // merge) + start)
            next_position = start + max(height, width) // merge
            parts.append(torch.full((3, 1), next_position))
            next_position += 1
        filled = sum(part.shape[1] for part in parts)
        parts.append((torch.arange(length - filled) + next_position).expand(3, -1))
        return torch.cat(parts, dim=1)


class SmolFamily:
    """SmolVLM: every image scaled to one square tile, positions in one dimension."""

    decoder = "text_model"
    vision_blocks = "vision_model.encoder.layers"

    def image_processor(self, source: str | Path, config: BackboneConfig, max_pixels: int) -> ImageProcessor:
        # From its own file: at the top of transformers 5.17 it asks for torchvision, which it does not use.
        from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

        # One tile an image, of the size the vision tower was trained at: splitting into many tiles costs a shop
        # dozens of times the tokens for print that no product photo carries.
        side = {"longest_edge": config.vision_config.image_size}
        processor = SmolVLMImageProcessorPil.from_pretrained(
            source, do_image_splitting=False, max_image_size=side, size=side
        )
        return cast(ImageProcessor, processor)

    def reading_size(self, processor: ImageProcessor) -> ReadingSize:
        return TileReadingSize(processor.size["longest_edge"], Image.Resampling(processor.resample))

    def image_tensors(
        self, processor: ImageProcessor, config: BackboneConfig, images: Sequence[Image.Image]
    ) -> list[ImageTensor]:
        pixels = processor(images=[list(images)], return_tensors="pt")["pixel_values"][0]
        side = config.vision_config.image_size // config.vision_config.patch_size
        # Every tile is whole, so the mask of real pixels that the processor also gives is all ones.
        return [ImageTensor(image, (1, side, side), side * side // config.scale_factor**2) for image in pixels]

    def largest_image(self, config: BackboneConfig, max_pixels: int) -> ImageTensor:
        size = config.vision_config.image_size
        side = size // config.vision_config.patch_size
        pixels = torch.empty(3, size, size, device="meta")
        return ImageTensor(pixels, (1, side, side), side * side // config.scale_factor**2)

    def vision_inputs(self, config: BackboneConfig, images: Sequence[ImageTensor]) -> VisionInputs:
        return VisionInputs(torch.stack([image.pixels for image in images]), {})

    def generation_inputs(self, images: Sequence[ImageTensor]) -> dict[str, Tensor]:
        return {"pixel_values": torch.stack([image.pixels for image in images]).unsqueeze(0)}

    def image_markers(self, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
        fence = "<fake_token_around_image>"
        return _ids(tokenizer, fence, "<global-img>"), _ids(tokenizer, fence)

    def prepare(self, model: Backbone) -> None:
        return None

    def image_features(self, model: Backbone, inputs: VisionInputs) -> tuple[Tensor, list[Tensor]]:
        # Of all images all patches are real. transformers' own way looks for padding first, and waits for the device.
        parts: Any = model
        pixels = inputs.pixels.to(parts.dtype)
        side = pixels.shape[-1] // model.config.vision_config.patch_size
        real = torch.ones(len(pixels), side, side, dtype=torch.bool, device=pixels.device)
        patches = parts.vision_model.embeddings(pixel_values=pixels, patch_attention_mask=real)
        states = parts.vision_model.encoder(inputs_embeds=patches, attention_mask=None).last_hidden_state
        return parts.connector(parts.vision_model.post_layernorm(states)).flatten(0, 1), []

    def positions(self, config: BackboneConfig, grids: Sequence[Grid], length: int) -> Tensor:
        return torch.arange(length).unsqueeze(0)


@lru_cache(maxsize=1024)
def _grid_positions(frames: int, height: int, width: int) -> Tensor:
    """[3, frames · height · width]: the time, row and column of each visual token."""
    axes = torch.meshgrid(torch.arange(frames), torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack(axes).flatten(1)


def _vision_arguments(config: Any, grid: Grid) -> dict[str, Tensor]:
    """What a tower of the Qwen family computes of one image's size; the same sizes come again and again."""
    known = _known_arguments(
        grid,
        config.spatial_merge_size,
        getattr(config, "num_position_embeddings", 0),
        getattr(config, "window_size", 0),
        config.patch_size,
    )
    return dict(known)


@lru_cache(maxsize=1024)
def _known_arguments(
    grid: Grid, merge: int, position_embeddings: int, window: int, patch: int
) -> tuple[tuple[str, Tensor], ...]:
    size = torch.tensor([grid])
    found = [("position_ids", get_vision_position_ids(size, merge))]
    if position_embeddings:
        taps, weights = get_vision_interpolation_indices_and_weights(
            size, math.isqrt(position_embeddings), align_corners=True, spatial_merge_size=merge
        )
        found += [("interp_indices", taps), ("interp_weights", weights)]
    if window:
        index, bounds = get_vision_window_index(size, merge, window, patch)
        found += [("window_index", index), ("windows", bounds.diff())]
    return tuple(found)


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


def decoder_of(model: Backbone, family: Family) -> Decoder:
    """The decoder of a backbone."""
    return cast(Decoder, model.get_submodule(family.decoder))
