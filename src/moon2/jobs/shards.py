"""The unit of a job: a shard, which is one row group of a table of the catalog, bounded in rows and in bytes.

A finished shard is a folder of tables, written under another name and then renamed, so that it is there whole or not at
all. A killed job goes on with the shards that are missing.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from moon2.catalog import schema
from moon2.catalog.shards import Shard as ParquetFile
from moon2.catalog.store import Catalog
from moon2.errors import UserError
from moon2.files import write_text_atomic
from moon2.records import Product, Query

Tables = Mapping[str, pa.Table]
"""What a finished shard consists of, by name."""
Table = Literal["products", "queries"]
_COLUMNS: dict[Table, pa.Schema] = {"products": schema.PRODUCTS, "queries": schema.INTERACTIONS}


class JobError(UserError):
    """A job cannot run or go on; one line."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Where a shard's products or queries are.

    Attributes:
        number: counts the shards of a job from 0.
        path, group: a Parquet file, and which of its row groups.
        rows: products, or interactions of the search log.
        size: bytes, images included.
        table: "products" or "queries".
    """

    number: int
    path: str
    group: int
    rows: int
    size: int
    table: Table = "products"

    def read(self) -> list[Product] | list[Query]:
        """The products; or the query of each interaction, without the image of a query made with a product's photo.

        Raises:
            CatalogError: the file cannot be read.
        """
        columns = _COLUMNS[self.table]
        rows = ParquetFile(Path(self.path), "train", columns).read(self.group, columns.names).to_pylist()
        if self.table == "queries":
            return [schema.row_to_interaction(row).query for row in rows]
        return [schema.row_to_product(row) for row in rows]


def shards_of(catalog: Catalog, split: str, table: Table = "products") -> list[Shard]:
    """All shards of one split of a table, in order."""
    files = catalog.shards(split)
    if table == "queries":
        log = catalog.folder / "interactions" / f"{split}.parquet"
        files = [ParquetFile(log, split, schema.INTERACTIONS)] if log.exists() else []
    groups = [(file, group) for file in files for group in range(len(file.group_starts) - 1)]
    return [
        Shard(
            number,
            str(file.path),
            group,
            int(file.group_starts[group + 1] - file.group_starts[group]),
            int(file.file.metadata.row_group(group).total_byte_size),
            table,
        )
        for number, (file, group) in enumerate(groups)
    ]


class JobFolder:
    """The finished shards of a job, and the fingerprint of what they depend on.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fingerprint = path / "fingerprint.json"

    def begin(self, fingerprint: Mapping[str, str]) -> None:
        """Makes the folder, or checks that the job in it was begun with the same fingerprint.

        Raises:
            JobError: it was not; the message names what differs.
        """
        if self.is_begun():
            if different := self.differences(fingerprint):
                raise JobError(
                    f"{self.path}: holds an interrupted run with other {' and '.join(different)}; go on with the same "
                    f"command as then, or remove that folder to start anew"
                )
            return
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        write_text_atomic(self._fingerprint, json.dumps(fingerprint, indent=1))

    def differences(self, fingerprint: Mapping[str, str]) -> list[str]:
        """The names of what is not as it was when the job in the folder was begun."""
        before = json.loads(self._fingerprint.read_text())
        return [name for name, value in fingerprint.items() if before.get(name) != value]

    def is_begun(self) -> bool:
        """Whether there is a job to go on with."""
        return self._fingerprint.is_file()

    def finished(self) -> set[int]:
        """Numbers of the finished shards; none where the folder is not there."""
        return {int(path.name) for path in self.path.glob("*") if path.name.isdecimal()}

    def write(self, number: int, tables: Tables) -> None:
        """Writes a finished shard."""
        target = self.path / f"{number:08d}"
        unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=self.path))
        for name, table in tables.items():
            pq.write_table(table, unfinished / f"{name}.parquet", compression="none")
        try:
            unfinished.rename(target)
        except OSError:
            if not target.is_dir():  # another worker may have finished the same shard
                raise

    def read(self, number: int, name: str) -> pa.Table:
        """A table of a finished shard."""
        return pq.read_table(self.table_path(number, name), use_threads=False)

    def table_path(self, number: int, name: str) -> Path:
        """The Parquet file of a table of a finished shard, which need not have it."""
        return self.path / f"{number:08d}" / f"{name}.parquet"

    def files(self, name: str) -> list[Path]:
        """The Parquet files of a table, of all finished shards that have it, in order."""
        paths = (self.table_path(number, name) for number in sorted(self.finished()))
        return [path for path in paths if path.is_file()]

    def remove(self) -> None:
        """Deletes everything."""
        shutil.rmtree(self.path, ignore_errors=True)
