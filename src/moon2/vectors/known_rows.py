"""Which vectors are there already: a row's key is a hash of all that decides its vectors, and known keys are looked up.

So a second run embeds only what is new or has changed, wherever a row stands now and whatever its id.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from moon2.images import ImageSource

_KEPT_GROUPS = 4
"""Row groups in memory: rows mostly stand in the order in which they stood before."""


def row_key(made_by: str, text: str, images: Sequence[ImageSource]) -> str:
    """32 hexadecimal digits, equal where the vectors are.

    Args:
        made_by: the encoder's identity and all settings that decide its vectors.
        text: as it is read.
        images: those that are read; a path stands for what its file holds.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in (made_by, text):
        data = part.encode("utf-8", "surrogatepass")
        digest.update(b"%d\n" % len(data))
        digest.update(data)
    for image in images:
        digest.update(_image_hash(image))
    return digest.hexdigest()


def _image_hash(image: ImageSource) -> bytes:
    if isinstance(image, (bytes, bytearray)):
        return hashlib.blake2b(image, digest_size=16).digest()
    try:
        with open(str(image), "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
    except (OSError, ValueError):  # a URL or a missing file: opening it will say so
        return hashlib.blake2b(str(image).encode("utf-8", "surrogatepass"), digest_size=16).digest()


class KnownRows:
    """The rows of Parquet files by their key. Threads may share it; 16 bytes a row are in memory.

    Args:
        files: each with a column `key`; "" is no key.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = [pq.ParquetFile(path, memory_map=True) for path in files]
        hashes, places = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        self._groups: list[tuple[int, int]] = []
        self._starts = [0]
        for number, file in enumerate(self._files):
            for group in range(file.num_row_groups):
                keys = file.read_row_group(group, ["key"], use_threads=False)["key"].to_pylist()
                has_key = np.array([bool(key) for key in keys], dtype=bool)
                hashes.append(np.array([int(key[:16] or "0", 16) for key in keys], np.uint64)[has_key])
                places.append((np.arange(len(keys)) + self._starts[-1])[has_key])
                self._groups.append((number, group))
                self._starts.append(self._starts[-1] + len(keys))
        together = np.concatenate(hashes)
        order = np.argsort(together, kind="stable")
        self._hashes, self._places = together[order], np.concatenate(places)[order]
        self._cache: OrderedDict[int, pa.Table] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, keys: Collection[str]) -> pa.Table | None:
        """The rows that have one of these keys, each once (of images: each number once); None where there are none."""
        keys = {*keys} - {""}
        hashes = np.array(sorted({int(key[:16], 16) for key in keys}), np.uint64)
        first, last = (np.searchsorted(self._hashes, hashes, side) for side in ("left", "right"))
        places = [self._places[start:end] for start, end in zip(first, last, strict=True) if end > start]
        if not places:
            return None
        by_group: dict[int, list[int]] = {}
        for place in np.sort(np.concatenate(places)):
            group = int(np.searchsorted(self._starts, place, side="right")) - 1
            by_group.setdefault(group, []).append(int(place) - self._starts[group])
        # One schema, as the files of an interrupted run know nothing of `datasets`.
        parts = [self._read(group).take(rows).replace_schema_metadata(None) for group, rows in by_group.items()]
        found = pa.concat_tables(parts).combine_chunks()
        # The rest of the hash decides, and of rows that are there twice the first.
        numbers = found["image"].to_pylist() if "image" in found.column_names else [0] * len(found)
        kept: dict[tuple[str, int], int] = {}
        for row, name in enumerate(zip(found["key"].to_pylist(), numbers, strict=True)):
            if name[0] in keys:
                kept.setdefault(name, row)
        return found.take([*kept.values()]) if kept else None

    def _read(self, group: int) -> pa.Table:
        with self._lock:
            table = self._cache.pop(group, None)
            if table is None:
                number, row_group = self._groups[group]
                table = self._files[number].read_row_group(row_group, use_threads=False)
            self._cache[group] = table
            while len(self._cache) > _KEPT_GROUPS:
                self._cache.popitem(last=False)
        return table
