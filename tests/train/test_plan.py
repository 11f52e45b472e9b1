"""What a recipe is said to take is what a real step of it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support.measured_step import SIZES, measured
from support.tiny_checkpoints import write_checkpoint

from moon2.catalog.store import Catalog
from moon2.cli import main
from moon2.errors import UserError
from moon2.recipe import Recipe, RecipeError
from moon2.train.dry_step import plan_run
from moon2.train.train import train

TESTS = Path(__file__).resolve().parents[1]
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "plain": ("tiny", ()),
    "checkpointed": ("qwen3_vl", ("training.activation_checkpointing=1",)),
    "half checkpointed": ("qwen2_5_vl", ("training.activation_checkpointing=0.5",)),
    "chunks": ("tiny", ("training.chunk_tokens=200",)),
    "chunks, checkpointed": ("qwen3_vl", ("training.chunk_tokens=200", "training.activation_checkpointing=1")),
    "bf16": ("qwen3_vl", ("training.bf16=true",)),
    "bf16, smolvlm": ("smolvlm", ("training.bf16=true", "training.activation_checkpointing=1")),
    "adamw_bf16": ("qwen3_vl", ("training.optimizer=adamw_bf16", "backbone.dtype=bfloat16")),
    "muon": ("tiny", ("training.optimizer=muon",)),
    "lora": ("qwen3_vl", ("lora.rank=8", "training.activation_checkpointing=1")),
    "frozen": ("qwen3_vl", ("training.freeze=[vision]",)),
    "shorter vectors": ("tiny", ("training.dimensions=[8, 16]",)),
    "two views": ("tiny", ('alignment.objectives={"t→mm": 1}',)),
}
QWEN_2B = (
    "backbone.name=Qwen/Qwen3-VL-2B-Instruct",
    "backbone.dtype=bfloat16",
    f"experts.layers={list(range(16, 28))}",
    "training.optimizer=adamw_bf16",
    "training.activation_checkpointing=1",
    "training.batch_size=64",
    "input.max_pixels=262144",
)


def write_backbone(kind: str, folder: Path) -> str:
    """A name for a recipe."""
    return kind if kind == "tiny" else str(write_checkpoint(kind, folder / kind))


@pytest.mark.parametrize(("kind", "settings"), CASES.values(), ids=CASES)
def test_a_step_takes_what_was_planned(
    kind: str, settings: Sequence[str], small_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = small_recipe(*SIZES, f"backbone.name={write_backbone(kind, tmp_path)}", *settings)
    assert plan_run(recipe, gpu=False).peak == pytest.approx(measured(recipe), rel=0.02)


@pytest.mark.parametrize(
    "settings",
    [pytest.param((), marks=pytest.mark.long), ("training.bf16=true", "training.activation_checkpointing=1")],
)
def test_a_step_of_sharded_weights_takes_what_was_planned(
    settings: Sequence[str], small_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = small_recipe(*SIZES, f"backbone.name={write_backbone('qwen3_vl', tmp_path)}", *settings)
    recipe.training.shard_weights = True
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launcher, TESTS / "support" / "measured_step.py", tmp_path / "recipe.yaml", tmp_path / "peak"]
    paths = f"{TESTS}:{os.environ.get('PYTHONPATH', '')}"
    subprocess.run(command, env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}, check=True, timeout=900)
    found = plan_run(recipe, 2, gpu=False)
    assert found.peak == pytest.approx(int((tmp_path / "peak").read_text()), rel=0.15)
    assert found.weights < 0.6 * plan_run(recipe, gpu=False).weights


@pytest.mark.long
def test_an_h100_took_what_was_planned(small_recipe: Callable[..., Recipe]) -> None:
    """benchmarks/training_step.py --shape qwen3-vl-2b --variants checkpointed: 55.1 GiB at 64 triplets."""
    found = plan_run(small_recipe(*QWEN_2B, "input.max_text_tokens=48"))
    assert found.peak / 2**30 == pytest.approx(55.1, rel=0.05)
    assert found.visual_tokens == 256 and found.tokens == 64 * 3 * (256 + 2 + 48 + 48)
    assert found.parameters == pytest.approx(3.487e9, rel=1e-3)
    # Items have as many words as the benchmark's; 18.8 is what the step must be worth.
    assert found.operations == pytest.approx(18.8e12, abs=0.5e12)


@pytest.mark.parametrize(("devices", "setting"), [(3, "backbone.tiny.feed_forward=40"), (16, "lora.rank=8")])
def test_experts_that_no_side_or_one_side_cuts_evenly_are_shared_too(
    devices: int, setting: str, small_recipe: Callable[..., Recipe]
) -> None:
    recipe = small_recipe("training.shard_weights=true", "training.batch_size=16", setting)
    assert plan_run(recipe, devices, gpu=False).weights < 0.6 * plan_run(recipe, gpu=False).weights


def test_a_batch_of_any_size_takes_little_more_in_chunks(small_recipe: Callable[..., Recipe]) -> None:
    chunks = [*SIZES, "training.chunk_tokens=400"]
    small, large = (
        plan_run(small_recipe(*chunks, f"training.batch_size={size}"), gpu=False).activations for size in (16, 128)
    )
    whole = plan_run(small_recipe(*SIZES, "training.batch_size=128"), gpu=False).activations
    assert small < large < whole / 10


def test_concatenated_augmentations_cost_their_tokens(small_recipe: Callable[..., Recipe]) -> None:
    plain = plan_run(small_recipe(*SIZES))
    augmented = plan_run(small_recipe(*SIZES, "augmentations.use=concatenate", "augmentations.keep_original=0"))
    # Of three items two are products: each has three more images of 4 tokens and 2 markers, and twice 16 more words.
    assert augmented.tokens - plain.tokens == 16 * 2 * (3 * 6 + 2 * 16)
    assert augmented.peak > plain.peak and augmented.operations > plain.operations


def test_more_fields_than_the_title_are_taken_to_fill_what_is_read(small_recipe: Callable[..., Recipe]) -> None:
    title, fields = (plan_run(small_recipe(*settings)) for settings in ([], ["input.fields=[title, brand]"]))
    assert (title.text_tokens, fields.text_tokens) == (48, 64)
    # Of four triplets the products alone, in the joint row and in the row of their text.
    assert fields.tokens - title.tokens == 4 * 2 * 2 * 16


def test_the_command_needs_neither_data_nor_weights(
    small_recipe: Callable[..., Recipe],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = write_checkpoint("qwen3_vl", tmp_path / "qwen3_vl")
    for file in folder.iterdir():
        if file.name != "config.json":
            file.unlink()
    recipe = small_recipe(*SIZES, f"backbone.name={folder}", "training.shard_weights=true")
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert main(["train", "--config", str(tmp_path / "recipe.yaml"), "--plan"]) == 0
    printed = capsys.readouterr().out
    assert "on 4 devices that each hold a part of the weights" in printed
    assert "16 triplets" in printed and "GiB a device" in printed and "one image of 4 visual tokens" in printed


@pytest.mark.parametrize("devices", ["0", "-1", "two", ""])
def test_a_number_of_gpus_that_is_none_is_told_in_a_line(
    devices: str, small_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", devices)
    with pytest.raises(UserError, match=f"WORLD_SIZE is '{devices}'; for --plan it is the number of GPUs, 1 or more"):
        train(recipe=small_recipe(), plan=True)


def test_a_number_of_gpus_that_torchrun_did_not_set_is_told_in_a_line(
    small_recipe: Callable[..., Recipe], shop: Catalog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(UserError, match="WORLD_SIZE is set, and torchrun is not running; unset it, or start"):
        train(recipe=small_recipe(), data=shop.folder, out=tmp_path / "run")


def test_what_cannot_be_planned_is_told_in_a_line(small_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sizes of 'acme/large-vl' do not come with moon2"):
        plan_run(small_recipe("backbone.name=acme/large-vl"))
    with pytest.raises(RecipeError, match="batch_size is 4; 8 devices need one triplet each"):
        plan_run(small_recipe(), 8)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(RecipeError, match="moon2 upcycles"):
        plan_run(small_recipe(f"backbone.name={tmp_path}"))
