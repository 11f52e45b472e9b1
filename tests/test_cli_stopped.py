"""Commands that are stopped: by a fault of moon2, a machine that is full, or the user."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from support.command_line import error_line

from moon2 import cli
from moon2.cli import main


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes `moon2 shop` fail with an error."""

    def fail_with(error: BaseException) -> None:
        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr("moon2.catalog.generated_shop.generate.generate_shop", fail)

    return fail_with


def test_a_fault_of_our_own_keeps_its_traceback(failing: Any, tmp_path: Path) -> None:
    failing(ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        main(["shop", "--out", str(tmp_path)])
    failing(FileNotFoundError(errno.ENOENT, "no such file"))
    with pytest.raises(FileNotFoundError):
        main(["shop", "--out", str(tmp_path)])


def test_a_full_machine_is_one_line(failing: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import torch

    failing(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate …"))
    line = error_line(capsys, "shop", "--out", tmp_path)
    assert line.startswith("moon2: the device's memory is full; end what else uses it")
    of_training = cli._user_message(torch.OutOfMemoryError("CUDA out of memory"), "train")
    assert of_training is not None and "set or lower --training.chunk_tokens" in of_training
    failing(OSError(errno.ENOSPC, "No space left on device", "data/file"))
    assert "data/file: the disk is full; make room on it" in error_line(capsys, "shop", "--out", tmp_path)
    failing(PermissionError(errno.EACCES, "Permission denied", "data/file"))
    assert "data/file: Permission denied" in error_line(capsys, "shop", "--out", tmp_path)


@pytest.mark.parametrize(
    ("args", "way_on"),
    [
        (["train", "--data", "my shop", "--out", "run"], "moon2 train --data 'my shop' --out run --resume"),
        (["train", "--data", "shop", "--out", "run", "--resume"], "moon2 train --data shop --out run --resume"),
        (["compare", "shop", "--out", "c"], "go on with the same command: moon2 compare shop --out c"),
        (["evaluate", "run", "--data", "shop"], "start again with: moon2 evaluate run --data shop"),
    ],
)
def test_a_command_that_is_stopped_says_how_to_go_on(
    args: list[str], way_on: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", stop)
    assert main(args) == 130
    assert capsys.readouterr().err.endswith(f"{way_on}\n")
