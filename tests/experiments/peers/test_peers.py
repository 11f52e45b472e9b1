"""Each peer is trained by a command of its own, and then scored and opened like any other run."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.small_recipe import write_small_recipe

from moon2 import Encoder
from moon2.catalog.store import Catalog
from moon2.cli import main
from moon2.encoders.load import load_encoder
from moon2.evaluate.result import Evaluation
from moon2.run_folder import RunFolder
from moon2.views import DIRECTIONS

DENSE = ("experts.count=1", "experts.active=1", "training.steps=2", "augmentations.use=none")


@pytest.mark.parametrize(
    ("peer", "network"),
    [("two_towers", "TwoTowers"), ("single_loss", "MoonModel"), ("sentence_transformers", "MoonModel")],
)
def test_a_peer_is_trained_resumed_and_scored_by_commands(
    peer: str, network: str, generated_shop: Catalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if peer == "sentence_transformers":
        pytest.importorskip("sentence_transformers")
    run, shop = RunFolder(tmp_path / "run"), str(generated_shop.folder)
    recipe = write_small_recipe(tmp_path / "small.yaml", *DENSE)
    command = [f"moon2.experiments.peers.{peer}:train", "--data", shop, "--config", str(recipe), "--out", str(run.path)]
    assert main(command) == 0
    assert "trained 2 steps" in capsys.readouterr().out
    assert [line["step"] for line in run.read_history() if "loss" in line] == [1, 2]
    assert all(line["tokens"] > 0 and line["triplets_per_second"] > 0 for line in run.read_history())

    assert main(command) == 2
    assert "already holds a run; add --resume" in capsys.readouterr().err
    weights = (run.model / "model.safetensors").read_bytes()
    assert main([*command, "--resume"]) == 0
    assert (run.model / "model.safetensors").read_bytes() == weights, "there was nothing left to train"

    encoder = load_encoder(run.path)
    assert isinstance(encoder, Encoder) and type(encoder.model).__name__ == network
    assert main(["evaluate", str(run.path), "--data", shop]) == 0
    assert list(Evaluation.read(run.evaluation).recalls) == [str(direction) for direction in DIRECTIONS]
