"""Writing that neither a kill, a full disk nor a second process can spoil: whole files, whole folders, one writer."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from moon2.errors import UserError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Of an `OSError`: no room on the disk, in the user's share of it, or within the largest size of a file."""


class FolderInUseError(UserError):
    """Another process is writing the same folder."""


class OutputError(UserError):
    """Nothing can be written where it is asked for; one line."""


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or one that led to it, says that a disk has no room."""
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, OSError) and chain.errno in DISK_FULL:
            return True
        # Libraries written in Rust, and errors of other processes, keep it in words alone.
        if any(f"{kind} {number}" in str(chain) for number in DISK_FULL for kind in ("os error", "Errno")):
            return True
        chain = chain.__cause__ or chain.__context__
    return False


def require_writable(file: Path, option: str) -> None:
    """Refuses a file that cannot be written, before the long work; makes the folder that it is to be in.

    Args:
        file: what is to be written, also in place of a file that is there.
        option: by which it was given, such as "--out", for the message.

    Raises:
        OutputError: it is a folder, or nothing can be written where it is to be.
    """
    try:
        if file.is_dir():
            raise OutputError(f"{option} {file}: is a folder; name a file")
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=file.name, dir=file.parent):
            pass
    except (FileExistsError, NotADirectoryError):
        raise OutputError(f"{option} {file}: cannot be written below a file; name another place") from None
    except OSError as error:
        raise OutputError(f"{option} {file}: cannot be written ({error.strerror}); name another place") from None


def write_text_atomic(path: Path, text: str) -> None:
    """Writes UTF-8 text. A process that is killed leaves the whole new text or the whole old one.

    Raises:
        OSError: it cannot be written; the old text stays.
    """
    write_atomic(path, text.encode())


def write_atomic(path: Path, data: bytes) -> None:
    """The same for bytes."""
    _write(path, path.with_name(f"{path.name}.new"), data)


def write_shared_atomic(path: Path, data: bytes) -> None:
    """Writes bytes that other threads and processes may write at the same moment; the last whole file stays.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, path.with_name(f"{path.name}.{uuid4().hex}.new"), data)


def _write(path: Path, fresh: Path, data: bytes) -> None:
    try:
        fresh.write_bytes(data)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


@contextmanager
def files_replaced(target: Path, last: str, stale: str) -> Iterator[Path]:
    """Gives a folder to write files into, which then take their places in `target`; others there stay.

    After an exception, such as a full disk, `target` is as it was. A process that is killed while files take their
    places leaves no file `last`, by which a whole folder is known.

    Args:
        target: made if it is not there.
        last: the file that is moved last.
        stale: a pattern of files that belong to what is replaced, and are removed.
    """
    fresh = target / ".new"
    is_new = not target.exists()
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        fresh.mkdir(parents=True)
        yield fresh
        (target / last).unlink(missing_ok=True)
        for path in target.glob(stale):
            path.unlink()
        for path in sorted(fresh.iterdir(), key=lambda path: path.name == last):
            if path.is_dir():
                shutil.rmtree(target / path.name, ignore_errors=True)
            path.replace(target / path.name)
        fresh.rmdir()
    except BaseException:
        shutil.rmtree(target if is_new else fresh, ignore_errors=True)
        raise


def replace_folder(fresh: Path, target: Path) -> None:
    """Moves the finished folder `fresh` to `target`, in place of what is there.

    A process that is killed leaves the whole new folder, the whole old one, or, between two renames, both under their
    other names.
    """
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def exclusive_lock(folder: Path, command: str, wait: float = 0.0) -> Iterator[None]:
    """Lets one process at a time write `folder`. The lock of a killed process is free again.

    Args:
        folder: what is written; it need not exist. The lock is a file beside it.
        command: what writes it, such as "`moon2 train`", for the message.
        wait: so many seconds for the other process to end.

    Raises:
        FolderInUseError: another process holds the lock.
        OutputError: nothing can be written there.
    """
    folder = folder.absolute()
    path = folder.with_name(f".{folder.name}.lock")
    lock = FileLock(path)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        path.touch()  # where it cannot be made, the library would say that somebody holds it
        lock.acquire(timeout=wait)
    except Timeout:
        raise FolderInUseError(
            f"{folder}: another {command} is writing it; wait until that ends, or choose another folder"
        ) from None
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from None
    try:
        yield
    finally:
        # Unlinked while the lock is held: a process that waits for a deleted file starts over, so no two hold it.
        path.unlink(missing_ok=True)
        lock.release()
