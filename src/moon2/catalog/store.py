"""A catalog on disk: products, search log and rejects as Parquet in a folder that `datasets.load_dataset` opens too.

An opened catalog knows the position of each product (16 bytes a product). It reads one row group for each product it
is asked for, and caches the latest up to a bound. A catalog is written to a hidden folder beside the target, which is
renamed when complete; so a catalog exists as a whole or not at all.
"""

from __future__ import annotations

import glob
import itertools
import os
import shutil
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from moon2.catalog import schema
from moon2.catalog.schema import SPLITS, CatalogError, Reject
from moon2.catalog.shards import Shard, TableWriter
from moon2.files import DISK_FULL, exclusive_lock, replace_folder
from moon2.meant import did_you_mean_file
from moon2.records import Interaction, Product, Query

# Of the row groups in memory for random access.
CACHE_BYTES = 256_000_000
# All that moon2 itself writes into a catalog's folder; one with anything else in it is not replaced.
ENTRIES = {"products", "interactions", "rejects.parquet", "rejected_augmentations.parquet", "noise.parquet"}
ENTRIES |= {"README.md", "benchmark.json", "contamination.json", "contamination.csv"}

__all__ = ["Catalog", "CatalogError", "CatalogWriter", "Reject", "write_catalog"]


class UnknownProductError(CatalogError):
    """The catalog has no product of this id."""


class Catalog:
    """A folder of products and, perhaps, a search log; opened read-only.

    Attributes:
        folder: its folder.
        splits: the product splits present, of ("train", "test").
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            near = did_you_mean_file(self.folder) or "; make one with `moon2 import`"
            raise CatalogError(f"{self.folder}: there is no such catalog{near}")
        paths = {split: sorted(self.folder.glob(f"products/{split}-*.parquet")) for split in SPLITS}
        self.splits = tuple(split for split in SPLITS if paths[split])
        if not self.splits:
            raise CatalogError(f"{self.folder}: is not a catalog (no products/*.parquet); make one with `moon2 import`")
        self._shards = [Shard(path, split) for split in self.splits for path in paths[split]]
        self._starts = np.cumsum([0] + [shard.rows for shard in self._shards])
        self._index: tuple[np.ndarray, np.ndarray] | None = None
        self._cache: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()
        self._cached_bytes = 0

    @classmethod
    def open(cls, folder: str | Path) -> Catalog:
        """Opens a catalog folder.

        Raises:
            CatalogError: the folder is missing, is not a catalog, or a file of it is damaged.
        """
        return cls(folder)

    def __reduce__(self) -> tuple[type[Catalog], tuple[Path]]:
        return Catalog, (self.folder,)

    def __repr__(self) -> str:
        return f"Catalog({str(self.folder)!r}, products={len(self)})"

    def __str__(self) -> str:
        train, test = (len(self.interactions(split)) for split in SPLITS)
        return f"{self.folder}: {len(self):,} products, {train:,} training queries, {test:,} test queries"

    def __len__(self) -> int:
        return int(self._starts[-1])

    def ids(self, split: str | None = None) -> list[str]:
        """Product ids in the order they are stored, of one split or of all."""
        return [row["id"] for row in self.rows(split, ["id"])]

    def product(self, id: str) -> Product:
        """The product with this id; its images are bytes, absolute paths or URLs.

        Raises:
            UnknownProductError: there is none; the message names the id.
        """
        if self._index is None:
            # Sorted hashes of the ids need a fifth of the memory of a dictionary.
            hashes = np.fromiter((hash(row["id"]) for row in self.rows(None, ["id"])), np.int64, len(self))
            order = np.argsort(hashes, kind="stable")
            self._index = hashes[order], order
        hashes, order = self._index
        first, last = (int(np.searchsorted(hashes, hash(id), side)) for side in ("left", "right"))
        for position in order[first:last]:
            row = self._row(int(position))
            if row["id"] == id:
                return schema.row_to_product(row)
        raise UnknownProductError(f"{self.folder}: there is no product {id!r}")

    def with_image(self, query: Query) -> Query:
        """The query with its image filled in, where it was made with a product's photo.

        A query is returned unchanged if the catalog lacks its product, or has no image of it.
        """
        if query.image is not None or query.product_id is None:
            return query
        try:
            images = self.product(query.product_id).images
        except UnknownProductError:
            return query
        return replace(query, image=images[0]) if images else query

    def products(self, split: str | None = None) -> Iterator[Product]:
        """All products of one split, or of all, in the order they are stored; one row group in memory at a time."""
        return (schema.row_to_product(row) for row in self.rows(split, schema.PRODUCTS.names))

    def rows(self, split: str | None, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Like `products`, but plain rows of only these columns: quick where the images are not needed."""
        self._check_split(split)
        shards = [shard for shard in self._shards if split in (None, shard.split)]
        return itertools.chain.from_iterable(shard.read_all(columns) for shard in shards)

    def attribute_names(self, split: str | None = None) -> set[str]:
        """The names of all attributes that a product of one split, or of all, has a value of."""
        rows = self.rows(split, ["attributes"])
        return {pair["key"] for row in rows for pair in row["attributes"] or () if pair["value"]}

    def licence(self) -> str:
        """The licence on the catalog's card, a hub identifier; "unknown" where none is given or can be read."""
        try:
            header = yaml.safe_load(read_card(self.folder)[0])
        except yaml.YAMLError:
            header = None
        return str((header.get("license") if isinstance(header, dict) else None) or "unknown")

    def shards(self, split: str) -> list[Shard]:
        """The opened files of one split, in order, for work on whole row groups."""
        self._check_split(split)
        return [shard for shard in self._shards if shard.split == split]

    def interactions(self, split: str) -> list[Interaction]:
        """The search log of one split ("train" or "test"); empty if there is none."""
        self._check_split(split)
        path = self.folder / "interactions" / f"{split}.parquet"
        if not path.exists():
            return []
        rows = Shard(path, split, schema.INTERACTIONS).read_all(schema.INTERACTIONS.names)
        return [schema.row_to_interaction(row) for row in rows]

    def rejects(self) -> list[Reject]:
        """What the import left out, in the order of the source; empty if nothing was left out."""
        path = self.folder / "rejects.parquet"
        if not path.exists():
            return []
        return [Reject(**row) for row in Shard(path, "", schema.REJECTS).read_all(schema.REJECTS.names)]

    def _check_split(self, split: str | None) -> None:
        if split is not None and split not in SPLITS:
            raise CatalogError(f"{self.folder}: there is no split {split!r}; splits are {' and '.join(SPLITS)}")

    def _row(self, position: int) -> dict[str, Any]:
        number = int(np.searchsorted(self._starts, position, side="right")) - 1
        shard, row = self._shards[number], position - int(self._starts[number])
        group = int(np.searchsorted(shard.group_starts, row, side="right")) - 1
        table = self._cache.pop((number, group), None)
        if table is None:
            table = shard.read(group, schema.PRODUCTS.names)
            self._cached_bytes += table.nbytes
        self._cache[number, group] = table
        while self._cached_bytes > CACHE_BYTES and len(self._cache) > 1:
            self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return dict(table.slice(row - int(shard.group_starts[group]), 1).to_pylist()[0])


class CatalogWriter:
    """Writes a catalog a record at a time, in memory bounded by one row group; use as a context manager.

    The whole catalog appears at `folder` when the context ends; after an exception, such as that of a full disk,
    nothing appears, and what was there stays. It does not lock the folder: hold `exclusive_lock`.

    Attributes:
        folder: absolute path of the new catalog.
        product_ids: of the products added.

    Raises:
        CatalogError: the folder holds something else, or holds a catalog and `overwrite` is off.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        title: str,
        description: str = "",
        licence: str = "unknown",
        overwrite: bool = False,
    ) -> None:
        self.folder = Path(folder).absolute()
        self._card = (title, description, licence)
        require_target(self.folder, overwrite=overwrite)
        self._partial = self.folder.with_name(f".{self.folder.name}.partial")
        shutil.rmtree(self._partial, ignore_errors=True)  # left by a process that was killed
        try:
            (self._partial / "products").mkdir(parents=True)
            (self._partial / "interactions").mkdir()
        except OSError as error:
            raise CatalogError(f"{self.folder}: cannot be written ({error.strerror}); choose another folder") from None
        self._tables: dict[str, TableWriter] = {}
        self.product_ids: set[str] = set()

    def __enter__(self) -> CatalogWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            try:
                self._finish()
            except BaseException as failure:
                error = failure
        for table in self._tables.values():
            table.abandon()
        shutil.rmtree(self._partial, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            reason = os.strerror(error.errno).lower()
            line = f"{self.folder}: cannot be written ({reason}); make room, or choose another folder"
            raise CatalogError(line) from None
        if error is not None and kind is None:
            raise error

    def add_product(self, product: Product, split: str = "train") -> None:
        """Adds one product.

        Raises:
            CatalogError: its id was added before, or the split is not "train" or "test".
        """
        self.add_row(schema.product_to_row(product), split)

    def add_row(self, row: dict[str, Any], split: str = "train") -> None:
        """Adds one product given as a row of `schema.PRODUCTS`, such as another catalog's.

        Raises:
            CatalogError: as `add_product`.
        """
        id = row["id"]
        if id in self.product_ids:
            raise CatalogError(f"product {id!r}: is in the catalog twice; give every product its own id")
        self._table("products", split, schema.PRODUCTS).add(row)
        self.product_ids.add(id)

    def add_interaction(self, interaction: Interaction, split: str = "train") -> None:
        """Adds one event of the search log, after the products it names.

        Raises:
            CatalogError: it names a product that is not in the catalog.
        """
        query = interaction.query
        for id in (*interaction.positive_ids, *interaction.negative_ids, *interaction.grades, query.product_id):
            if id is not None and id not in self.product_ids:
                raise CatalogError(f"query {query.id!r}: product {id!r} is not in the catalog; add or leave it out")
        self._table("interactions", split, schema.INTERACTIONS).add(schema.interaction_to_row(interaction))

    def add_reject(self, reject: Reject) -> None:
        """Adds one line to the list of what was left out."""
        # A row may be left out because of characters that UTF-8 cannot hold.
        row = {
            name: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
            for name, value in asdict(reject).items()
        }
        self._table("rejects", "", schema.REJECTS).add(row)

    def add_beside(self, name: str, row: dict[str, Any], columns: pa.Schema) -> None:
        """Adds one row to a further table of the catalog's folder, NAME.parquet."""
        self._table(name, "", columns).add(row)

    def _table(self, name: str, split: str, columns: pa.Schema) -> TableWriter:
        if split not in SPLITS and name in ("products", "interactions"):
            raise CatalogError(f"{self.folder}: there is no split {split!r}; splits are {' and '.join(SPLITS)}")
        key = f"{name}/{split}" if split else name
        if key not in self._tables:
            pattern = f"{key}-{{:05d}}.parquet" if name == "products" else f"{key}.parquet"
            self._tables[key] = TableWriter(self._partial, pattern, columns)
        return self._tables[key]

    def _finish(self) -> None:
        if not self.product_ids:
            raise CatalogError(f"{self.folder}: no product is left to write, so there is no catalog")
        for table in self._tables.values():
            table.close()
        counts = {
            name: {s: self._tables[f"{name}/{s}"].rows for s in SPLITS if f"{name}/{s}" in self._tables}
            for name in ("products", "interactions")
        }
        (self._partial / "README.md").write_text(schema.dataset_card(*self._card, counts), encoding="utf-8")
        if not counts["interactions"]:
            (self._partial / "interactions").rmdir()
        replace_folder(self._partial, self.folder)


def read_card(folder: Path) -> tuple[str, str]:
    """The header of a catalog's card, which is YAML between two lines of `---`, and what follows; "" where missing."""
    path = folder / "README.md"
    card = path.read_text(encoding="utf-8") if path.is_file() else ""
    header, _, text = card.partition("\n---\n") if card.startswith("---\n") else ("", "", card)
    return header.removeprefix("---\n"), text


def require_target(folder: Path, *, overwrite: bool, sources: Iterable[str | Path] = ()) -> None:
    """Refuses a folder where no new catalog may appear; quick, before the long work.

    Args:
        folder: of the new catalog.
        overwrite: whether it may replace a catalog.
        sources: files, folders or globs that it is made of; what is not there, such as a name of the hub, is ignored.

    Raises:
        CatalogError: it is a source, holds one, or is there already and lies in one; it holds something else, too, or
            holds a catalog and `overwrite` is off.
    """
    target = folder.resolve()
    for source in map(str, sources):
        for path in [source] if os.path.exists(source) else glob.iglob(source, recursive=True):
            whole = Path(path).resolve()
            if target == whole or target in whole.parents or (whole in target.parents and target.exists()):
                how = "is" if target == whole else "holds" if target in whole.parents else "lies in"
                raise CatalogError(f"{folder}: {how} its own source, {path}; choose another folder")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise CatalogError(f"{folder}: is a file; choose a folder for the catalog")
    if not any(folder.iterdir()):
        return
    try:
        Catalog.open(folder)
    except CatalogError:
        raise CatalogError(f"{folder}: holds something else than a catalog; choose another folder") from None
    if not overwrite:
        raise CatalogError(f"{folder}: holds a catalog already; choose another folder or add --overwrite")
    others = {entry.name for entry in folder.iterdir() if not entry.name.startswith(".")} - ENTRIES
    if others:
        raise CatalogError(f"{folder}: holds {min(others)} beside the catalog, and would lose it; move it elsewhere")


def write_catalog(
    folder: str | Path,
    products: Mapping[str, Iterable[Product]],
    interactions: Mapping[str, Iterable[Interaction]] | None = None,
    *,
    title: str,
    description: str = "",
    licence: str = "unknown",
    rejects: Iterable[Reject] = (),
    overwrite: bool = False,
) -> Catalog:
    """Writes a whole catalog and opens it.

    Args:
        folder: must not exist, be empty, or (with `overwrite`) hold a catalog.
        products: by split, "train" and "test"; any iterables, never in memory as a whole.
        interactions: by split; every product they name must be among `products`.
        title, description, licence: for the dataset card; the licence is a hub identifier such as "cc-by-4.0".
        rejects: what was left out.

    Raises:
        CatalogError: the folder holds something else, an id comes twice, or an interaction names an unknown product.
        FolderInUseError: another process is writing the folder.
        OutputError: nothing can be written at the folder.
    """
    with (
        exclusive_lock(Path(folder), "command"),
        CatalogWriter(folder, title=title, description=description, licence=licence, overwrite=overwrite) as writer,
    ):
        for split, some_products in products.items():
            for product in some_products:
                writer.add_product(product, split)
        for split, some_interactions in (interactions or {}).items():
            for interaction in some_interactions:
                writer.add_interaction(interaction, split)
        for reject in rejects:
            writer.add_reject(reject)
    return Catalog.open(folder)
