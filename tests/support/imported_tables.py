"""Tables of a shop as files, and their import."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moon2.catalog.importing.import_catalog import ImportResult, import_catalog


def write_csv(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    """Writes rows, the first of which is the header."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def run(source: Path | str, out: Path, **options: Any) -> ImportResult:
    """Imports a CSV, or another layout that the options name."""
    return import_catalog(str(source), out=out, **{"layout": "csv", **options})
