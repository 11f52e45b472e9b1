"""Two processes on the CPU compute what one computes with the same batch; what is sharded is sharded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.distributed_gradients import CASES, settings_of
from support.mixed_batch import Gradients, assert_same, encoder_for_gradients, gradients, mixed_triplets

TESTS = Path(__file__).resolve().parents[1]


def torchrun(*arguments: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """Runs a command in several processes, on a free port of this machine."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = os.environ | {"PYTHONPATH": f"{TESTS}:{os.environ.get('PYTHONPATH', '')}", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, timeout=900, check=False
    )


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what two processes computed."""
    folder = tmp_path_factory.mktemp("gradients")
    result = torchrun(str(TESTS / "support" / "distributed_gradients.py"), str(folder))
    assert result.returncode == 0, result.stderr[-3000:]
    return folder


@pytest.mark.parametrize("case", CASES)
def test_two_processes_give_the_gradients_of_one(by_two: Path, case: str) -> None:
    assert_gradients_of_one(by_two, case)


def assert_gradients_of_one(by_several: Path, case: str) -> None:
    alone = gradients(
        encoder_for_gradients(lora="LoRA" in case), mixed_triplets(**CASES[case][3]), None, *settings_of(case)
    )
    loss, log, of = torch.load(by_several / f"{case}.pt", weights_only=True)
    assert_same(alone, Gradients(loss, log, of))


@pytest.mark.long
def test_three_processes_that_cut_experts_in_every_way_give_the_gradients_of_one(tmp_path: Path) -> None:
    """Stacks are cut along their second side or their third; adapters' too, or between experts, where one has none."""
    result = torchrun(str(TESTS / "support" / "distributed_gradients.py"), str(tmp_path), processes=3)
    assert result.returncode == 0, result.stderr[-3000:]
    for kind, wanted in (("", {"S(1)", "S(2)"}), ("-LoRA", {"S(0)"})):
        placement, _ = json.loads((tmp_path / f"placement{kind}-2.json").read_text())
        assert wanted <= {place for name, (place, _) in placement.items() if ".experts." in name}
    for case in CASES:
        assert_gradients_of_one(tmp_path, case)


def test_no_process_is_left_without_experts(by_two: Path) -> None:
    """FSDP2, not a fallback; each block on its own; stacks of experts are cut along their width."""
    shares = []
    for rank in range(2):
        placement, modules = json.loads((by_two / f"placement-{rank}.json").read_text())
        experts = {name: found for name, found in placement.items() if ".experts." in name}
        assert len(experts) == 4 and all(place == "S(1)" for place, _ in experts.values())
        assert {"", "backbone.language_model.layers.0", "backbone.language_model.layers.1"} <= set(modules)
        assert "dual_alignment" not in placement
        shares.append({name: numel for name, (_, numel) in experts.items()})
    assert shares[0] == shares[1]


def test_no_thread_of_the_exchange_outlives_python(by_two: Path) -> None:
    # One that did would abort a process that is done, now and then.
    for rank in range(2):
        threads = json.loads((by_two / f"threads-{rank}.json").read_text())
        assert threads
        assert not [name for name in threads if "gloo" in name]
