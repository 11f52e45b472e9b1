"""Whether a catalog is still the one that something was made from."""

from __future__ import annotations

import hashlib
from pathlib import Path

from moon2.catalog.store import Catalog

_END = 8  # bytes after a Parquet footer: its length, and PAR1


def catalog_fingerprint(catalog: Catalog) -> str:
    """A hash of a catalog's tables, 32 hexadecimal digits; equal wherever the folder lies.

    It reads the footers of the Parquet files, which hold the size of every column and the ends of its values: quick at
    any size. What image files hold that the catalog only names, and an image replaced by one of the same size, is not
    seen.
    """
    digest = hashlib.blake2b(digest_size=16)
    for table in ("products", "interactions"):
        for path in sorted((catalog.folder / table).glob("*.parquet")):
            digest.update(f"{table}/{path.name} {path.stat().st_size}\n".encode())
            digest.update(_footer(path))
    return digest.hexdigest()


def _footer(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-_END, 2)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-_END - length, 2)
        return file.read(length)
