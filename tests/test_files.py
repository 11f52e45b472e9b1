"""A folder has one writer; that it was killed keeps nobody away."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from moon2.files import FolderInUseError, exclusive_lock

HOLD = """
import sys, time
from pathlib import Path
from moon2.files import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), "`moon2 train`"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_writer_is_turned_away_in_one_line_until_the_first_is_done(tmp_path: Path) -> None:
    target = tmp_path / "new" / "run"
    with (
        exclusive_lock(target, "`moon2 train`"),
        pytest.raises(FolderInUseError) as refusal,
        exclusive_lock(target, "`moon2 train`"),
    ):
        pass
    said = "another `moon2 train` is writing it; wait until that ends, or choose another folder"
    assert str(refusal.value) == f"{target}: {said}"
    with exclusive_lock(target, "`moon2 train`"):
        pass
    assert list(target.parent.iterdir()) == [], "nothing is left beside the folder"


def test_a_writer_that_was_killed_keeps_nobody_away(tmp_path: Path) -> None:
    target = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(target)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(FolderInUseError), exclusive_lock(target, "`moon2 train`"):
            pass
        holder.kill()
    with exclusive_lock(target, "`moon2 train`"):
        pass


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(FolderInUseError, match="cannot be written") as refusal,
        exclusive_lock(tmp_path / "file" / "run", "a"),
    ):
        pass
    assert "\n" not in str(refusal.value)
