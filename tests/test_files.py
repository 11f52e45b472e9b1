"""Files and folders are replaced whole; a folder has one writer, and a killed one keeps nobody away."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from moon2.files import (
    FolderInUseError,
    OutputError,
    exclusive_lock,
    files_replaced,
    is_disk_full,
    replace_folder,
    require_writable,
    write_shared_atomic,
    write_text_atomic,
)

HOLD = """
import sys, time
from pathlib import Path
from moon2.files import exclusive_lock
with exclusive_lock(Path(sys.argv[1]), "`moon2 train`"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_text_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "text"
    for text in ("first", "second, with a “quote”"):
        write_text_atomic(path, text)
        assert path.read_text(encoding="utf-8") == text
    with pytest.raises(UnicodeEncodeError):
        write_text_atomic(path, "cannot be written \ud800")
    assert path.read_text(encoding="utf-8") == "second, with a “quote”"


@pytest.mark.parametrize("names", [["target"], ["target", ".target.old"], []])
def test_a_folder_is_replaced_whole(names: list[str], tmp_path: Path) -> None:
    """Also where nothing was there, and where a kill left the old one under its other name."""
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "old").touch()
    (tmp_path / "fresh").mkdir()
    (tmp_path / "fresh" / "new").touch()
    replace_folder(tmp_path / "fresh", tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["new"]


def test_a_second_writer_is_refused_in_one_line_until_the_first_is_done(tmp_path: Path) -> None:
    target = tmp_path / "new" / "run"
    with (
        exclusive_lock(target, "`moon2 train`"),
        pytest.raises(FolderInUseError) as refusal,
        exclusive_lock(target, "`moon2 train`"),
    ):
        pass
    remedy = "another `moon2 train` is writing it; wait until that ends, or choose another folder"
    assert str(refusal.value) == f"{target}: {remedy}"
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


def test_what_nobody_can_write_is_not_said_to_be_in_use() -> None:
    with pytest.raises(OutputError, match="/proc/run: cannot be written"), exclusive_lock(Path("/proc/run"), "x"):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(OutputError, match="cannot be written") as refusal,
        exclusive_lock(tmp_path / "file" / "run", "a"),
    ):
        pass
    assert "\n" not in str(refusal.value)


def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    for file, reason in (
        (tmp_path, "is a folder; name a file"),
        (tmp_path / "file" / "hits.html", "cannot be written below a file; name another place"),
        (tmp_path / "file" / "deeper" / "hits.html", "cannot be written below a file; name another place"),
        (tmp_path / f"{'long' * 99}.html", "cannot be written (File name too long); name another place"),
    ):
        with pytest.raises(OutputError) as refusal:
            require_writable(file, "--html")
        assert str(refusal.value) == f"--html {file}: {reason}"
    require_writable(tmp_path / "new" / "folder" / "hits.html", "--html")
    assert not list((tmp_path / "new" / "folder").iterdir()), "the folder is made, and nothing in it"
    require_writable(tmp_path / "file", "--html")
    assert (tmp_path / "file").read_text() == "kept"


def test_shared_bytes_are_whole_whoever_writes_them(tmp_path: Path) -> None:
    path, contents = tmp_path / "new" / "entry", [bytes([number]) * 300_000 for number in range(4)]
    read: list[bytes] = []

    def write(content: bytes) -> None:
        for _ in range(30):
            write_shared_atomic(path, content)
            read.append(path.read_bytes())

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read) == 120 and set(read) <= set(contents)
    assert list(path.parent.iterdir()) == [path]


def test_shared_bytes_that_cannot_be_written_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_full(path: Path, data: bytes) -> None:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", disk_full)
    with pytest.raises(OSError, match="No space left"):
        write_shared_atomic(tmp_path / "entry", b"x")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_known_however_a_library_says_it() -> None:
    def led_to(error: Exception) -> Exception:
        last = RuntimeError("unexpected pos 64 vs 0")  # as torch.save ends
        last.__context__ = error
        return last

    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    words = Exception("I/O error: No space left on device (os error 28)")  # as safetensors and tokenizers say it
    for error in (full, words, led_to(full), led_to(words), OSError(errno.EDQUOT, "quota")):
        assert is_disk_full(error)
    assert not is_disk_full(led_to(FileNotFoundError(errno.ENOENT, "no such file")))


def test_files_take_their_places_together_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with files_replaced(target, last="config.json", stale="model*") as fresh:
        for name in ("config.json", "model-1", "model-2"):
            (fresh / name).write_text("old")
    (target / "notes.md").write_text("the user's own")

    def content() -> dict[str, str]:
        return {path.name: path.read_text() for path in target.iterdir()}

    before = content()
    with pytest.raises(OSError, match="full"), files_replaced(target, last="config.json", stale="model*") as fresh:
        (fresh / "model").write_text("new")
        raise OSError(errno.ENOSPC, "full")
    assert content() == before
    with files_replaced(target, last="config.json", stale="model*") as fresh:
        (fresh / "model").write_text("new")
        (fresh / "config.json").write_text("new")
    assert content() == {"model": "new", "config.json": "new", "notes.md": "the user's own"}
    with pytest.raises(OSError, match="full"), files_replaced(tmp_path / "other", last="a", stale="a"):
        raise OSError(errno.ENOSPC, "full")
    assert not (tmp_path / "other").exists()
