"""The unit of work: one row group of the source catalog, which is bounded in rows and in bytes.

A part that is done is one Parquet file of products and one of rejected augmentations, written under another name and
then renamed, so that it is there whole or not at all. A run that was killed goes on with the parts that are not there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from moon2.catalog import schema
from moon2.catalog.shards import Shard
from moon2.catalog.store import Catalog
from moon2.records import Product

REJECTED_AUGMENTATIONS = schema.table_schema(
    ("id", pa.string()),
    ("kind", pa.string()),
    ("text", pa.string()),
    ("image", schema.IMAGE),
    ("provider", pa.string()),
    ("reason", pa.string()),
    ("message", pa.string()),
    ("score", pa.float64()),
)


@dataclass(frozen=True, slots=True)
class Part:
    """Where a part's products are: a row group of a file.

    Attributes:
        number: counts all parts of the catalog from 0.
        path, group: the file, and which of its row groups.
        rows: products.
        size: bytes of the row group, pictures included: another size tells that the pictures are others.
    """

    number: int
    path: str
    group: int
    rows: int
    size: int


@dataclass
class Work:
    """A part under way.

    Attributes:
        products: in the order of the source, with what was added so far.
        rejected: rows of `REJECTED_AUGMENTATIONS`: what was made and not kept, and what could not be made.
        counts: what the summary adds up: titles, images, tokens_in, tokens_out …
    """

    products: list[Product]
    rejected: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, float] = field(default_factory=dict)

    def reject(
        self,
        product: Product,
        kind: str,
        reason: str,
        *,
        text: str | None = None,
        image: bytes | None = None,
        provider: str = "",
        score: float | None = None,
    ) -> None:
        """Keeps what is not used, with why; `reason` is "code: message"."""
        code, _, message = reason.partition(":")
        cell = None if image is None else {"bytes": image, "path": None}
        row = {"id": product.id, "kind": kind, "text": text, "image": cell, "provider": provider}
        self.rejected.append({**row, "reason": code.strip(), "message": message.strip(), "score": score})

    def count(self, name: str, number: float = 1) -> None:
        """Adds to a count."""
        self.counts[name] = self.counts.get(name, 0) + number

    def replace(self, row: int, **changes: Any) -> None:
        """Puts augmentations to the product of a row."""
        self.products[row] = replace(self.products[row], **changes)


def parts_of(catalog: Catalog, split: str) -> list[Part]:
    """All parts of one split, in order."""
    places = ((shard, group) for shard in catalog.shards(split) for group in range(len(shard.group_starts) - 1))
    return [
        Part(
            number,
            str(shard.path),
            group,
            int(shard.group_starts[group + 1] - shard.group_starts[group]),
            int(shard.file.metadata.row_group(group).total_byte_size),
        )
        for number, (shard, group) in enumerate(places)
    ]


def read_part(path: str, group: int) -> Work:
    """The products of a part, without augmentations of an earlier augmentation."""
    rows = Shard(Path(path), "train").read(group, schema.PRODUCTS.names).to_pylist()
    clean: dict[str, Any] = {"enriched_title": None, "expanded_images": [], "provenance": []}
    return Work([schema.row_to_product({**row, **clean}) for row in rows])


def write_part(folder: Path, number: int, work: Work) -> None:
    """Writes a finished part; the products last, because their file says that the part is done."""
    rejected = pa.Table.from_pylist(work.rejected, schema=REJECTED_AUGMENTATIONS)
    _write(rejected, folder / f"{number:08d}.rejected.parquet")
    products = pa.Table.from_pylist([schema.product_to_row(p) for p in work.products], schema=schema.PRODUCTS)
    metadata = {**(schema.PRODUCTS.metadata or {}), b"counts": counts_bytes(work.counts)}
    _write(products.replace_schema_metadata(metadata), folder / f"{number:08d}.products.parquet")


def done_parts(folder: Path) -> set[int]:
    """Numbers of the parts that are there."""
    return {int(path.name.split(".")[0]) for path in folder.glob("*.products.parquet")}


def read_products(folder: Path, number: int) -> Iterator[dict[str, Any]]:
    """Rows of a finished part, as the catalog's writer takes them."""
    yield from pq.read_table(folder / f"{number:08d}.products.parquet", use_threads=False).to_pylist()


def read_rejected(folder: Path, number: int) -> pa.Table:
    """Rows of `REJECTED_AUGMENTATIONS` of a finished part."""
    return pq.read_table(folder / f"{number:08d}.rejected.parquet", use_threads=False)


def read_counts(folder: Path, number: int) -> dict[str, float]:
    """What a finished part counted."""
    metadata = pq.read_schema(folder / f"{number:08d}.products.parquet").metadata
    counts: dict[str, float] = json.loads(metadata[b"counts"])
    return counts


def counts_bytes(counts: dict[str, float]) -> bytes:
    """Counts as they stand in a part's file."""
    return json.dumps(counts, sort_keys=True).encode()


def _write(table: pa.Table, path: Path) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    pq.write_table(table, fresh, compression="none")
    fresh.replace(path)


def rows_of(parts: Sequence[Part]) -> int:
    """Products in some parts."""
    return sum(part.rows for part in parts)
