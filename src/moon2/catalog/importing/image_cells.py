"""The images of a row: bytes, addresses and paths, in whatever form a table gives them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moon2.catalog.importing.cells import as_list
from moon2.catalog.importing.columns import ColumnMapping
from moon2.catalog.schema import is_url


def read_images(row: Mapping[str, Any], mapping: ColumnMapping, folder: Path) -> list[bytes | str | Path]:
    """The images of one row by a resolved mapping, unopened: bytes, URLs as text, and paths under `folder`."""
    root = folder if mapping.image_root is None else Path(mapping.image_root)
    images: list[bytes | str | Path] = []
    for column in mapping.images or ():
        for cell in as_list(row.get(column)):
            if isinstance(cell, Mapping):
                cell = cell.get("bytes") if cell.get("bytes") is not None else cell.get("path")
            if isinstance(cell, (bytes, bytearray)):
                images.append(bytes(cell))
            elif isinstance(cell, str) and _is_file(root / cell):
                images.append(root / cell)
            elif isinstance(cell, str):
                parts = re.split(r"[|;,]\s*(?=https?://)" if is_url(cell) else r"\s*[|;]\s*", cell.strip())
                images += [part if is_url(part) else root / part for part in parts if part]
    return images


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # too long for a name: a text, or a URL
        return False
