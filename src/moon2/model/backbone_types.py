"""What moon2 asks of transformers' models, as types: those of each family have these parts and more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn


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


class VisionStates(Protocol):
    """What a vision tower gives: the visual tokens of all images, and what deepstack adds in the first layers."""

    pooler_output: Tensor
    deepstack_features: list[Tensor]


class DecoderConfig(Protocol):
    """Of a backbone's decoder."""

    hidden_size: int
    _attn_implementation: str


class Decoder(Protocol):
    """The language model of a backbone; it is an `nn.Module` too."""

    config: DecoderConfig
    layers: nn.ModuleList

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Ids [T] → [T, D]."""

    def rotary_emb(self, states: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the positions, in the number format of the states."""

    def norm(self, states: Tensor) -> Tensor:
        """The norm after the last layer."""


class Backbone(Protocol):
    """What moon2 asks of a dense vision-language model of transformers; it is an `nn.Module` too."""

    config: BackboneConfig

    def get_image_features(self, *, return_dict: bool, **tensors: Tensor) -> VisionStates:
        """The images as the decoder would get them."""

    def get_submodule(self, target: str) -> nn.Module:
        """A part by its name."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """All weights."""


class QwenTower(VisionTower, Protocol):
    """The vision tower of the Qwen family."""

    dtype: torch.dtype
    blocks: nn.ModuleList

    def __call__(self, pixels: Tensor, *, grid_thw: Tensor, **arguments: object) -> VisionStates:
        """Images → visual tokens."""


class QwenBackbone(Backbone, Protocol):
    """A backbone of the Qwen family."""

    visual: QwenTower
