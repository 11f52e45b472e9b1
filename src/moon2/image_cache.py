"""Large images on disk at the size at which they are read, so that each is decoded once and not once an epoch.

A JPEG of 12 million pixels takes nine times as long to decode, even at reduced size, as its entry here
(`benchmarks/image_loading.py`). The folder is the user's, not a run's: runs on one catalog share the entries, and a
run's folder stays small enough to copy.
"""

from __future__ import annotations

import io
import logging
import math
import os
import zlib
from hashlib import sha256
from os import PathLike, fspath, scandir
from pathlib import Path

from PIL import Image

from moon2.files import write_shared_atomic
from moon2.images import ImageOpener, ImageSource, NotedSize, ReadingSize, is_clearly_larger, open_image

# A smaller image is decoded about as fast as its entry is found.
SMALLEST_ORIGINAL = 1_000_000
# Measured and, if too full, emptied after every 64th of the limit; down to 7/8 of it, so that what eight processes
# write in the meantime fits too.
SHARE_BETWEEN_CHECKS = 1 / 64
SHARE_KEPT = 7 / 8
LONGEST_SIDE = 16_383  # of a WebP image
logger = logging.getLogger(__name__)


def caching_opener(gigabytes: float) -> ImageOpener:
    """`open_image` behind a cache of that size in the user's cache folder; at 0, `open_image` itself."""
    if not gigabytes:
        return open_image
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return ImageCache(Path(caches) / "moon2" / "images", gigabytes * 1e9)


class ImageCache:
    """An `ImageOpener` that keeps large images; threads and processes may share its folder.

    A path is known by its size and time of change, bytes by their hash. What is kept is lossless: nothing that is read
    depends on what was kept.

    Args:
        folder: made when first needed. Where nothing can be written, images are opened as without a cache.
        limit: of the folder, in bytes. The oldest entries make room for new ones.
    """

    def __init__(self, folder: Path, limit: float) -> None:
        self.folder = folder
        self.limit = limit
        self._unchecked = limit  # bytes written since the folder was measured; other processes wrote before this one
        self._writable = True

    def __call__(self, source: ImageSource, where: str = "image", read_at: ReadingSize | None = None) -> Image.Image:
        """See `open_image`."""
        key = None if read_at is None else _key(source, read_at)
        if read_at is None or key is None:
            return open_image(source, where, read_at)
        path = self.folder / key[:2] / key[2:]
        kept = _read(path)
        if kept is not None:
            return kept
        noted = NotedSize(read_at)
        image = open_image(source, where, noted)
        is_large = math.prod(noted.original) >= SMALLEST_ORIGINAL and is_clearly_larger(noted.original, noted.reading)
        if is_large and max(image.size) <= LONGEST_SIDE:
            file = io.BytesIO()
            image.save(file, "WEBP", lossless=True, method=0, quality=0)  # the quickest way to write it
            self._write(path, file.getvalue())
        return image

    def _write(self, path: Path, data: bytes) -> None:
        if not self._writable:
            return
        try:
            write_shared_atomic(path, zlib.crc32(data).to_bytes(4) + data)
            self._unchecked += len(data)
            if self._unchecked >= self.limit * SHARE_BETWEEN_CHECKS:
                self._unchecked = 0
                self._remove_oldest()
        except OSError as error:
            self._writable = False
            logger.warning("%s: cannot be written (%s); large images are not cached", self.folder, error.strerror)

    def _remove_oldest(self) -> None:
        entries = []
        for part in scandir(self.folder):
            for entry in scandir(part):
                try:
                    entries.append((entry.stat().st_mtime_ns, entry.stat().st_size, entry.path))
                except FileNotFoundError:  # another process is doing the same
                    continue
        size = sum(size for _, size, _ in entries)
        for _, entry_size, path in sorted(entries):
            if size <= self.limit * SHARE_KEPT:
                break
            Path(path).unlink(missing_ok=True)
            size -= entry_size


def _key(source: ImageSource, read_at: ReadingSize) -> str | None:
    """The name of an entry; None for what cannot be known again, such as an opened image, or cannot be found."""
    if isinstance(source, (bytes, bytearray)):
        content = sha256(source).hexdigest()
    elif isinstance(source, (str, PathLike)) and not str(source).startswith("data:"):
        path = os.path.abspath(fspath(source))
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            return None
        content = f"{path} {status.st_size} {status.st_mtime_ns}"
    else:
        return None
    return sha256(f"{read_at!r} {content}".encode("utf-8", "surrogateescape")).hexdigest()


def _read(path: Path) -> Image.Image | None:
    """The image of an entry; None where there is none, or it is damaged."""
    try:
        entry = path.read_bytes()
    except OSError:
        return None
    checksum, data = entry[:4], entry[4:]
    return open_image(data) if zlib.crc32(data).to_bytes(4) == checksum else None
