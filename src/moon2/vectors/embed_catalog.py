"""`moon2 embed`: a catalog in, a folder of vectors out, the same code on a laptop and on a cluster.

Finished shards lie in a working folder beside the target until all are there; then the new folder is written from them
in order and takes the place of the old one. Killed at any moment, the same command goes on with the shards that are
missing. What the old folder holds of unchanged rows is taken from it.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pyarrow as pa

from moon2.catalog.fingerprint import catalog_fingerprint
from moon2.catalog.schema import SPLITS, Reject
from moon2.catalog.store import Catalog
from moon2.files import exclusive_lock
from moon2.jobs.ray_pools import Stage, require_workers, run_stages
from moon2.jobs.shards import JobFolder, Shard, Table, shards_of
from moon2.progress import progress_bar
from moon2.vectors.quantize import Storage
from moon2.vectors.vector_folder import REJECTS_FILE, TABLES, VectorFolder, VectorFolderError, VectorInfo, What
from moon2.vectors.vector_writer import VectorWriter, check_target, put_in_place
from moon2.views import VIEWS, View

if TYPE_CHECKING:
    from moon2.encoders.protocol import VectorEncoder
    from moon2.vectors.row_embedder import EmbeddingJob

logger = logging.getLogger(__name__)
SHARDS_AT_ONCE = 1_000
_NONE = np.zeros(0, np.int64)
_OTHERS: dict[str, tuple[What, ...]] = {"products": ("queries",), "queries": ("products", "images"), "all": ()}
"""The tables that a value of --what does not name."""


@dataclass
class EmbeddingResult:
    """A finished folder of vectors.

    Attributes:
        folder: where it is.
        counts: table → rows.
        new: rows that were embedded; kept: rows whose vectors were there already.
        gone: rows of the folder that was there before, of what was asked for, which the catalog has no more.
        rejected: reason → how many.
        seconds: wall time of this call.
        work_seconds: of it, from the first row to the written folder; the encoder is loaded before.
    """

    folder: Path
    counts: dict[str, int]
    new: int
    kept: int
    gone: int
    rejected: dict[str, int]
    seconds: float
    work_seconds: float

    def __str__(self) -> str:
        rows = ", ".join(f"{number:,} {what}" for what, number in self.counts.items())
        speed = f"{self.new / max(self.work_seconds, 1e-9):.0f} a second"
        lines = [f"{self.folder}: {rows}; {self.new:,} embedded in {self.seconds:.0f} s (once loaded, {speed})"]
        if self.kept or self.gone:
            lines.append(f"{self.kept:,} unchanged and kept, {self.gone:,} no longer in the catalog and removed")
        if self.rejected:
            reasons = ", ".join(f"{reason} {number:,}" for reason, number in sorted(self.rejected.items()))
            lines.append(f"not embedded as they are, see {self.folder / 'rejects.parquet'}: {reasons}")
        return "\n".join(lines)


def embed(
    model: str,
    *,
    data: Path,
    out: Path,
    what: Literal["products", "queries", "all"] = "all",
    views: tuple[View, ...] = VIEWS,
    storage: Storage = "float32",
    dimension: int | None = None,
    untrained_dimension: bool = False,
    per_image: bool = False,
    prompt: str = "",
    fields: tuple[str, ...] = (),
    trust_remote_code: bool = False,
    workers: int | None = None,
    address: str | None = None,
) -> EmbeddingResult:
    """Embed a catalog: the vectors of its products and queries, as Parquet.

    Every product gets a vector of its text (t), of its images (i) and of all it has
    (mm); every query of the log likewise. MODEL is what `moon2 train` wrote, or any
    encoder of text and images: CLIP, SigLIP, a sentence-transformers model.
    `datasets`, DuckDB and LanceDB read OUT too; `moon2 index` makes it searchable.

    Given again, the command embeds only what is new or has changed, and removes what
    the catalog has no more; a model that was trained again embeds all. Killed at any
    moment, it goes on where it was. A row that cannot be embedded is in
    OUT/rejects.parquet with the reason, and the rest goes on.

    examples:
      moon2 embed runs/shop --data data/shop --out vectors/shop
      moon2 embed runs/shop --data data/shop --out vectors/small --what products \\
        --views mm --storage int8 --dimension 64
      moon2 embed openai/clip-vit-base-patch32 --data data/shop --out vectors/clip
      moon2 embed runs/shop --data /mnt/shop --out /mnt/vectors --address auto

    Args:
        model: folder of a run or an encoder, or a hub id.
        data: folder of the catalog.
        out: folder of the vectors; vectors that are there are brought up to date.
        what: embed the products, the queries of the search log, or both; what OUT has of the other stays as it is.
        views: what of a row to embed: t its text, i its images, mm all it has.
        storage: how a number is stored. float32 is exact, float16 takes half, int8 a quarter, binary a 32nd.
        dimension: cut vectors to this length, one that the model was trained for (training.dimensions).
        untrained_dimension: cut to a length that the model was not trained for.
        per_image: give each image a vector of its own too, in OUT/images.
        prompt: text before every query, for an encoder that is not moon2's own.
        fields: what of a product is read as its text, for an encoder that is not moon2's own; its title if not given.
        trust_remote_code: let a sentence-transformers model run Python that comes with it.
        workers: processes of Ray on CPUs; without it and --address one process uses all cores.
        address: Ray cluster to work on, such as auto or ray://host:10001. DATA and OUT must be where every node sees
            them.

    Raises:
        VectorFolderError: OUT holds something else, or a table that `what` does not name and that was made otherwise;
            or the model has no vectors of that length.
        EncoderError: the model cannot be loaded.
        CatalogError: there is no such catalog.
        FolderInUseError: another run is writing OUT.
        OutputError: nothing can be written at OUT.
        JobError: there is no Ray at the address, or `workers` is below 1.
    """
    started = time.monotonic()
    require_workers(workers)
    catalog, target = Catalog.open(data), out.absolute()
    check_target(target)
    if not views or len(set(views)) != len(views):
        raise VectorFolderError(f"--views is {' '.join(views) or 'empty'}; give one or more of t, i and mm")
    shards = _shards_of(catalog, what)
    with exclusive_lock(target, "`moon2 embed`"):
        from moon2.encoders.identity import encoder_identity
        from moon2.encoders.load import load_encoder
        from moon2.vectors.row_embedder import EmbeddingJob

        encoder = load_encoder(model, prompt=prompt, fields=fields, trust_remote_code=trust_remote_code)
        info = VectorInfo(
            _length(model, encoder, dimension, untrained_dimension),
            storage,
            tuple(view for view in VIEWS if view in views),
            model=str(Path(model).absolute()) if Path(model).is_dir() else model,
            identity=encoder_identity(model),
            data=str(catalog.folder.absolute()),
            fingerprint=catalog_fingerprint(catalog),
            prompt=prompt,
            inputs=_inputs(encoder),
        )
        on_ray = address is not None or workers is not None
        job = EmbeddingJob(info, fields, trust_remote_code, per_image, workers=_workers(workers) if on_ray else None)
        folder = JobFolder(target.with_name(f".{target.name}.embedding"))
        before = _open_if_there(target)
        carried = _carried_over(before, info, what)
        job = replace(job, known=_begin(folder, job, what, before))
        finished, loaded = folder.finished(), time.monotonic()
        todo = [shard for _, shard in shards if shard.number not in finished]
        total = sum(shard.rows for _, shard in shards)
        with progress_bar(
            total=total, initial=total - sum(shard.rows for shard in todo), desc="embed", unit="rows"
        ) as bar:
            work = _on_ray(todo, job, folder, address, workers) if on_ray else _here(todo, job, encoder, folder)
            for shard in work if todo else ():
                bar.update(shard.rows)
        # Assembling puts the new folder in its place.
        old_ids = {} if before is None else _ids(before, _named(what))
        counts, ids = _assemble(target, job, shards, folder, carried)
        folder.remove()
        _remove_salvaged(folder)
        ended = time.monotonic()
    written = VectorFolder.open(target)
    if not any(number for by_view in written.info.vectors.values() for number in by_view.values()):
        logger.warning("%s: not one row could be embedded; see %s", out, target / REJECTS_FILE)
    return EmbeddingResult(
        target,
        counts={name: written.count(name) for name in TABLES if name in written.info.counts},
        new=counts["new"],
        kept=counts["kept"],
        gone=_gone(old_ids, ids),
        rejected=dict(Counter(reject.reason for reject in written.rejects())),
        seconds=ended - started,
        work_seconds=ended - loaded,
    )


def _named(what: str) -> tuple[Table, ...]:
    return ("products", "queries") if what == "all" else (cast(Table, what),)


def _shards_of(catalog: Catalog, what: str) -> list[tuple[str, Shard]]:
    """Split and shard; shards are numbered through."""
    found = [(split, shard) for table in _named(what) for split in SPLITS for shard in shards_of(catalog, split, table)]
    if not found:
        raise VectorFolderError(f"{catalog.folder}: has no {what}, so there is nothing to embed")
    return [(split, replace(shard, number=number)) for number, (split, shard) in enumerate(found)]


def _length(model: str, encoder: VectorEncoder, dimension: int | None, untrained: bool) -> int:
    """The length of the vectors to write.

    Raises:
        VectorFolderError: the encoder's are shorter, or were not trained at that length.
    """
    from moon2.model.encoder import Encoder

    own = isinstance(encoder, Encoder)
    whole = encoder.dimension if isinstance(encoder, Encoder) else encoder.encode(["a"]).shape[1]
    trained = encoder.dimensions if isinstance(encoder, Encoder) else [whole]
    if dimension is None:
        return whole
    if not 1 <= dimension <= whole:
        raise VectorFolderError(f"--dimension is {dimension}; vectors of {model} have 1 to {whole} numbers")
    if dimension not in trained and not untrained:
        lengths = (
            "is not known to have been trained at other lengths" if not own else f"was trained at {_listed(trained)}"
        )
        raise VectorFolderError(
            f"--dimension is {dimension}, and {model} {lengths}; give one of {_listed(trained)}, or add "
            f"--untrained_dimension"
        )
    return dimension


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _inputs(encoder: VectorEncoder) -> dict[str, Any]:
    from moon2.model.encoder import Encoder

    return asdict(encoder.processor.settings) if isinstance(encoder, Encoder) else {"fields": [*encoder.fields]}


def _workers(workers: int | None) -> int:
    return workers or len(os.sched_getaffinity(0))


def _open_if_there(target: Path) -> VectorFolder | None:
    put_in_place(target)
    try:
        return VectorFolder.open(target)
    except VectorFolderError:  # none, or of no use; it is replaced
        return None


def _carried_over(before: VectorFolder | None, info: VectorInfo, what: str) -> dict[What, VectorFolder]:
    """The tables of the folder that `what` does not name, which stay as they are.

    Raises:
        VectorFolderError: vectors.json would say of them what does not hold.
    """
    if before is None:
        return {}
    carried = {table: before for table in _OTHERS[what] if table in before.info.counts}
    different = " and ".join(before.info.differences(info))
    if different and any(before.count(table) for table in carried):
        raise VectorFolderError(
            f"{before.path}: its {next(iter(carried))} were made with another {different}; leave out --what to bring "
            f"them up to date too, or choose another folder"
        )
    return carried


def _begin(
    folder: JobFolder, job: EmbeddingJob, what: str, before: VectorFolder | None
) -> dict[What, tuple[Path, ...]]:
    """Begins the job or goes on with it; the files in which its rows may be found."""
    fingerprint = {"catalog": job.info.fingerprint, "settings": f"{job.made_by} {what}"}
    if folder.is_begun() and (different := folder.differences(fingerprint)):
        # What it finished is known by its content, and serves a changed catalog as well.
        logger.info("an interrupted run had another %s; what still holds of it is kept", " and ".join(different))
        _remove_salvaged(folder)
        folder.path.rename(_salvaged(folder))
    folder.begin(fingerprint)
    known: dict[What, tuple[Path, ...]] = {}
    for table in TABLES:
        files = JobFolder(_salvaged(folder)).files(table)
        known[table] = (*(before.files(table) if before is not None and _fits(before.info, job.info) else ()), *files)
    return known


def _fits(before: VectorInfo, now: VectorInfo) -> bool:
    """Whether rows of a folder have the columns of another."""
    return (before.dimension, before.storage, before.views) == (now.dimension, now.storage, now.views)


def _salvaged(folder: JobFolder) -> Path:
    return folder.path.with_name(f"{folder.path.name}-before")


def _remove_salvaged(folder: JobFolder) -> None:
    shutil.rmtree(_salvaged(folder), ignore_errors=True)


def _here(todo: Sequence[Shard], job: EmbeddingJob, encoder: VectorEncoder, folder: JobFolder) -> Iterator[Shard]:
    """Takes shards through threads of this process; gives each as it is finished."""
    import torch

    from moon2.vectors.row_embedder import RowEmbedder

    threads = torch.get_num_threads()
    embedder = RowEmbedder(encoder, job)

    def work(shard: Shard) -> Shard:
        folder.write(shard.number, embedder(shard.read()))
        return shard

    pool = ThreadPoolExecutor(embedder.items.threads)
    try:
        for start in range(0, len(todo), SHARDS_AT_ONCE):
            futures = [pool.submit(work, shard) for shard in todo[start : start + SHARDS_AT_ONCE]]
            for future in as_completed(futures):
                yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _on_ray(
    todo: Sequence[Shard], job: EmbeddingJob, folder: JobFolder, address: str | None, workers: int | None
) -> Iterator[Shard]:
    from moon2.vectors.row_embedder import load_embedder

    return run_stages(todo, [Stage(partial(load_embedder, job), "gpu")], folder, address=address, workers=workers)


def _assemble(
    target: Path,
    job: EmbeddingJob,
    shards: Sequence[tuple[str, Shard]],
    folder: JobFolder,
    carried: Mapping[What, VectorFolder],
) -> tuple[Counter[str], dict[str, np.ndarray]]:
    """Writes the folder from the finished shards, in order, and from the tables that are carried over.

    Returns:
        The counts, and hashes of the ids by table.
    """
    counts: Counter[str] = Counter()
    ids: dict[str, list[np.ndarray]] = {shard.table: [] for _, shard in shards}
    with VectorWriter(target, job.info) as writer:
        for what in TABLES:
            if what in carried:
                writer.carry_over(carried[what], what)
            rows_before = 0
            parts: list[What] = [what, "images"] if job.per_image and what == "products" else [what]
            for split, shard in (each for each in shards if each[1].table == what):
                for part in parts:
                    rows = folder.read(shard.number, part)
                    in_split = pa.array([split] * len(rows), pa.string())
                    writer.write(part, split, rows.set_column(1, "split", in_split).cast(job.info.schema(part)))
                    if part == what:
                        ids[what].append(_hashes(rows["id"]))
                rejects = [Reject(**row) for row in folder.read(shard.number, "rejects").to_pylist()]
                writer.reject(replace(reject, row=reject.row + rows_before) for reject in rejects)
                rows_before += shard.rows
                for row in folder.read(shard.number, "counts").to_pylist():
                    counts[row["name"]] += row["count"]
    return counts, {table: np.unique(np.concatenate(parts)) for table, parts in ids.items()}


def _gone(before: Mapping[str, np.ndarray], ids: Mapping[str, np.ndarray]) -> int:
    """How many ids of the old folder are not among the new ones."""
    return sum(len(np.setdiff1d(old, ids.get(table, _NONE))) for table, old in before.items())


def _ids(folder: VectorFolder, tables: Sequence[Table]) -> dict[str, np.ndarray]:
    """Hashes of the ids of a folder, by table."""
    return {
        table: np.unique(
            np.concatenate([_NONE, *(_hashes(batch.column("id")) for batch in folder.batches(table, ["id"]))])
        )
        for table in tables
    }


def _hashes(ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Of strings, [n] int64; good within one process."""
    return np.fromiter((hash(id) for id in ids.to_pylist()), np.int64, len(ids))
