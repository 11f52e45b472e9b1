"""Backbones: `tiny` from nothing, three families from a folder in the hub's layout, anything else refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.some_items import records
from support.tiny_checkpoints import CHECKPOINTS, WORDS, write_embedding_checkpoint

from moon2 import Encoder
from moon2.model.backbone import BackboneError, load_backbone, train_tokenizer

MAX_PIXELS = 65_536


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_a_checkpoint_is_loaded_with_its_weights(kind: str, checkpoints: dict[str, Path]) -> None:
    from transformers import AutoModelForImageTextToText

    backbone = load_backbone(checkpoints[kind], MAX_PIXELS, torch.float32)
    assert backbone.model.config.model_type == kind
    expected = AutoModelForImageTextToText.from_pretrained(checkpoints[kind]).model.state_dict()
    found = backbone.model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("subfolder", [None, "", "0_Transformer"])
@pytest.mark.parametrize("prefix", ["", "model."])
def test_an_embedding_model_is_the_same_backbone(
    prefix: str, subfolder: str | None, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    """Qwen3-VL-Embedding: without a language head, by itself or in a folder of sentence-transformers."""
    folder = write_embedding_checkpoint(tmp_path / "embedding", prefix=prefix, subfolder=subfolder)
    found = load_backbone(folder, MAX_PIXELS, torch.float32)
    expected = load_backbone(checkpoints["qwen3_vl"], MAX_PIXELS, torch.float32)
    weights, same = (backbone.model.state_dict() for backbone in (found, expected))
    assert weights.keys() == same.keys() and all(torch.equal(weights[name], same[name]) for name in same)
    assert found.image_processor.to_dict() == expected.image_processor.to_dict()
    assert found.tokenizer.get_vocab() == expected.tokenizer.get_vocab()


def test_a_trained_encoder_is_no_backbone(small_encoder_folder: Path) -> None:
    with pytest.raises(BackboneError, match=f"a trained encoder; go on from it with --init {small_encoder_folder}"):
        load_backbone(small_encoder_folder, MAX_PIXELS, torch.float32)


def test_a_folder_without_a_model_is_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="cannot be loaded") as caught:
        load_backbone(tmp_path, MAX_PIXELS, torch.float32)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_another_kind_of_model_names_those_supported(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(BackboneError, match="type 'bert'; moon2 upcycles qwen2_5_vl, qwen3_vl, smolvlm"):
        load_backbone(tmp_path, MAX_PIXELS, torch.float32)


@pytest.mark.parametrize("missing", ["model.safetensors", "preprocessor_config.json", "tokenizer.json"])
def test_an_incomplete_checkpoint_is_refused(missing: str, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    for file in checkpoints["qwen3_vl"].iterdir():
        if file.name not in (missing, "vocab.json", "merges.txt"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(BackboneError, match="cannot be loaded"):
        load_backbone(tmp_path, MAX_PIXELS, torch.float32)


def test_tiny_is_the_same_for_the_same_seed(
    new_encoder: Callable[..., Encoder], image: Callable[..., Image.Image]
) -> None:
    first, second = (new_encoder("tiny").encode(records(image)) for _ in range(2))
    assert np.array_equal(first, second)


def test_the_tokenizer_is_the_same_for_the_same_texts_and_gives_them_back() -> None:
    first, second = train_tokenizer(WORDS, 300), train_tokenizer(WORDS, 300)
    assert first.get_vocab() == second.get_vocab()
    assert len(first) <= 300
    for text in ("navy men casual shirt", "Größe 38 · 衬衫 👕"):
        assert first.decode(first(text)["input_ids"]).strip() == text.lower()
    assert first("NIKE shoes")["input_ids"] == first("nike shoes")["input_ids"]


@pytest.mark.parametrize("name", [*CHECKPOINTS, "tiny"])
def test_bfloat16_weights_give_nearly_the_same_vectors(
    name: str, new_encoder: Callable[..., Encoder], image: Callable[..., Image.Image]
) -> None:
    # Without noise: near-ties between unlike experts are decided by rounding, which is no error of the format.
    whole, half = (new_encoder(name, dtype, experts={"count": 4}) for dtype in ("float32", "bfloat16"))
    assert next(half.model.backbone.parameters()).dtype == torch.bfloat16
    vectors = half.encode(records(image))
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert (vectors * whole.encode(records(image))).sum(axis=1).min() > 0.99
