"""The sizes of named checkpoints: what a model of that name takes can be told without its weights or a network.

Figures are those of the checkpoints' own config.json on the Hugging Face hub.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moon2.errors import UserError
from moon2.model.backbone import SPECIAL_TOKENS, tiny_config
from moon2.recipe import BackboneSettings

_QWEN_TOKENS = {
    "image_token_id": 151655,
    "video_token_id": 151656,
    "vision_start_token_id": 151652,
    "vision_end_token_id": 151653,
}


def _qwen3_vl(
    width: int, inner: int, layers: int, heads: int, vision: tuple[int, int, int, tuple[int, ...]], *, tied: bool
) -> dict[str, Any]:
    depth, vision_width, vision_inner, deepstack = vision
    return {
        "model_type": "qwen3_vl",
        "tie_word_embeddings": tied,
        **_QWEN_TOKENS,
        "text_config": {
            "vocab_size": 151936,
            "hidden_size": width,
            "intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 262144,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5_000_000,
                "mrope_section": [24, 20, 20],
                "mrope_interleaved": True,
            },
        },
        "vision_config": {
            "depth": depth,
            "hidden_size": vision_width,
            "intermediate_size": vision_inner,
            "num_heads": 16,
            "patch_size": 16,
            "temporal_patch_size": 2,
            "spatial_merge_size": 2,
            "num_position_embeddings": 2304,
            "out_hidden_size": width,
            "deepstack_visual_indexes": list(deepstack),
        },
    }


def _smolvlm2(width: int, inner: int, layers: int, heads: int, key_value_heads: int) -> dict[str, Any]:
    return {
        "model_type": "smolvlm",
        "tie_word_embeddings": False,
        "scale_factor": 4,
        "image_token_id": 49190,
        "text_config": {
            "model_type": "llama",
            "vocab_size": 49280,
            "hidden_size": width,
            "intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": key_value_heads,
            "head_dim": 64,
            "max_position_embeddings": 8192,
        },
        "vision_config": {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "image_size": 512,
            "patch_size": 16,
        },
    }


_SMALL_TOWER = (24, 1024, 4096, (5, 11, 17))
_QWEN3_VL_2B = _qwen3_vl(2048, 6144, 28, 16, _SMALL_TOWER, tied=True)
_QWEN3_VL_4B = _qwen3_vl(2560, 9728, 36, 32, _SMALL_TOWER, tied=True)
_QWEN3_VL_8B = _qwen3_vl(4096, 12288, 36, 32, (27, 1152, 4304, (8, 16, 24)), tied=False)
_QWEN2_5_VL_3B: dict[str, Any] = {
    "model_type": "qwen2_5_vl",
    "tie_word_embeddings": True,
    **_QWEN_TOKENS,
    "text_config": {
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128000,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0, "mrope_section": [16, 24, 24]},
    },
    "vision_config": {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "spatial_merge_size": 2,
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
        "out_hidden_size": 2048,
    },
}

SHAPES: dict[str, dict[str, Any]] = {
    "HuggingFaceTB/SmolVLM2-256M-Video-Instruct": _smolvlm2(576, 1536, 30, 9, 3),
    "HuggingFaceTB/SmolVLM2-500M-Video-Instruct": _smolvlm2(960, 2560, 32, 15, 5),
    "Qwen/Qwen2.5-VL-3B-Instruct": _QWEN2_5_VL_3B,
    "Qwen/Qwen3-VL-2B-Instruct": _QWEN3_VL_2B,
    "Qwen/Qwen3-VL-4B-Instruct": _QWEN3_VL_4B,
    "Qwen/Qwen3-VL-8B-Instruct": _QWEN3_VL_8B,
    "Qwen/Qwen3-VL-Embedding-2B": _QWEN3_VL_2B,
    "Qwen/Qwen3-VL-Embedding-8B": _QWEN3_VL_8B,
}


def shape_config(name: str) -> Any:
    """The transformers config of a named checkpoint.

    Raises:
        UserError: its sizes do not come with moon2.
    """
    from transformers import AutoConfig

    if name not in SHAPES:
        raise UserError(f"the sizes of {name!r} do not come with moon2; it knows {', '.join(SHAPES)}")
    described = dict(SHAPES[name])
    return AutoConfig.for_model(described.pop("model_type"), **described)


def planned_config(settings: BackboneSettings) -> Any:
    """The transformers config of `tiny`, of a named checkpoint, or of a folder with a config.json.

    Raises:
        UserError: its sizes do not come with moon2, and it is no folder with a config.json.
    """
    from transformers import AutoConfig

    if settings.name == "tiny":
        return tiny_config(settings.tiny, settings.tiny.vocabulary, range(len(SPECIAL_TOKENS)))
    if (Path(settings.name) / "config.json").is_file():
        return AutoConfig.from_pretrained(settings.name)
    return shape_config(settings.name)
