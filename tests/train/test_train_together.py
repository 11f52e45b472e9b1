"""`moon2 train` in two processes: the run of one process, resumed after a kill, written by the first alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from support.small_recipe import write_small_recipe

from moon2 import Encoder
from moon2.catalog.store import Catalog
from moon2.recipe import load_recipe
from moon2.run_folder import RunFolder
from moon2.train.train import run_training

SETTINGS = (
    "experts.noise=0.5",
    "training.steps=20",
    "training.batch_size=6",
    "training.save_every=8",
    "training.evaluate_every=10",
    "training.validation_queries=5",
)
SHARDED = ("training.shard_weights=true", "training.chunk_tokens=60", "training.activation_checkpointing=1")
SECONDS = 900


def start(config: Path, shop: Catalog, out: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Two processes that train together."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--module"]
    command = ["moon2", "train", "--config", config, "--data", shop.folder, "--out", out, *arguments]
    return subprocess.Popen([*launcher, *map(str, command)], env=os.environ | {"OMP_NUM_THREADS": "1"})


def members(out: Path) -> dict[int, str]:
    """The processes that train into a folder: id to rank; the launcher has none."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(out) in (process / "cmdline").read_text():
                variables = dict(part.partition("=")[::2] for part in (process / "environ").read_text().split("\0"))
                found[int(process.name)] = variables.get("RANK", "")
        except (OSError, UnicodeDecodeError):
            continue
    return found


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in RunFolder(folder).read_history() if "loss" in line]


@pytest.fixture(scope="module")
def alone(shop: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process."""
    folder = tmp_path_factory.mktemp("alone")
    recipe = load_recipe(write_small_recipe(folder / "recipe.yaml", *SETTINGS))
    return run_training(recipe, shop, folder / "run").folder


def test_two_processes_train_as_one_does(alone: Path, shop: Catalog, tmp_path: Path) -> None:
    config = write_small_recipe(tmp_path / "recipe.yaml", *SETTINGS)
    assert start(config, shop, tmp_path / "run").wait(SECONDS) == 0
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(alone), atol=1e-4)
    words = ["navy shirt", "red shoes"]
    both = [Encoder.from_pretrained(folder, device="cpu").encode(words) for folder in (tmp_path / "run", alone)]
    np.testing.assert_allclose(*both, atol=1e-4)
    # One line a step and one an evaluation, so only one process wrote.
    assert len(RunFolder(tmp_path / "run").read_history()) == len(RunFolder(alone).read_history())


def test_a_killed_process_ends_all_and_sharded_weights_go_on(alone: Path, shop: Catalog, tmp_path: Path) -> None:
    config, out = write_small_recipe(tmp_path / "recipe.yaml", *SETTINGS, *SHARDED), tmp_path / "run"
    launcher = start(config, shop, out)
    deadline = time.monotonic() + SECONDS
    while RunFolder(out).newest_checkpoint() is None:
        assert time.monotonic() < deadline and launcher.poll() is None
        time.sleep(0.05)
    (second,) = [process for process, rank in members(out).items() if rank == "1"]
    os.kill(second, signal.SIGKILL)
    assert launcher.wait(SECONDS) != 0
    assert not members(out)
    done = len(losses(out))
    assert 8 <= done < 20
    assert start(config, shop, out, "--resume").wait(SECONDS) == 0
    np.testing.assert_allclose(losses(out), losses(alone), atol=1e-4)
    both = [
        Encoder.from_pretrained(folder, device="cpu").encode(["navy shirt", "red shoes"]) for folder in (out, alone)
    ]
    np.testing.assert_allclose(*both, atol=1e-4)


def test_one_process_alone_shares_its_weights_with_nobody(alone: Path, shop: Catalog, tmp_path: Path) -> None:
    """The recipe of many devices, tried on one."""
    recipe = load_recipe(write_small_recipe(tmp_path / "recipe.yaml", *SETTINGS, "training.shard_weights=true"))
    assert losses(run_training(recipe, shop, tmp_path / "run").folder) == losses(alone)


def test_more_processes_than_triplets_are_refused_in_one_line(shop: Catalog, tmp_path: Path) -> None:
    config = write_small_recipe(tmp_path / "recipe.yaml", "training.batch_size=1")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--module"]
    command = ["moon2", "train", "--config", config, "--data", shop.folder, "--out", tmp_path / "run"]
    ended = subprocess.run([*launcher, *map(str, command)], capture_output=True, text=True, timeout=SECONDS)
    assert ended.returncode != 0
    assert "moon2: training.batch_size is 1; it must be 2 or more, a triplet for each process" in ended.stderr


@pytest.mark.long
def test_adapters_of_sharded_weights_are_trained_and_go_on(shop: Catalog, tmp_path: Path) -> None:
    """A LoRA run of two processes is that of one, resumed from a checkpoint of adapters alone."""
    settings = (
        *SETTINGS[:3],
        "lora.rank=8",
        "training.steps=4",
        "training.save_every=2",
        "training.learning_rate=1e-2",
    )
    recipe = load_recipe(write_small_recipe(tmp_path / "alone.yaml", *settings))
    one = run_training(recipe, shop, tmp_path / "one").folder
    config, two = write_small_recipe(tmp_path / "recipe.yaml", *settings, *SHARDED), RunFolder(tmp_path / "two")
    assert start(config, shop, two.path).wait(SECONDS) == 0
    for folder in (two.model, two.adapter, two.checkpoints / "step-00000004"):
        shutil.rmtree(folder)
    assert start(config, shop, two.path, "--resume").wait(SECONDS) == 0
    np.testing.assert_allclose(losses(two.path), losses(one), atol=1e-4)
    both = [Encoder.from_pretrained(run, device="cpu").encode(["navy shirt", "red shoes"]) for run in (one, two.path)]
    np.testing.assert_allclose(*both, atol=1e-4)
    saved = [load_file(run / "adapter" / "adapter_model.safetensors") for run in (one, two.path)]
    assert saved[0].keys() == saved[1].keys()
