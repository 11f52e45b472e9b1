"""A catalog whose training log has a chosen share of false purchases, to measure how noise affects training.

Products and test queries are those of the source; files are linked, or copied where the disk has no links.
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
from moon2.files import replace_folder


def read_noise_labels(path: str | Path) -> frozenset[str]:
    """The ids of queries whose purchase is known to be false.

    Args:
        path: Parquet with columns `query_id` and `purchase_is_noise` (bool), as `moon2 shop` writes it.

    Raises:
        CatalogError: there is no such file, it is not Parquet, or it lacks a column.
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
    return frozenset(id for id, noise in zip(table["query_id"], table["purchase_is_noise"], strict=True) if noise)


def write_noisy_catalog(
    source: Catalog, folder: str | Path, share: float, *, known: Collection[str] = (), seed: int = 0
) -> Catalog:
    """Writes a catalog in which `share` of the training log's rows are false purchases.

    Rows known to be false count towards the share. If they are too many, some are left out (all of them for share 0).
    If they are too few, the purchases of randomly drawn rows become randomly drawn products of the training split.

    Args:
        source: a catalog with a training log.
        folder: of the new catalog; a folder there is replaced.
        share: 0 to below 1.
        known: query ids of rows known to be false.
        seed: the same seed draws the same rows and products.

    Raises:
        CatalogError: the source has no training log, a row leaves no other product to draw, or the share is out of
            range.
    """
    target = Path(folder)
    if not 0 <= share < 1:
        raise CatalogError(f"log noise is {share}; it must be 0 or more and below 1")
    table = pq.read_table(training_log(source)).cast(INTERACTIONS)
    random = np.random.default_rng((seed, round(1000 * share)))
    is_false = np.array([id in known for id in table["query_id"].to_pylist()], dtype=bool)
    true, false = np.flatnonzero(~is_false), random.permutation(np.flatnonzero(is_false))
    # Of T true rows and f false ones, the share f / (T + f) is false.
    false = false[: round(share * len(true) / (1 - share))]
    changed = random.permutation(true)[: max(0, round(share * (len(true) + len(false))) - len(false))]
    ids = source.ids("train")
    positives, negatives = (table[name].to_pylist() for name in ("positive_ids", "negative_ids"))
    for row in changed.tolist():
        shown = {*positives[row], *negatives[row]}
        if shown.issuperset(ids):
            id = table["query_id"][row].as_py()
            raise CatalogError(f"{source.folder}: query {id!r} was shown every product, so it has no false purchase")
        positives[row] = [_other_than(shown, ids, random)]
    column = INTERACTIONS.field("positive_ids")
    table = table.set_column(INTERACTIONS.get_field_index(column.name), column, pa.array(positives, column.type))
    rows = np.sort(np.concatenate([true, false]))
    fresh = target.with_name(f".{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(source.folder, fresh, copy_function=_link)
    (fresh / "interactions" / "train.parquet").unlink()
    pq.write_table(table.take(pa.array(rows)), fresh / "interactions" / "train.parquet")
    replace_folder(fresh, target)
    return Catalog.open(target)


def training_log(source: Catalog) -> Path:
    """The file of a catalog's training log.

    Raises:
        CatalogError: it has none.
    """
    log = source.folder / "interactions" / "train.parquet"
    if not log.is_file():
        raise CatalogError(f"{source.folder}: has no training log, so no noise can be added; import a log")
    return log


def _other_than(excluded: Collection[str], ids: Sequence[str], random: np.random.Generator) -> str:
    while (drawn := ids[int(random.integers(len(ids)))]) in excluded:
        pass
    return drawn


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)
