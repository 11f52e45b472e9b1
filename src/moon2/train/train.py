"""`moon2 train`: from a recipe and a catalog to a saved encoder, top to bottom.

A run is a folder (`moon2.run_folder`). Killed at any moment, it goes on from its newest checkpoint to the same losses:
the stream of triplets and the learning rate are functions of the step alone.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from moon2.catalog.store import Catalog
from moon2.catalog.triplets import Triplet, training_triplets
from moon2.files import exclusive_lock
from moon2.recipe import Recipe
from moon2.run_folder import RunFolder

if TYPE_CHECKING:
    from moon2.model.encoder import Encoder
    from moon2.model.moon_model import MoonModel
    from moon2.train.batches import TripletBatch, TripletStream
    from moon2.train.step import StepResult
    from moon2.train.validation import HeldOut

    Step = Callable[[MoonModel, TripletBatch, Recipe, int], StepResult]


@dataclass
class TrainingResult:
    """A finished run.

    Attributes:
        folder: the run's folder.
        data: of the catalog it learned from.
        steps: optimizer steps done in all.
        seconds: wall time of this call.
        parameters: of the encoder.
    """

    folder: Path
    data: Path
    steps: int
    seconds: float
    parameters: int

    def __str__(self) -> str:
        return (
            f"{self.folder}: trained {self.steps:,} steps in {self.seconds:.0f} s; the encoder is in "
            f"{self.folder / 'model'}; score it with `moon2 evaluate {self.folder} --data {self.data}`"
        )


def train(*, data: Path, out: Path, recipe: Recipe, resume: bool = False) -> TrainingResult:
    """Train an encoder on a catalog.

    It learns from the catalog's search log, or from triplets mined in it. Settings come from the recipe; those
    typed here win over it. A run that was stopped goes on with --resume, to the same losses. RUN then holds
    model/ (the encoder), recipe.yaml, history.jsonl, tensorboard/ and checkpoints/.

    example:
      moon2 train --config recipes/tiny.yaml --data data/shop --out runs/shop --training.steps 300

    Args:
        data: folder of the catalog.
        out: folder of the run.
        recipe: every setting.
        resume: go on from the last checkpoint in the run's folder, if there is one.

    Raises:
        RecipeError: `out` holds another run, or was trained by a different recipe; or the recipe uses augmentations and
            the catalog has none.
        CatalogError, BackboneError: the data or backbone cannot be used.
        FolderInUseError: another process is training in `out`.
    """
    return run_training(recipe, Catalog.open(data), out, resume=resume)


def run_training(
    recipe: Recipe,
    catalog: Catalog,
    out: Path,
    *,
    resume: bool = False,
    network: type[MoonModel] | None = None,
    step: Step | None = None,
) -> TrainingResult:
    """`train` on an opened catalog.

    Args:
        recipe, catalog, out, resume: see `train`.
        network: class of the network, `MoonModel` when not given; a peer to compare with gives its own.
        step: what computes the loss of a batch, `training_step` when not given; likewise.
    """
    started = time.monotonic()
    run = RunFolder(out)
    with training_lock(out):
        prepared = prepare_run(recipe, catalog, run, resume=resume, network=network)
        _optimize(prepared, run, step)
        return finish_run(prepared, run, time.monotonic() - started)


@dataclass
class PreparedRun:
    """What training works on.

    Attributes:
        recipe, catalog: of the run.
        encoder: as it is at step 0.
        stream: the examples of the whole run.
        held_out: queries to choose among checkpoints by; None: the last weights are kept.
    """

    recipe: Recipe
    catalog: Catalog
    encoder: Encoder
    stream: TripletStream
    held_out: HeldOut | None


def prepare_run(
    recipe: Recipe,
    catalog: Catalog,
    run: RunFolder,
    *,
    resume: bool = False,
    network: type[MoonModel] | None = None,
) -> PreparedRun:
    """Triplets, the run's folder, the untrained encoder, and the stream of examples.

    Raises:
        RecipeError, CatalogError, BackboneError: see `train`.
    """
    from moon2.image_cache import caching_opener
    from moon2.train.augmentations import augmentation_texts, require_augmentations
    from moon2.train.batches import TripletStream
    from moon2.train.validation import hold_out

    settings = recipe.training
    require_augmentations(catalog, recipe.augmentations)
    triplets = training_triplets(catalog, settings.seed)
    held_out = None
    if settings.evaluate_every:
        held_out = hold_out(triplets, catalog.ids("train"), settings.validation_queries, settings.seed)
        triplets = held_out.training
    texts = [*_tokenizer_texts(catalog, triplets)]
    run.begin(recipe, _fingerprint(texts, triplets, augmentation_texts(catalog, recipe.augmentations)), resume=resume)
    encoder = _new_encoder(recipe, texts, network)
    stream = TripletStream(
        triplets,
        catalog,
        encoder.processor,
        recipe.image_transforms,
        recipe.augmentations,
        length=settings.steps * settings.batch_size,
        seed=settings.seed,
        opener=caching_opener(settings.image_cache_gb),
    )
    return PreparedRun(recipe, catalog, encoder, stream, held_out if held_out and held_out.interactions else None)


def _optimize(prepared: PreparedRun, run: RunFolder, step: Step | None) -> None:
    """Trains the encoder in place, from the newest checkpoint on if there is one."""
    import torch
    from accelerate import Accelerator
    from torch.utils.data import DataLoader, Subset

    from moon2.train.batches import TripletCollator
    from moon2.train.optimizer import learning_rate_at, make_optimizer
    from moon2.train.run_log import RunLog
    from moon2.train.step import needed_views, training_step
    from moon2.train.validation import validate

    recipe, settings, encoder = prepared.recipe, prepared.recipe.training, prepared.encoder

    # 1. Device and precision. accelerate's own mixed precision would be fixed for the life of the process.
    has_accelerator = torch.accelerator.is_available()
    accelerator = Accelerator(cpu=not has_accelerator)
    model, optimizer = accelerator.prepare(encoder.model, make_optimizer(encoder.model, settings))
    precision = torch.autocast(accelerator.device.type, torch.bfloat16, enabled=settings.bf16)

    # 2. Where an earlier start was killed.
    checkpoint = run.newest_checkpoint()
    done = 0
    if checkpoint is None:
        run.forget_training()
    else:
        accelerator.load_state(str(checkpoint[0]))
        done = checkpoint[1]

    # 3. The examples that are left, in the order of the stream.
    loader = DataLoader(
        Subset(prepared.stream, range(done * settings.batch_size, len(prepared.stream))),
        batch_size=settings.batch_size,
        collate_fn=TripletCollator(
            encoder.processor, text=encoder.model.needs_text_pass(needed_views(recipe.alignment))
        ),
        num_workers=min(8, os.cpu_count() or 1) if has_accelerator else 0,
    )

    # 4. The steps.
    compute = step or training_step
    model.train()
    with RunLog(run, settings, done) as log:
        for number, batch in enumerate(loader, start=done):
            rate = learning_rate_at(number, settings)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with precision:
                result = compute(model, batch.to(accelerator.device), recipe, number)
            accelerator.backward(result.loss)
            norm = accelerator.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
            parts = {"loss": result.loss, "grad_norm": norm, "learning_rate": torch.tensor(rate), **result.log}
            log.add_step(number + 1, parts, batch.size)

            is_last = number + 1 == settings.steps
            if prepared.held_out is not None and (is_last or not (number + 1) % settings.evaluate_every):
                with log.paused():
                    with precision:
                        scores = validate(encoder, prepared.catalog, prepared.held_out)
                    log.write(number + 1, {f"eval/{name}": value for name, value in scores.items()})
                    best = run.best_weights()
                    if best is None or scores["score"] > best[1]:
                        run.save_best(number + 1, scores["score"], encoder.save_pretrained)
            if is_last or not (number + 1) % settings.save_every:
                run.save_checkpoint(number + 1, lambda folder: accelerator.save_state(str(folder)))
    model.eval()


def finish_run(prepared: PreparedRun, run: RunFolder, seconds: float) -> TrainingResult:
    """Saves the best weights (the last ones where none were chosen) as the run's model."""
    from moon2.model.encoder import Encoder
    from moon2.train.model_card import model_card

    encoder, settings = prepared.encoder, prepared.recipe.training
    best = run.best_weights()
    if best is not None:
        encoder = Encoder.from_pretrained(best[0], device="cpu", network=type(encoder.model))
    encoder.card = model_card(prepared.recipe, prepared.catalog, len(prepared.stream.triplets))
    encoder.save_pretrained(run.model)
    parameters = sum(weights.numel() for weights in encoder.model.parameters())
    return TrainingResult(run.path, prepared.catalog.folder, settings.steps, seconds, parameters)


def untrained_encoder(recipe: Recipe, catalog: Catalog) -> Encoder:
    """The encoder that training by this recipe begins with."""
    triplets = training_triplets(catalog, recipe.training.seed)
    return _new_encoder(recipe, _tokenizer_texts(catalog, triplets), None)


def training_lock(out: Path) -> AbstractContextManager[None]:
    """One training a folder; of several processes that train together only the first writes, and locks."""
    return exclusive_lock(out, "`moon2 train`") if os.environ.get("RANK", "0") == "0" else nullcontext()


def _new_encoder(recipe: Recipe, texts: Iterable[str], network: type[MoonModel] | None) -> Encoder:
    from moon2.model.encoder import Encoder
    from moon2.model.moon_model import MoonModel

    return Encoder.from_recipe(recipe, texts, network or MoonModel)


def _tokenizer_texts(catalog: Catalog, triplets: Iterable[Triplet]) -> Iterator[str]:
    """The titles and queries on which the tokenizer of the `tiny` backbone is trained."""
    yield from (row["title"] for row in catalog.rows("train", ["title"]) if row["title"])
    yield from (triplet.query.text for triplet in triplets if triplet.query.text)


def _fingerprint(texts: Iterable[str], triplets: Iterable[Triplet], augmentations: Iterable[str]) -> str:
    """A hash of what a run learns from: its words, its triplets, and the augmentations it uses."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\n")
    for triplet in triplets:
        digest.update(f"{triplet.query.id}\t{triplet.positive_id}\t{triplet.negative_ids}\n".encode())
    for text in augmentations:
        digest.update(text.encode() + b"\n")
    return digest.hexdigest()
