"""A catalog in, a co-augmented one out, on Ray Data: the same code on a laptop and on a cluster.

A row of the dataset names a part of the catalog; the stages are pools of workers that parts stream through, so memory
holds the parts under way and nothing else. Finished parts lie in a working folder beside the target until all are
there; then the new catalog is written from them in order and takes its place. Killed at any moment, the same command
goes on with the parts that are missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm.auto import tqdm

from moon2.augment.prompts import load_prompts
from moon2.augment.settings import AugmentationError, CoAugmentationSettings
from moon2.catalog.benchmark.card import DECLARATION, card_text, keep_declaration
from moon2.catalog.store import Catalog, CatalogError, CatalogWriter
from moon2.files import exclusive_lock, write_text_atomic
from moon2.jobs import shards as parts_on_disk
from moon2.jobs.ray_pools import Row, StageError, connected, worker_pools
from moon2.jobs.shards import REJECTED_AUGMENTATIONS, Part

SPLIT = "train"
"""Only what is learned from is augmented: at test time nothing is (paper.md, Inputs)."""


@dataclass
class AugmentationResult:
    """A finished augmentation.

    Attributes:
        folder: the new catalog.
        products: how many were worked on.
        counts: titles, images, tokens_in, tokens_out.
        rejected: reason → how many augmentations were not made or not kept.
        seconds: wall time of this call.
        resumed: products that an earlier, interrupted call had done already.
        cost: by the prices of the settings.
        threshold: of the consistency filter, None without one.
    """

    folder: Path
    products: int
    counts: dict[str, float] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    resumed: int = 0
    cost: float = 0.0
    threshold: float | None = None

    def __str__(self) -> str:
        done = max(self.products - self.resumed, 0)
        lines = [
            f"{self.folder}: {self.products:,} products, {int(self.counts.get('titles', 0)):,} enriched titles, "
            f"{int(self.counts.get('images', 0)):,} expanded images; {self.seconds:.0f} s, "
            f"{done / max(self.seconds, 1e-9):.1f} products/s"
        ]
        if self.rejected:
            most = ", ".join(f"{reason} {number:,}" for reason, number in sorted(self.rejected.items()))
            lines.append(f"not added, with reasons in {self.folder / 'rejected_augmentations.parquet'}: {most}")
        if self.threshold is not None:
            lines.append(f"consistency threshold {self.threshold:.3f}")
        if self.counts.get("tokens_in"):
            tokens = f"{int(self.counts['tokens_in']):,} tokens read, {int(self.counts['tokens_out']):,} written"
            lines.append(tokens + (f", cost {self.cost:.2f}" if self.cost else ""))
        return "\n".join(lines)


def augment_catalog(
    data: str | Path,
    out: str | Path,
    settings: CoAugmentationSettings,
    *,
    address: str | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    show_progress: bool = False,
) -> AugmentationResult:
    """Adds enriched titles and expanded images to every product of the training split.

    Args:
        data: folder of a catalog.
        out: folder of the new one; the test split, the log and the rejects are taken over as they are.
        settings: what is made, by whom, and what is kept.
        address: of a Ray cluster, "auto" for the one this machine belongs to; a local one is started when not given.
            On a cluster `data`, `out` and the folder around it must be on storage that every node sees.
        workers: workers of each stage that computes; as many as there are cores, of the cluster if there is one, when
            not given.
        overwrite: replace a catalog at `out`.
        show_progress: a bar over products.

    Raises:
        AugmentationError: there is a catalog at `out`, an interrupted run there had other settings or input, or a
            provider cannot be used.
        FolderInUseError: another run is writing `out`.
        CatalogError: there is no such catalog.
    """
    started = time.monotonic()
    catalog = Catalog.open(data)
    target = Path(out).absolute()
    if target == catalog.folder.absolute():
        raise AugmentationError(f"{out}: is the catalog itself; give another folder")
    all_parts = parts_on_disk.parts_of(catalog, SPLIT)
    if not all_parts:
        raise AugmentationError(f"{data}: has no products of split {SPLIT!r}, so there is nothing to learn from")
    working = target.with_name(f".{target.name}.augmenting")
    with exclusive_lock(target, "`moon2 augment`"):
        if _holds_something(target) and not overwrite and not _killed_when_finished(target, working, catalog):
            raise AugmentationError(f"{out}: is there already; choose another folder, or ask to overwrite it")
        _prepare(working, catalog, all_parts, settings)
        threshold = _threshold(working, catalog, settings)
        folder = working / "parts"
        done = parts_on_disk.done_parts(folder)
        todo = [part for part in all_parts if part.number not in done]
        resumed = parts_on_disk.rows_of(all_parts) - parts_on_disk.rows_of(todo)
        total = parts_on_disk.rows_of(all_parts)
        with tqdm(total=total, initial=resumed, desc="augment", unit="product", disable=not show_progress) as bar:
            if todo:
                _run(todo, folder, settings, threshold, address, workers, bar)
        result = _assemble(catalog, target, folder, all_parts, settings)
        result.threshold, result.resumed = threshold, resumed
        result.seconds = time.monotonic() - started
        shutil.rmtree(working, ignore_errors=True)
    return result


def fingerprint(catalog: Catalog, parts: list[Part], settings: CoAugmentationSettings) -> dict[str, Any]:
    """What the augmentations depend on: the settings, the prompts and the products; other things may change."""
    prompts = load_prompts(settings.prompts)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{Path(part.path).name} {part.group} {part.rows} {part.size}\n".encode())
    for row in catalog.rows(SPLIT, ["id", "title", "description", "category", "attributes"]):
        digest.update(repr(row).encode())
    chosen = settings.to_dict()
    for stage in ("text", "images"):
        for name in ("concurrency", "timeout", "retries", "base_url", "price_in", "price_out"):
            chosen[stage].pop(name, None)
    chosen.pop("prompts")
    texts = [prompts.enrich.text, prompts.main_image.text, *(variant.instruction for variant in prompts.variants)]
    chosen["prompts"] = hashlib.sha256("\0".join(texts).encode()).hexdigest()
    return {"settings": chosen, "products": digest.hexdigest()}


def _holds_something(target: Path) -> bool:
    return target.is_file() or (target.is_dir() and any(target.iterdir()))


def _killed_when_finished(target: Path, working: Path, catalog: Catalog) -> bool:
    """Whether `target` is the result of the run in `working`, killed between the last two steps."""
    if not (working / "fingerprint.json").is_file() or not target.is_dir():
        return False
    try:
        return Catalog.open(target).ids(SPLIT) == catalog.ids(SPLIT)
    except CatalogError:
        return False


def _prepare(working: Path, catalog: Catalog, parts: list[Part], settings: CoAugmentationSettings) -> None:
    """Makes the working folder, or checks that what lies there was begun with the same input and settings."""
    mine = fingerprint(catalog, parts, settings)
    known = working / "fingerprint.json"
    if known.exists():
        theirs = json.loads(known.read_text())
        if theirs != mine:
            what = "settings" if theirs.get("products") == mine["products"] else "products"
            raise AugmentationError(
                f"{working}: holds an interrupted run with other {what}; go on with the same command as then, "
                f"or remove that folder to start anew"
            )
        return
    shutil.rmtree(working, ignore_errors=True)
    (working / "parts").mkdir(parents=True)
    write_text_atomic(known, json.dumps(mine, indent=1))


def _threshold(working: Path, catalog: Catalog, settings: CoAugmentationSettings) -> float | None:
    """The filter's threshold: given, found before the interruption, or found now on the catalog's own pairs."""
    judge = settings.consistency
    if judge.checkpoint is None:
        return None
    if judge.threshold is not None:
        return judge.threshold
    known = working / "threshold.json"
    if not known.exists():
        from moon2.augment.consistency import calibrate, load_scorer, pairs_of

        found = calibrate(load_scorer(judge.checkpoint), pairs_of(catalog, SPLIT, settings.seed), settings.seed)
        write_text_atomic(known, json.dumps({"threshold": found.threshold, "auroc": found.auroc}))
    return float(json.loads(known.read_text())["threshold"])


def _run(
    parts: list[Part],
    folder: Path,
    settings: CoAugmentationSettings,
    threshold: float | None,
    address: str | None,
    workers: int | None,
    bar: tqdm[Any],
) -> None:
    if not address:
        workers = workers or os.cpu_count() or 1
    with connected(address, workers or 1):
        for finished in _finished(worker_pools(parts, folder, settings, threshold, workers)):
            bar.update(finished["rows"])


def _finished(rows: Iterator[Row]) -> Iterator[Row]:
    try:
        yield from rows
    except StageError as error:
        raise AugmentationError(str(error)) from None


def _assemble(
    catalog: Catalog,
    target: Path,
    folder: Path,
    parts: list[Part],
    settings: CoAugmentationSettings,
) -> AugmentationResult:
    """Writes the new catalog from the finished parts, in order, and gives the sums."""
    counts: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    products = 0
    made_by = f"text by {settings.text.provider}, images by {settings.images.provider}, seed {settings.seed}"
    # A benchmark stays one: its method, and what was left out of it, hold for its test part as before.
    is_benchmark = (catalog.folder / DECLARATION).is_file()
    before = f"\n\n{card_text(catalog.folder)}" if is_benchmark else ""
    with CatalogWriter(
        target,
        title=f"{catalog.folder.name}, co-augmented",
        description=f"Made by `moon2 augment` from the catalog `{catalog.folder.name}`: {made_by}. Enriched titles "
        f"and expanded images are for training only.{before}",
        licence=catalog.licence(),
        overwrite=True,  # whether it may be was asked at the start
    ) as writer:
        for part in parts:
            for row in parts_on_disk.read_products(folder, part.number):
                writer.add_row(row, SPLIT)
                products += 1
            table = parts_on_disk.read_rejected(folder, part.number)
            rejected.update(table["reason"].to_pylist())
            _add_rejected(writer, table)
            counts.update(parts_on_disk.read_counts(folder, part.number))
        for product in catalog.products("test"):
            writer.add_product(product, "test")
        for split in ("train", "test"):
            for interaction in catalog.interactions(split):
                writer.add_interaction(interaction, split)
        for reject in catalog.rejects():
            writer.add_reject(reject)
    keep_declaration(catalog.folder, target)
    cost = settings.text.cost(counts["tokens_in"], counts["tokens_out"])
    return AugmentationResult(target, products, dict(counts), dict(rejected), cost=cost)


def _add_rejected(writer: CatalogWriter, table: pa.Table) -> None:
    for row in table.to_pylist():
        writer.add_beside("rejected_augmentations", row, REJECTED_AUGMENTATIONS)
