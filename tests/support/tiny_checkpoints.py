"""Tiny random checkpoints in the hub's own layout, so that tests load them through the very code that a hub id takes.

The weights are drawn larger than a fresh model's: at the usual size every input gives nearly the same vector, and a
test that compares vectors could not fail.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    GPT2Tokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)

CHECKPOINTS = ("qwen2_5_vl", "qwen3_vl", "smolvlm")
WORDS = [
    "navy men casual shirt",
    "red women shoes",
    "blue cotton dress",
    "a leather bag with a zip",
    "Nike running shoes",
]
QWEN_TOKENS = ["<|endoftext|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
SMOL_TOKENS = ["<|endoftext|>", "<fake_token_around_image>", "<global-img>", "<image>"]
WIDTH = 32


def write_checkpoint(kind: str, folder: Path) -> Path:
    """Writes config, weights, tokenizer and image processor of one family; the same kind gives the same weights."""
    folder.mkdir(parents=True, exist_ok=True)
    smol = kind == "smolvlm"
    tokenizer = byte_level_tokenizer(GPT2Tokenizer if smol else Qwen2Tokenizer, SMOL_TOKENS if smol else QWEN_TOKENS)
    tokenizer.save_pretrained(folder)
    build = {"qwen2_5_vl": _qwen2_5, "qwen3_vl": _qwen3, "smolvlm": _smol}[kind]
    torch.manual_seed(0)
    model, preprocessor = build(tokenizer)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(std=0.15)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


def write_embedding_checkpoint(folder: Path, *, prefix: str = "model.", subfolder: str | None = None) -> Path:
    """The weights of `write_checkpoint("qwen3_vl")` as an embedding model has them: without the language head.

    Args:
        folder: where to write.
        prefix: before the name of each weight; "" as `AutoModel` saves, "model." as Qwen3-VL-Embedding has it.
        subfolder: of the model in the layout of sentence-transformers, "" for its root; None is another layout.
    """
    target = write_checkpoint("qwen3_vl", folder / (subfolder or ""))
    weights = load_file(target / "model.safetensors")
    dense = {name.removeprefix("model."): weight for name, weight in weights.items() if name != "lm_head.weight"}
    save_file({prefix + name: weight for name, weight in dense.items()}, target / "model.safetensors", {"format": "pt"})
    config = json.loads((target / "config.json").read_text())
    config["architectures"] = ["Qwen3VLForConditionalGeneration" if prefix else "Qwen3VLModel"]
    (target / "config.json").write_text(json.dumps(config))
    if subfolder is not None:
        # transformers 5, with which sentence-transformers saves, puts the image processor into this file.
        preprocessor = json.loads((target / "preprocessor_config.json").read_text())
        (target / "preprocessor_config.json").unlink()
        (target / "processor_config.json").write_text(json.dumps({"image_processor": preprocessor}))
        paths = {"Transformer": subfolder, "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
        modules = [{"path": path, "type": f"sentence_transformers.models.{name}"} for name, path in paths.items()]
        (folder / "modules.json").write_text(json.dumps(modules))
    return folder


def byte_level_tokenizer(kind: Any, special: list[str]) -> Any:
    """A tokenizer of the class `kind`, trained on `WORDS`, that knows the `special` tokens."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trained.train_from_iterator(
        WORDS, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    )
    parts = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in parts["merges"]]
    tokenizer = kind(vocab=parts["vocab"], merges=merges, unk_token=special[0], pad_token=special[0])
    tokenizer.add_special_tokens({"additional_special_tokens": special[1:]})
    return tokenizer


def _text(tokenizer: Any, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": None,
        **more,
    }


def _qwen_ids(tokenizer: Any) -> dict[str, int]:
    names = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    return dict(zip(names, tokenizer.convert_tokens_to_ids(QWEN_TOKENS[1:]), strict=True))


def _qwen2_5(tokenizer: Any) -> tuple[Any, dict[str, Any]]:
    config = Qwen2_5_VLConfig(
        text_config=_text(tokenizer, rope_parameters={"rope_type": "default", "mrope_section": [2, 1, 1]}),
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "patch_size": 8,
            "window_size": 32,
            "fullatt_block_indexes": [1],
            "out_hidden_size": WIDTH,
        },
        **_qwen_ids(tokenizer),
    )
    preprocessor = {
        "min_pixels": 256,
        "max_pixels": 12_845_056,
        "patch_size": 8,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
    }
    return Qwen2_5_VLForConditionalGeneration(config), preprocessor


def _qwen3(tokenizer: Any) -> tuple[Any, dict[str, Any]]:
    rope = {"rope_type": "default", "mrope_section": [2, 1, 1], "mrope_interleaved": True}
    config = Qwen3VLConfig(
        text_config=_text(tokenizer, head_dim=8, rope_parameters=rope),
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "patch_size": 8,
            "out_hidden_size": WIDTH,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        **_qwen_ids(tokenizer),
    )
    preprocessor = {
        "size": {"longest_edge": 16_777_216, "shortest_edge": 256},
        "patch_size": 8,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "processor_class": "Qwen3VLProcessor",
    }
    return Qwen3VLForConditionalGeneration(config), preprocessor


def _smol(tokenizer: Any) -> tuple[Any, dict[str, Any]]:
    config = SmolVLMConfig(
        text_config={"model_type": "llama", **_text(tokenizer)},
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=0,
    )
    preprocessor = {
        "do_convert_rgb": True,
        "do_image_splitting": True,
        "do_pad": True,
        "do_rescale": True,
        "do_resize": True,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "max_image_size": {"longest_edge": 32},
        "size": {"longest_edge": 128},
        "resample": 1,
        "image_processor_type": "SmolVLMImageProcessor",
        "processor_class": "SmolVLMProcessor",
    }
    return SmolVLMForConditionalGeneration(config), preprocessor
