"""A catalog whose training log has a chosen share of false purchases, to see what noise does to training.

Products and test queries are those of the source, linked and not copied where the disk allows it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from moon2.catalog.schema import INTERACTIONS, CatalogError
from moon2.catalog.store import Catalog


def read_noise_labels(path: str | Path) -> frozenset[str]:
    """The ids of queries whose purchase is known to be false.

    Args:
        path: Parquet with columns `query_id` and `purchase_is_noise` (bool), as `moon2 shop` writes it.

    Raises:
        CatalogError: there is no such file, it is no Parquet, or it lacks a column.
    """
    if not Path(path).is_file():
        raise CatalogError(f"{path}: there is no such file; give a Parquet table of known false purchases")
    try:
        columns = pq.read_schema(path).names
    except (pa.ArrowException, OSError):
        raise CatalogError(f"{path}: is not a Parquet table; give one of known false purchases") from None
    for name in ("query_id", "purchase_is_noise"):
        if name not in columns:
            raise CatalogError(f"{path}: has no column {name}; it has {', '.join(columns)}")
    table = pq.read_table(path, columns=["query_id", "purchase_is_noise"]).to_pydict()
    return frozenset(id for id, wrong in zip(table["query_id"], table["purchase_is_noise"], strict=True) if wrong)


def write_noisy_catalog(
    source: Catalog, folder: str | Path, share: float, *, known: Collection[str] = (), seed: int = 0
) -> Catalog:
    """Writes a catalog in which `share` of the training log's rows are false purchases.

    Rows known to be false count towards the share. Where there are too many of them, some are left out, all of them
    for share 0; where there are too few, the purchases of rows drawn at random become products drawn at random from
    the training split.

    Args:
        source: a catalog with a training log.
        folder: the new one; what is there from an attempt that was cut short is replaced.
        share: 0 to below 1.
        known: query ids of rows known to be false.
        seed: the same seed draws the same rows and products.

    Raises:
        CatalogError: the source has no training log, or the share is out of range.
    """
    target = Path(folder)
    if not 0 <= share < 1:
        raise CatalogError(f"log noise is {share}; it must be 0 or more and below 1")
    log = source.folder / "interactions" / "train.parquet"
    if not log.is_file():
        raise CatalogError(f"{source.folder}: has no training log, so there is nothing to make noisy")
    table = pq.read_table(log).cast(INTERACTIONS)
    random = np.random.default_rng((seed, round(1000 * share)))
    wrong = np.array([id in known for id in table["query_id"].to_pylist()], dtype=bool)
    right, false = np.flatnonzero(~wrong), random.permutation(np.flatnonzero(wrong))
    # Of R right and F false rows, dropping false ones leaves f with f / (R + f) = share.
    kept = false[: round(share * len(right) / (1 - share))]
    spoiled = random.permutation(right)[: max(0, round(share * (len(right) + len(kept))) - len(kept))]
    ids = source.ids("train")
    positives, negatives = (table[name].to_pylist() for name in ("positive_ids", "negative_ids"))
    for row in spoiled.tolist():
        positives[row] = [_other_than({*positives[row], *negatives[row]}, ids, random)]
    place = table.schema.get_field_index("positive_ids")
    column = INTERACTIONS.field("positive_ids")
    table = table.set_column(place, column, pa.array(positives, column.type))
    rows = np.sort(np.concatenate([right, kept]))
    fresh = target.with_name(f".{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(source.folder, fresh, copy_function=_link)
    (fresh / "interactions" / "train.parquet").unlink()
    pq.write_table(table.take(pa.array(rows)), fresh / "interactions" / "train.parquet")
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    return Catalog.open(target)


def _other_than(ids: Collection[str], among: Sequence[str], random: np.random.Generator) -> str:
    while (drawn := among[int(random.integers(len(among)))]) in ids:
        pass
    return drawn


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)
