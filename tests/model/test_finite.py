"""A saved model with a weight that is no number is not loaded, whoever saved it and in however many files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

from moon2 import Encoder
from moon2.encoders.load import load_encoder
from moon2.model.errors import EncoderError
from moon2.model.finite import first_not_finite


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_one_bad_number_among_many_is_found(value: float, dtype: torch.dtype) -> None:
    weights = {"a": torch.full((40, 30), 6e4, dtype=dtype), "b": torch.zeros(0), "c": torch.ones(3, dtype=torch.int64)}
    assert first_not_finite(weights.items()) is None
    weights["a"][17, 3] = value
    assert first_not_finite([("first", torch.ones(2)), *weights.items()]) == "a"


def spoiled(folder: Path) -> dict[str, Tensor]:
    """A saved model's weights, with one that is no number."""
    weights = load_file(folder / "model.safetensors")
    next(weight for weight in weights.values() if weight.is_floating_point()).view(-1)[0] = float("nan")
    return weights


@pytest.mark.parametrize("shard_size", ["5GB", "40KB"])
def test_a_moon2_encoder(shard_size: str, small_encoder_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(small_encoder_folder, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    save_torch_state_dict(spoiled(small_encoder_folder), tmp_path / "model", max_shard_size=shard_size)
    assert (len(list((tmp_path / "model").glob("*.safetensors"))) > 1) == (shard_size == "40KB")
    for load in (Encoder.from_pretrained, load_encoder):
        with pytest.raises(EncoderError, match=r"weight .* is NaN or infinite, so every vector would be"):
            load(tmp_path / "model")


def test_a_dual_encoder(dual_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(dual_checkpoints["clip"], tmp_path / "clip")
    save_file(spoiled(tmp_path / "clip"), tmp_path / "clip" / "model.safetensors", {"format": "pt"})
    with pytest.raises(EncoderError, match=r"weight .* is NaN or infinite"):
        load_encoder(tmp_path / "clip")
