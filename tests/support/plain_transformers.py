"""One row at a time through transformers' own model, with its own positions, mask and attention, to compare with."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel

from moon2 import Encoder
from moon2.model.items import Item


def plain_model(encoder: Encoder, attention: str = "sdpa") -> Any:
    """transformers' own model with the weights of an encoder that has no experts."""
    config: Any = deepcopy(encoder.model.backbone.config)
    for part in (config, *(getattr(config, name) for name in config.sub_configs)):
        part._attn_implementation = attention
    model = AutoModel.from_config(config, attn_implementation=attention).eval()
    model.load_state_dict(encoder.model.backbone.state_dict())
    return model


def plain_inputs(encoder: Encoder, item: Item) -> tuple[dict[str, Tensor], Tensor]:
    """What transformers' model wants of an item's images, then its text, and [S] bool, which tokens are pooled."""
    processor = encoder.processor
    read = processor.read([item])[0]
    before, after = processor.family.image_markers(processor.tokenizer)
    image_token: int = processor.config.image_token_id
    ids, pooled = [], []
    for _, image in read.images:
        ids += [*before, *[image_token] * image.tokens, *after]
        pooled += [False] * len(before) + [True] * image.tokens + [False] * len(after)
    input_ids = torch.tensor([[*ids, *read.tokens]])
    inputs = {"input_ids": input_ids}
    if read.images:
        inputs |= processor.family.generation_inputs([image for _, image in read.images])
    if "image_grid_thw" in inputs:
        inputs["mm_token_type_ids"] = (input_ids == image_token).long()
    return inputs, torch.tensor([*pooled, *[True] * len(read.tokens)])
