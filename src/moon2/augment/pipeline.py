"""`moon2 augment`: a catalog in, a co-augmented one out, the same code on a laptop and on a cluster.

Finished shards lie in a working folder beside the target until all are there; then the new catalog is written from them
in order and takes its place. Killed at any moment, the same command goes on with the shards that are missing.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from moon2.augment.errors import AugmentationError
from moon2.augment.prompts import load_prompts
from moon2.augment.settings import CoAugmentationSettings
from moon2.catalog.benchmark.card import DECLARATION, card_text, keep_declaration
from moon2.catalog.store import Catalog, CatalogError, CatalogWriter, require_target
from moon2.files import exclusive_lock, write_text_atomic
from moon2.jobs.ray_pools import Needs, Stage, require_workers, run_stages
from moon2.jobs.shards import JobFolder, Shard, shards_of
from moon2.progress import progress_bar

SPLIT = "train"
"""The paper augments what is learned from, and nothing at test time."""
_NEEDS: dict[str, Needs] = {
    "rules": "cpu",
    "opencv": "cpu",
    "openai": "server",
    "transformers": "gpu",
    "diffusers": "gpu",
}


@dataclass
class AugmentationResult:
    """A finished augmentation.

    Attributes:
        folder: the new catalog.
        products: how many were worked on.
        counts: titles, images, tokens_in, tokens_out.
        rejected: reason → how many augmentations are missing for it.
        cost: by the prices of the settings.
        threshold: of the consistency filter, None without one.
        resumed: products that an earlier, interrupted call had done already.
        seconds: wall time of this call.
    """

    folder: Path
    products: int
    counts: dict[str, int]
    rejected: dict[str, int]
    cost: float
    threshold: float | None
    resumed: int
    seconds: float

    def __str__(self) -> str:
        done = max(self.products - self.resumed, 0)
        lines = [
            f"{self.folder}: {self.products:,} products, {self.counts.get('titles', 0):,} enriched titles, "
            f"{self.counts.get('images', 0):,} expanded images; {self.seconds:.0f} s, "
            f"{done / max(self.seconds, 1e-9):.1f} products/s"
        ]
        if self.rejected:
            reasons = ", ".join(f"{reason} {number:,}" for reason, number in sorted(self.rejected.items()))
            lines.append(f"not added, with reasons in {self.folder / 'rejected_augmentations.parquet'}: {reasons}")
        if self.threshold is not None:
            lines.append(f"consistency threshold {self.threshold:.3f}")
        if self.counts.get("tokens_in"):
            tokens = f"{self.counts['tokens_in']:,} tokens read, {self.counts['tokens_out']:,} written"
            lines.append(tokens + (f", cost {self.cost:.2f}" if self.cost else ""))
        return "\n".join(lines)


def augment(
    data: Path,
    *,
    out: Path,
    settings: CoAugmentationSettings,
    address: str | None = None,
    workers: int | None = None,
    overwrite: bool = False,
) -> AugmentationResult:
    """Add enriched titles and expanded images to a catalog, for training.

    Every product of the training split gets a richer title, a main image of the
    product alone, and variants of it before other backgrounds, from other viewpoints,
    in other light. Grounding takes out of a title what is not in the product's own
    data. With --consistency.checkpoint, augmentations whose image and title do not
    belong together are dropped. Whatever is rejected is listed with its reason in
    OUT/rejected_augmentations.parquet. The test split and the log stay as they are.

    Without further settings it needs no model and no network. Stopped or killed, the
    same command goes on. On a cluster, moon2 must be installed on every node, and
    DATA and OUT must be on storage that every node sees.

    examples:
      moon2 augment data/shop --out data/shop+
      moon2 augment data/shop --out data/shop+ --consistency.checkpoint runs/shop
      moon2 augment data/shop --out data/shop+ --text.provider openai \\
        --text.base_url http://localhost:8000/v1 --text.model Qwen/Qwen3-VL-8B-Instruct --text.concurrency 64
      moon2 augment data/shop --out data/shop+ --address auto --images.provider diffusers \\
        --images.model Qwen/Qwen-Image-Edit-2511
      moon2 augment prompts my-prompts

    Args:
        data: folder of the catalog.
        out: folder of the new catalog.
        settings: the providers, and which of their augmentations to keep.
        address: Ray cluster to work on, such as auto or ray://host:10001; this machine alone when not given. Where the
            cluster asks for a token, set RAY_AUTH_MODE=token.
        workers: workers of each stage that computes on CPUs; one a CPU when not given.
        overwrite: replace the catalog at OUT.

    Raises:
        AugmentationError: a provider cannot be used, or there is nothing to augment.
        JobError: an interrupted run at `out` had other settings or input, `workers` is below 1, or there is no Ray.
        FolderInUseError: another run is writing `out`.
        OutputError: nothing can be written at `out`.
        CatalogError: there is no such catalog, or `out` is in use, or is the catalog itself.
    """
    started = time.monotonic()
    require_workers(workers)  # before a judge is loaded
    catalog, target = Catalog.open(data), out.absolute()
    shards = shards_of(catalog, SPLIT)
    if not shards:
        raise AugmentationError(f"{data}: has no products of split {SPLIT!r}, so there is nothing to learn from")
    job = JobFolder(target.with_name(f".{target.name}.augmenting"))
    with exclusive_lock(target, "`moon2 augment`"):
        require_target(out, overwrite=overwrite or _was_killed_at_the_end(target, job, catalog), sources=[data])
        job.begin(fingerprint(catalog, shards, settings))
        threshold = _threshold(job, catalog, settings)
        finished = job.finished()
        todo = [shard for shard in shards if shard.number not in finished]
        resumed = sum(shard.rows for shard in shards if shard.number in finished)
        total = sum(shard.rows for shard in shards)
        with progress_bar(total=total, initial=resumed, desc="augment", unit="products") as bar:
            if todo:
                stages = stages_for(settings, threshold)
                for shard in run_stages(todo, stages, job, address=address, workers=workers):
                    bar.update(shard.rows)
        counts, rejected = _assemble(catalog, target, job, shards, settings)
        job.remove()
    return AugmentationResult(
        target,
        products=sum(shard.rows for shard in shards),
        counts=dict(counts),
        rejected=dict(rejected),
        cost=settings.text.cost(counts["tokens_in"], counts["tokens_out"]),
        threshold=threshold,
        resumed=resumed,
        seconds=time.monotonic() - started,
    )


def stages_for(settings: CoAugmentationSettings, threshold: float | None) -> list[Stage]:
    """The stages of a run, for `run_stages`; `threshold` is that of the consistency filter."""
    from moon2.augment import stages

    chosen = [Stage(lambda: stages.begin)]
    if settings.text.provider != "none":
        chosen.append(Stage(partial(stages.EnrichStage, settings), _NEEDS[settings.text.provider]))
    if settings.images.provider != "none":
        chosen.append(Stage(partial(stages.ExpandStage, settings), _NEEDS[settings.images.provider]))
    if threshold is not None:
        assert settings.consistency.checkpoint is not None
        chosen.append(Stage(partial(stages.JudgeStage, settings.consistency.checkpoint, threshold), "gpu"))
    return [*chosen, Stage(lambda: stages.finish, "any")]


def fingerprint(catalog: Catalog, shards: list[Shard], settings: CoAugmentationSettings) -> dict[str, str]:
    """What the augmentations depend on: the products, and the settings but those of a server's address and cost."""
    products = hashlib.sha256()
    for shard in shards:
        products.update(f"{Path(shard.path).name} {shard.group} {shard.rows} {shard.size}\n".encode())
    for row in catalog.rows(SPLIT, ["id", "title", "description", "category", "attributes"]):
        products.update(repr(row).encode())
    values = asdict(settings)
    for section in ("text", "images"):
        for name in ("concurrency", "timeout", "retries", "base_url", "price_in", "price_out"):
            values[section].pop(name, None)
    prompts = load_prompts(settings.prompts)
    values["prompts"] = [prompts.enrich.text, prompts.main_image.text, *(one.instruction for one in prompts.variants)]
    return {"settings": json.dumps(values), "products": products.hexdigest()}


def _was_killed_at_the_end(target: Path, job: JobFolder, catalog: Catalog) -> bool:
    """Whether `target` is the result of the job, which was killed before it could remove its working folder."""
    if not job.is_begun() or not target.is_dir():
        return False
    try:
        return Catalog.open(target).ids(SPLIT) == catalog.ids(SPLIT)
    except CatalogError:
        return False


def _threshold(job: JobFolder, catalog: Catalog, settings: CoAugmentationSettings) -> float | None:
    """The filter's threshold: given, calibrated before an interruption, or calibrated now."""
    judge = settings.consistency
    if judge.checkpoint is None or judge.threshold is not None:
        return judge.threshold
    path = job.path / "threshold.json"
    if not path.exists():
        from moon2.augment.consistency import calibrated_threshold
        from moon2.encoders.load import load_encoder

        threshold = calibrated_threshold(load_encoder(judge.checkpoint), catalog, SPLIT, settings.seed)
        write_text_atomic(path, json.dumps(threshold))
    return float(json.loads(path.read_text()))


def _assemble(
    catalog: Catalog, target: Path, job: JobFolder, shards: list[Shard], settings: CoAugmentationSettings
) -> tuple[Counter[str], Counter[str]]:
    """Writes the new catalog from the finished shards, in order; gives the counts, and the rejected by reason."""
    from moon2.augment.stages import REJECTED_AUGMENTATIONS

    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    providers = f"text by {settings.text.provider}, images by {settings.images.provider}, seed {settings.seed}"
    # A benchmark stays one: the method on its card, and what was left out of it, hold for its test split as before.
    is_benchmark = (catalog.folder / DECLARATION).is_file()
    card = f"\n\n{card_text(catalog.folder)}" if is_benchmark else ""
    with CatalogWriter(
        target,
        title=f"{catalog.folder.name}, co-augmented",
        description=f"Made by `moon2 augment` from the catalog `{catalog.folder.name}`: {providers}. Enriched titles "
        f"and expanded images are for training only.{card}",
        licence=catalog.licence(),
        overwrite=True,  # refused at the start where it is not wanted
    ) as writer:
        for shard in shards:
            for row in job.read(shard.number, "products").to_pylist():
                writer.add_row(row, SPLIT)
            for row in job.read(shard.number, "rejected").to_pylist():
                writer.add_beside("rejected_augmentations", row, REJECTED_AUGMENTATIONS)
                reasons[row["reason"]] += 1
            for row in job.read(shard.number, "counts").to_pylist():
                counts[row["name"]] += row["count"]
        for product in catalog.products("test"):
            writer.add_product(product, "test")
        for split in ("train", "test"):
            for interaction in catalog.interactions(split):
                writer.add_interaction(interaction, split)
        for reject in catalog.rejects():
            writer.add_reject(reject)
    keep_declaration(catalog.folder, target)
    return counts, reasons
