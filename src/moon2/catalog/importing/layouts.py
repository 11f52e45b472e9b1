"""Opens a table of any layout: what a file is, by its ending or by name, and how that is read."""

from __future__ import annotations

import glob
import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from moon2.catalog.importing.cells import SPLIT_NAMES
from moon2.catalog.importing.csv_rows import open_csv
from moon2.catalog.importing.excel_rows import open_excel
from moon2.catalog.importing.json_rows import open_json
from moon2.catalog.importing.sources import Source, SplitRows, join_files
from moon2.catalog.importing.text_files import COMPRESSED_ENDINGS
from moon2.catalog.schema import CatalogError
from moon2.errors import one_line
from moon2.meant import did_you_mean_file

logger = logging.getLogger(__name__)

ENDINGS = {
    "csv": ("csv", "tsv", "txt", "tab"),
    "parquet": ("parquet", "pq"),
    "json": ("json", "jsonl", "ndjson"),
    "jsonl": ("jsonl", "ndjson", "json"),
    "xlsx": ("xlsx", "xlsm"),
}
"""Layout → the endings of its files."""
_LAYOUT_OF = {ending: layout for layout, endings in reversed(ENDINGS.items()) for ending in endings}


def layout_of(source: str | Path) -> str:
    """The layout of a file, of the files in a folder, or of a glob, by its ending.

    Raises:
        CatalogError: the ending does not say it.
    """
    path = Path(source)
    files = path.rglob("*") if path.is_dir() else [path]
    layouts = {_LAYOUT_OF[ending] for file in files if (ending := ending_of(file)) in _LAYOUT_OF}
    if len(layouts) == 1:
        return layouts.pop()
    if ending_of(path) == "xls":
        raise CatalogError(f"{source}: is an old Excel file; save it as .xlsx, or as CSV")
    if not layouts and not path.exists() and not path.suffix and "/" in str(source):
        raise CatalogError(f"{source}: there is no such file; if it is a dataset of the hub, say so with --as hub")
    if ending_of(path) == "xml":
        raise CatalogError(f"{source}: of XML, feeds for Google Merchant Center are read; name it --as google-merchant")
    if layouts:
        raise CatalogError(f"{source}: holds files of several kinds; name those to read with --as, such as --as csv")
    if path.is_dir():
        raise CatalogError(f"{source}: the folder holds no .csv, .xlsx, .jsonl or .parquet; name another, or a file")
    if not path.exists() and not glob.has_magic(str(source)):
        raise CatalogError(f"{source}: there is no such file{did_you_mean_file(path) or ''}")
    raise CatalogError(
        f"{source}: its ending does not say what it is; save it as .csv, .xlsx, .jsonl or .parquet, or say what "
        f"it is with --as, such as --as csv"
    )


def ending_of(path: Path) -> str:
    """The ending of a file name without its dot, in small letters, and without that of a compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in COMPRESSED_ENDINGS:
        suffixes.pop()
    return suffixes[-1][1:] if suffixes else ""


def open_source(source: str | Path, layout: str, subset: str | None = None, encoding: str | None = None) -> Source:
    """Opens a table.

    Args:
        source: a file, a folder of files or a glob; a hub id or a local folder (hub).
        layout: "csv", "parquet", "json", "jsonl", "xlsx" or "hub".
        subset: configuration of a hub dataset, or sheet of an Excel file.
        encoding: of text files; found by their bytes when not given.

    Raises:
        CatalogError: it is missing, empty, or not of this layout.
    """
    if layout == "hub":
        return _open_hub(str(source), subset)
    if layout not in ENDINGS:
        raise CatalogError(f"{source}: there is no layout {layout!r}; single tables are {', '.join(ENDINGS)} or hub")
    paths = _find_files(source, ENDINGS[layout])
    if layout == "csv":
        return open_csv(paths, encoding)
    if layout == "parquet":
        return _open_parquet(paths)
    return open_excel(paths, subset) if layout == "xlsx" else open_json(paths, encoding)


def _find_files(source: str | Path, endings: tuple[str, ...]) -> list[Path]:
    path = Path(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if ending_of(file) in endings)
        if not files:
            kinds = " or ".join(f"*.{ending}" for ending in endings)
            raise CatalogError(f"{source}: the folder holds no {kinds}; name another, or a file")
    else:
        files = sorted(Path(name) for name in glob.glob(str(source), recursive=True))
        if not files:
            raise CatalogError(
                f"{source}: there is no such file{did_you_mean_file(path) or '; name one that is there'}"
            )
    return files


def _open_parquet(paths: list[Path]) -> Source:
    files, labels = [], dict[str, list[str]]()
    for path in paths:
        try:
            files.append(pq.ParquetFile(path, memory_map=True))
            labels |= _class_labels(files[-1].schema_arrow)
        except (OSError, pa.ArrowException) as error:
            raise CatalogError(f"{path}: cannot be read as Parquet ({one_line(error)})") from None

    def rows(path: Path, file: pq.ParquetFile) -> SplitRows:
        try:
            for batch in file.iter_batches(batch_size=256, use_threads=False):
                yield from ((None, _labelled(row, labels)) for row in batch.to_pylist())
        except (OSError, pa.ArrowException) as error:
            raise CatalogError(f"{path}: is damaged ({one_line(error)})") from None

    if len({split for path in paths if (split := SPLIT_NAMES.get(re.split(r"[\W_]", path.stem)[0]))}) > 1:
        logger.warning(
            f"{paths[0].parent}: its files are named after splits, which --as hub keeps; now they are one table"
        )
    columns, total = [file.schema_arrow.names for file in files], sum(file.metadata.num_rows for file in files)
    return join_files(paths, columns, list(map(rows, paths, files)), total)


def _class_labels(schema: pa.Schema) -> dict[str, list[str]]:
    """Column → names of its classes, which `datasets` stores as numbers, with the names beside them."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature["names"] for name, feature in features.items() if feature.get("_type") == "ClassLabel"}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _labelled(row: dict[str, Any], labels: Mapping[str, list[str]]) -> dict[str, Any]:
    """The row with the names of classes in the place of their numbers; -1 is none."""
    for column, names in labels.items():
        number = row.get(column)
        if isinstance(number, int):
            row[column] = names[number] if 0 <= number < len(names) else None
    return row


def _open_hub(name: str, subset: str | None) -> Source:
    import datasets

    try:
        splits = datasets.load_dataset(name, subset, streaming=True)
        if not isinstance(splits, dict):
            splits = {"train": splits}
        # Without decoding, images are the bytes of their files.
        tables = {split: iter(table.decode(False)) for split, table in splits.items()}
        first = {split: next(table, None) for split, table in tables.items()}
        labels = {
            column: feature.names
            for table in splits.values()
            for column, feature in (table.features or {}).items()
            if isinstance(feature, datasets.ClassLabel)
        }
        counts = [split.num_examples for table in splits.values() for split in (table.info.splits or {}).values()]
    except Exception as error:  # the hub, the network and the readers of files raise anything
        raise CatalogError(f"{name}: cannot be opened as a dataset ({one_line(error)})") from None
    columns = next((list(row) for row in first.values() if row is not None), [])
    if not columns:
        raise CatalogError(f"{name}: the dataset has no rows")

    def rows() -> SplitRows:
        for split, table in tables.items():
            row = first[split]
            while row is not None:
                yield split, _labelled(row, labels)
                try:
                    row = next(table, None)
                except Exception as error:
                    raise CatalogError(f"{name}: the next row cannot be read ({one_line(error)})") from None

    folder = Path(name) if Path(name).is_dir() else Path()
    return Source(name, columns, rows(), folder, sum(counts[: len(tables)]) or None)
