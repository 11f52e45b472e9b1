"""Where the backbone comes from: a config (`tiny`), the hub, or a folder.

`tiny` is the Qwen3-VL architecture with a few million weights and a byte-level BPE tokenizer trained on the shop's
own words. It needs no download and trains from nothing on two CPU cores. Any other name is loaded as a checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from moon2.errors import UserError
from moon2.model.backbone_types import Backbone
from moon2.model.families import Family, ImageProcessor, family_of
from moon2.recipe import BackboneSettings, InputSettings, TinySettings
from moon2.run_folder import find_model_folder

SPECIAL_TOKENS = ["<|endoftext|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]


class BackboneError(UserError):
    """A backbone cannot be had; the message says which, why, and what to do."""


@dataclass
class LoadedBackbone:
    """A backbone without its language head, and what turns text and images into its input."""

    model: Backbone
    family: Family
    tokenizer: PreTrainedTokenizerBase
    image_processor: ImageProcessor


def build_backbone(settings: BackboneSettings, inputs: InputSettings, texts: Iterable[str]) -> LoadedBackbone:
    """Makes `tiny` from its config, or loads a checkpoint.

    Args:
        settings: name, dtype, sizes of `tiny`.
        inputs: the limit on pixels goes to the image processor.
        texts: titles and queries on which the tokenizer of `tiny` is trained; not read otherwise.

    Raises:
        BackboneError: the checkpoint is not there, or of a type that moon2 cannot upcycle.
    """
    dtype = getattr(torch, settings.dtype)
    if settings.name == "tiny":
        return _tiny(settings.tiny, inputs, texts, dtype)
    return load_backbone(settings.name, inputs.max_pixels, dtype)


def load_backbone(source: str | Path, max_pixels: int, dtype: torch.dtype) -> LoadedBackbone:
    """Loads a Qwen2.5-VL, Qwen3-VL or SmolVLM checkpoint from the hub or a folder, in the hub's layout.

    Also an embedding model made of one (Qwen3-VL-Embedding, a folder of sentence-transformers): the backbone is the
    same, and vectors are pooled moon2's way.

    Raises:
        BackboneError: not there, or of a type that moon2 cannot upcycle.
    """
    name = source
    try:
        source = _transformer_folder(name)
        config: Any = AutoConfig.from_pretrained(source)
        family = family_of(config.model_type, source)
        model, loaded = AutoModel.from_pretrained(source, dtype=dtype, output_loading_info=True)
        # transformers fills in at random what a checkpoint lacks, and only warns.
        if loaded["missing_keys"]:
            raise ValueError(
                f"it lacks {len(loaded['missing_keys'])} weights, {min(loaded['missing_keys'])} among them"
            )
        tokenizer = AutoTokenizer.from_pretrained(source)
        # Without its files a tokenizer comes up empty, and without a complaint.
        if len(tokenizer) <= config.image_token_id:
            raise ValueError(
                f"its tokenizer has {len(tokenizer)} entries and no image token; tokenizer.json may be missing"
            )
        processor = family.image_processor(source, config, max_pixels)
    # Exception itself, because that is what the libraries for weights and tokenizers raise at a damaged file.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise BackboneError(f"backbone {name}: cannot be loaded ({reason}); give a hub id or a folder") from None
    family.prepare(model)
    return LoadedBackbone(model, family, tokenizer, processor)


def _transformer_folder(source: str | Path) -> str | Path:
    """Where the checkpoint is: sentence-transformers may keep it in a folder of its own, which modules.json names.

    Raises:
        ValueError: it is no dense model, but a trained encoder of moon2.
    """
    own = find_model_folder(source)
    if own is not None and json.loads((own / "config.json").read_text()).get("model_type") == "moon2":
        raise ValueError(f"a trained encoder; go on from it with --init {source}")
    modules = Path(source) / "modules.json"
    return Path(source) / json.loads(modules.read_text())[0]["path"] if modules.is_file() else source


def _tiny(sizes: TinySettings, inputs: InputSettings, texts: Iterable[str], dtype: torch.dtype) -> LoadedBackbone:
    from transformers import Qwen2VLImageProcessorPil

    tokenizer = train_tokenizer(texts, sizes.vocabulary)
    special: Any = tokenizer.convert_tokens_to_ids(SPECIAL_TOKENS)
    config = tiny_config(sizes, len(tokenizer), special)
    model = AutoModel.from_config(config, dtype=dtype)
    family = family_of(config.model_type, "tiny")
    family.prepare(model)
    unit = sizes.patch * sizes.merge
    processor: Any = Qwen2VLImageProcessorPil(
        patch_size=sizes.patch,
        merge_size=sizes.merge,
        temporal_patch_size=1,
        size={"shortest_edge": min(9 * unit * unit, inputs.max_pixels), "longest_edge": inputs.max_pixels},
    )
    return LoadedBackbone(model, family, tokenizer, processor)


def tiny_config(sizes: TinySettings, vocabulary: int, special: Sequence[int]) -> Any:
    """The transformers config of `tiny`.

    Args:
        sizes: of the recipe.
        vocabulary: entries of the tokenizer.
        special: the ids of `SPECIAL_TOKENS`.
    """
    from transformers import Qwen3VLConfig

    head = sizes.width // sizes.heads
    # Three interleaved position dimensions share the head's frequencies as in the released checkpoints: 24, 20, 20.
    side = max(1, round(head // 2 * 20 / 64))
    ids = dict(zip(SPECIAL_TOKENS, special, strict=True))
    text_config = {
        "vocab_size": vocabulary,
        "hidden_size": sizes.width,
        "intermediate_size": sizes.feed_forward,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.heads,
        "head_dim": head,
        "max_position_embeddings": 8192,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [head // 2 - 2 * side, side, side],
            "mrope_interleaved": True,
        },
        "pad_token_id": ids["<|endoftext|>"],
    }
    vision_config = {
        "depth": sizes.vision_layers,
        "hidden_size": sizes.vision_width,
        "intermediate_size": 2 * sizes.vision_width,
        "num_heads": sizes.heads,
        "patch_size": sizes.patch,
        "spatial_merge_size": sizes.merge,
        "temporal_patch_size": 1,
        "out_hidden_size": sizes.width,
        "num_position_embeddings": 144,
        "deepstack_visual_indexes": [],
    }
    return Qwen3VLConfig(
        text_config=text_config,
        vision_config=vision_config,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of at most `vocabulary` entries; the same texts give the same one.

    Case is dropped: shoppers type "nike shoes" for "Nike Shoes", and a small vocabulary should hold each word once.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=SPECIAL_TOKENS[0], eos_token=SPECIAL_TOKENS[0])
