"""`moon2 train`: from a recipe and a catalog to a saved encoder, top to bottom.

A run is a folder (`moon2.run_folder`). Killed at any moment, it goes on from its newest checkpoint to the same losses:
the stream of triplets and the learning rate are functions of the step alone.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moon2.catalog.store import Catalog
from moon2.errors import UserError
from moon2.files import exclusive_lock
from moon2.recipe import Recipe, require
from moon2.run_folder import ADAPTER, RunFolder
from moon2.train.plan import Plan
from moon2.train.prepare import PreparedRun, is_first_process, prepare_run

if TYPE_CHECKING:
    from torch import Tensor

    from moon2.model.moon_model import MoonModel
    from moon2.train.batches import TripletBatch
    from moon2.train.processes import Processes
    from moon2.train.step import TripletLoss
    from moon2.vectors.fusion import Fusion


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


def train(
    *, data: Path | None = None, out: Path | None = None, recipe: Recipe, resume: bool = False, plan: bool = False
) -> TrainingResult | Plan:
    """Train an encoder on a catalog.

    It learns from the catalog's search log, or from triplets mined in it. Settings come from the recipe; those
    typed here win over it. A run that was stopped goes on with --resume, to the same losses. RUN then holds
    model/ (the encoder), recipe.yaml, history.jsonl, tensorboard/ and checkpoints/; with LoRA adapter/ too. Several
    GPUs train together when torchrun or accelerate starts the command.

    --plan tells what a run takes: weights, tokens, arithmetic, and the memory of a GPU. It needs neither data nor
    weights nor a GPU; WORLD_SIZE is the number of GPUs.

    With --init, a trained encoder goes on learning, from a new log or catalog or by another recipe: its weights,
    experts and tokenizer are kept.

    examples:
      moon2 train --config recipes/tiny.yaml --data data/shop --out runs/shop --training.steps 300
      moon2 train --init runs/shop --config recipes/tiny.yaml --data data/spring --out runs/spring
      WORLD_SIZE=8 moon2 train --config recipes/qwen3-vl-8b.yaml --plan
      torchrun --nproc-per-node 8 --module moon2 train --config recipes/qwen3-vl-8b.yaml --data data/shop --out runs/8b

    Args:
        data: folder of the catalog; needed but for --plan.
        out: folder of the run; needed but for --plan.
        recipe: every setting.
        resume: go on from the last checkpoint in the run's folder, if there is one.
        plan: tell what the run takes, and do nothing else.

    Raises:
        UserError: `data` or `out` is missing; or a plan is asked for a backbone whose sizes are not known.
        RecipeError: `out` holds another run, or one by a different recipe; the recipe uses augmentations that the
            catalog lacks, or a teacher of another catalog; or it contradicts the encoder that it starts from.
        CatalogError, BackboneError, EncoderError, VectorFolderError: what is read cannot be used.
        FolderInUseError: another process is training in `out`.
        OutputError: nothing can be written at `out`.
        DivergenceError: a loss, a gradient or a weight is no longer a number.
    """
    if plan:
        from moon2.train.dry_step import plan_run

        devices = os.environ.get("WORLD_SIZE", "1")
        if not devices.isdecimal() or int(devices) < 1:
            raise UserError(f"WORLD_SIZE is {devices!r}; for --plan it is the number of GPUs, 1 or more")
        return plan_run(recipe, int(devices))
    if os.environ.get("WORLD_SIZE", "1") != "1" and "RANK" not in os.environ:
        raise UserError("WORLD_SIZE is set, and torchrun is not running; unset it, or start `moon2 train` by torchrun")
    if data is None or out is None:
        raise UserError("train needs --data and --out; only --plan goes without. See `moon2 train --help`")
    return run_training(recipe, Catalog.open(data), out, resume=resume)


def run_training(
    recipe: Recipe,
    catalog: Catalog,
    out: Path,
    *,
    resume: bool = False,
    network: type[MoonModel] | None = None,
    loss: TripletLoss | None = None,
) -> TrainingResult:
    """`train` on an opened catalog.

    Args:
        recipe, catalog, out, resume: see `train`.
        network: class of the network, `MoonModel` when not given; a peer to compare with gives its own.
        loss: of the views of a batch, `triplet_loss` when not given; likewise.
    """
    started = time.monotonic()
    run = RunFolder(out)
    if is_first_process():
        run.require_free(resume=resume)  # before torch is loaded
    from moon2.train.divergence import DivergenceError
    from moon2.train.processes import Processes

    with Processes.start() as processes, training_lock(out):
        prepared = prepare_run(recipe, catalog, run, resume=resume, network=network)
        try:
            _optimize(prepared, run, loss, processes)
        except DivergenceError as error:
            if processes.is_first:
                run.forget_after(error.last_good)
            raise
        return finish_run(prepared, run, time.monotonic() - started, processes)


def _optimize(prepared: PreparedRun, run: RunFolder, loss: TripletLoss | None, processes: Processes) -> None:
    """Trains the encoder in place, from the newest checkpoint on if there is one."""
    import torch

    from moon2.train.divergence import require_finite_weights
    from moon2.train.gradcache import add_gradients, chunk_layout
    from moon2.train.hard_negatives import mine_hard_negatives, read_hard_negatives, spans, write_hard_negatives
    from moon2.train.loading import make_loader
    from moon2.train.optimizer import learning_rate_at, make_optimizer
    from moon2.train.processes import save_state
    from moon2.train.run_log import RunLog
    from moon2.train.step import triplet_loss
    from moon2.train.stream import TripletBatches
    from moon2.train.validation import validate

    recipe, settings, encoder, stream = prepared.recipe, prepared.recipe.training, prepared.encoder, prepared.stream

    # 1. Device, precision, and who holds which weights.
    size, count = settings.batch_size, processes.count
    require(size >= count, "training.batch_size", size, f"{count} or more, a triplet for each process")
    model = encoder.model.to(processes.device)
    model.checkpoint_activations(settings.activation_checkpointing)
    is_bf16 = settings.bf16 or recipe.backbone.dtype == "bfloat16"
    if settings.compile and processes.device.type == "cuda" and is_bf16:
        model.compile_blocks()
    is_sharded = settings.shard_weights and processes.count > 1
    if is_sharded:
        processes.shard(model, bf16=settings.bf16)
    precision = torch.autocast(processes.device.type, torch.bfloat16, enabled=settings.bf16 and not is_sharded)
    optimizer = make_optimizer(model, settings)
    trained = [weights for weights in model.parameters() if weights.requires_grad]

    # 2. Where an earlier start was killed.
    checkpoint = run.newest_checkpoint()
    done = 0
    if checkpoint is not None:
        processes.load(model, optimizer, checkpoint[0])
        done = checkpoint[1]
        stream.hard_negatives = read_hard_negatives(checkpoint[0])
    elif processes.is_first:
        run.forget_training()

    # 3. The batches that are left; between two loaders hard negatives are mined.
    layout = chunk_layout(model, encoder.processor, recipe, processes.count)
    share = TripletBatches(stream, settings.batch_size, layout, processes.rank, processes.count)

    def batches() -> Iterator[TripletBatch]:
        for first, end, mining in spans(done, settings):
            if mining:
                examples = range(first * settings.batch_size, end * settings.batch_size)
                wanted = {stream.triplet_number(index) for index in examples}
                with log.paused(), precision:
                    mined = mine_hard_negatives(
                        encoder, prepared.catalog, stream.triplets, wanted, settings.hard_negatives
                    )
                # Every process mines, since a sharded network computes only with all; they may round differently.
                stream.hard_negatives = processes.from_first(mined)
            log.loader = make_loader(share, processes.device, first, end)
            yield from log.loader

    def save(state: dict[str, Any], folder: Path) -> None:
        save_state(state, folder)
        write_hard_negatives(folder, stream.hard_negatives)

    # 4. The steps.
    model.train()
    with RunLog(run, settings, done, writes=processes.is_first) as log:
        for number, batch in enumerate(batches(), start=done):
            rate = learning_rate_at(number, settings)
            for group in optimizer.param_groups:
                group["lr"] = rate
            result = add_gradients(model, batch, loss or triplet_loss, recipe, number, processes, precision)
            processes.average_gradients(trained)
            norm = processes.clip_gradients(trained, settings.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
            parts = {"loss": result.loss, "grad_norm": norm, "learning_rate": torch.tensor(rate), **result.log}
            parts["tokens"] = torch.tensor(float(batch.tokens))
            log.add_step(number + 1, parts, batch.size)

            is_last = number + 1 == settings.steps
            scores_now = prepared.held_out is not None and (is_last or not (number + 1) % settings.evaluate_every)
            saves_now = is_last or not (number + 1) % settings.save_every
            if scores_now or saves_now:
                log.require_finite(number + 1)
                require_finite_weights(model, number + 1, processes)
            if prepared.held_out is not None and scores_now:
                with log.paused(), precision:
                    scores, fusions = validate(encoder, prepared.catalog, prepared.held_out)
                log.write(number + 1, {f"eval/{name}": value for name, value in scores.items()})
                best = run.best_weights() if processes.is_first else None
                # The first decides for all: where sums round differently, another might not take part in what follows.
                if processes.from_first(best is None or scores["score"] > best[1]):
                    weights = processes.whole_weights(model)
                    if processes.is_first:
                        run.save_best(number + 1, scores["score"], partial(_save_model, prepared, weights, fusions))
            if saves_now:
                state = processes.training_state(model, optimizer)
                if processes.is_first:
                    run.save_checkpoint(number + 1, partial(save, state))
    model.eval()


def _save_model(
    prepared: PreparedRun,
    weights: dict[str, Tensor] | None,
    fusions: Mapping[str, Mapping[str, Fusion]],
    folder: Path,
) -> None:
    """The encoder, how hybrid search weighs it, and with LoRA its adapter in the same folder."""
    from moon2.model.adapter_folder import save_adapter
    from moon2.vectors.fit_fusions import FUSIONS
    from moon2.vectors.fusion import write_fusions

    prepared.encoder.save_pretrained(folder, weights)
    write_fusions(folder / FUSIONS, fusions)
    if prepared.recipe.lora.rank:
        save_adapter(prepared.encoder.model, folder / ADAPTER, weights)


def finish_run(
    prepared: PreparedRun, run: RunFolder, seconds: float, processes: Processes | None = None
) -> TrainingResult:
    """Saves the best weights (the last ones where none were chosen) as the run's model."""
    from moon2.model.adapter_folder import save_adapter
    from moon2.model.encoder import Encoder
    from moon2.model.encoder_folder import network_of
    from moon2.train.model_card import model_card
    from moon2.vectors.fit_fusions import FUSIONS

    encoder, settings = prepared.encoder, prepared.recipe.training
    weights = processes.whole_weights(encoder.model) if processes else None
    if processes is None or processes.is_first:
        best, is_lora = run.best_weights(), prepared.recipe.lora.rank > 0
        if is_lora and best is None:
            save_adapter(encoder.model, run.adapter, weights)
        if best is not None:
            if is_lora:
                shutil.copytree(best[0] / ADAPTER, run.adapter, dirs_exist_ok=True)
            encoder = Encoder.from_pretrained(best[0], device="cpu", network=network_of(encoder.model))
            weights = None
        encoder.card = model_card(prepared.recipe, prepared.catalog, len(prepared.stream.triplets), encoder.dimensions)
        encoder.save_pretrained(run.model, weights)
        if best is not None and (best[0] / FUSIONS).is_file():  # weights chosen by an older moon2 have none
            shutil.copyfile(best[0] / FUSIONS, run.model / FUSIONS)
    parameters = sum(weights.numel() for weights in encoder.model.parameters())
    return TrainingResult(run.path, prepared.catalog.folder, settings.steps, seconds, parameters)


def training_lock(out: Path) -> AbstractContextManager[None]:
    """One training a folder; of several processes that train together only the first writes, and locks."""
    return exclusive_lock(out, "`moon2 train`") if is_first_process() else nullcontext()
