"""Tiny random CLIP and SigLIP checkpoints in the hub's own layout."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast, SiglipConfig, SiglipModel

KINDS = ("clip", "siglip")
SIDE, PATCH, WIDTH, LENGTH = 16, 8, 32, 16
WORDS = ["navy men casual shirt", "red women shoes", "blue cotton dress", "a leather bag with a zip", "running shoes"]


def write_dual_checkpoint(kind: str, folder: Path) -> Path:
    """Writes config, weights, tokenizer and image processor; the same kind gives the same weights."""
    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    tower = {"hidden_size": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    text = {**tower, **ids, "vocab_size": len(tokenizer), "max_position_embeddings": LENGTH, "projection_size": WIDTH}
    vision = {**tower, "image_size": SIDE, "patch_size": PATCH}
    torch.manual_seed(0)
    model = (
        CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH))
        if kind == "clip"
        else SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    )
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(std=0.15)
    model.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    processor = {"image_processor_type": "CLIPImageProcessor" if kind == "clip" else "SiglipImageProcessor"}
    mean = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_center_crop": False, "size": size}
    (folder / "preprocessor_config.json").write_text(json.dumps({**processor, **mean}))
    return folder


def _tokenizer() -> PreTrainedTokenizerFast:
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    trained.train_from_iterator(WORDS, trainer)
    trained.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    ends = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=trained, model_max_length=LENGTH, **ends)
