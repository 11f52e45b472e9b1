"""Writing so that neither a kill nor a second process does harm: files whole or not at all, one writer a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


class InUseError(ValueError):
    """Another process is writing the same folder, or it cannot be written at all; one line."""


def write_whole(path: Path, text: str) -> None:
    """Writes a text as UTF-8, so that whenever the process is killed `path` holds all of it or what it held before."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


@contextmanager
def alone(target: Path, writer: str) -> Iterator[None]:
    """Keeps other processes that ask for the same from writing `target` while the block runs.

    The lock is a file beside the target. The system frees that of a process that was killed.

    Args:
        target: the folder to be written; it need not exist.
        writer: what writes it, such as "`moon2 train`", for the message.

    Raises:
        InUseError: another process is in such a block, or nothing can be written there.
    """
    path = target.with_name(f".{target.name}.lock")
    lock = FileLock(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        raise InUseError(
            f"{target}: another {writer} is writing it; wait until that ends, or choose another folder"
        ) from None
    except OSError as error:
        raise InUseError(f"{target}: cannot be written ({error.strerror}); choose another folder") from None
    try:
        yield
    finally:
        # Before it is freed: who waits for a file that is gone starts over, so that no two hold it.
        path.unlink(missing_ok=True)
        lock.release()
