"""sentence-transformers' own trainer and cached ranking loss on moon2's network.

What differs from moon2 is the method: queries and products as they are, InfoNCE over the batch, no known positives left
out, no filter, no objectives.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
from transformers import PrinterCallback, ProgressCallback, TrainerCallback, TrainerControl, TrainerState

from moon2.catalog.store import Catalog
from moon2.encoders.sentence_module import MoonModule
from moon2.model.item_batch import ItemBatch
from moon2.recipe import Recipe, require
from moon2.run_folder import RunFolder
from moon2.train.optimizer import learning_rate_at, make_optimizer
from moon2.train.prepare import PreparedRun, prepare_run
from moon2.train.run_log import RunLog
from moon2.train.stream import TripletStream
from moon2.train.train import TrainingResult, finish_run, training_lock

# Items in a forward pass: what the cached loss holds at a time.
MINI_BATCH = 64


def train(*, data: Path, out: Path, recipe: Recipe, resume: bool = False) -> TrainingResult:
    """Train with sentence-transformers' trainer on a catalog; see `moon2 train`.

    Args:
        data: folder of the catalog.
        out: folder of the run.
        recipe: every setting; filter, objectives and balance are not used, `training.evaluate_every` and
            `training.hard_negatives` must be 0, `training.dimensions` and `training.teacher` left out.
        resume: go on from the last checkpoint in the run's folder, if there is one.
    """
    for name in ("evaluate_every", "hard_negatives"):
        value = getattr(recipe.training, name)
        require(value == 0, f"training.{name}", value, "0 for sentence-transformers' trainer")
    for name in ("dimensions", "teacher"):
        value = getattr(recipe.training, name)
        require(not value, f"training.{name}", value, "left out for this peer")
    started = time.monotonic()
    run = RunFolder(out)
    with training_lock(out):
        prepared = prepare_run(recipe, Catalog.open(data), run, resume=resume)
        _optimize(prepared, run)
        return finish_run(prepared, run, time.monotonic() - started)


def _optimize(prepared: PreparedRun, run: RunFolder) -> None:
    recipe, settings, encoder = prepared.recipe, prepared.recipe.training, prepared.encoder
    module = MoonModule(encoder)
    model = SentenceTransformer(modules=[module], device=str(encoder.device))
    optimizer = make_optimizer(encoder.model, settings)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_at(step, settings) / settings.learning_rate
    )
    # The library numbers its checkpoints itself, and writes trainer_state.json last.
    whole = [path.parent for path in run.checkpoints.glob("checkpoint-*/trainer_state.json")]
    newest = max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
    collator: Any = _Collator(prepared.stream, model)  # the library's own reads columns of text
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(run.checkpoints),
            max_steps=settings.steps,
            per_device_train_batch_size=settings.batch_size,
            max_grad_norm=settings.max_grad_norm,
            bf16=settings.bf16,
            # The trainer refuses mixed precision on a CPU that it was not told to use.
            use_cpu=not torch.accelerator.is_available(),
            save_strategy="steps",
            save_steps=settings.save_every,
            save_total_limit=2,
            logging_steps=1,
            logging_nan_inf_filter=False,  # or a run that diverged would log the last loss that was a number
            seed=settings.seed,
            report_to=[],
        ),
        # The library wants a dataset of columns; the numbers of our own examples are all it needs to hold.
        train_dataset=Dataset.from_dict({"index": list(range(len(prepared.stream)))}),
        data_collator=collator,
        loss=CachedMultipleNegativesRankingLoss(
            model, scale=1 / recipe.alignment.temperature_inter, mini_batch_size=MINI_BATCH
        ),
        optimizers=(optimizer, schedule),
        callbacks=[log := _Log(prepared, run)],
    )
    for callback in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(callback)
    module.network.register_forward_hook(log.count_tokens)
    trainer.train(resume_from_checkpoint=None if newest is None else str(newest))


class _Collator:
    """Numbers in the stream → the features of anchors, positives and negatives, as the library's losses want them."""

    # The library asks its collators for this.
    valid_label_columns: tuple[str, ...] = ()

    def __init__(self, stream: TripletStream, model: SentenceTransformer) -> None:
        self.stream = stream
        self.model = model

    def __call__(self, rows: list[dict[str, int]]) -> dict[str, object]:
        examples = [self.stream[row["index"]] for row in rows]
        read = [example for example in examples if not example.is_empty]
        columns = {
            "anchor": [example.query for example in read],
            "positive": [example.positive for example in read],
            "negative": [example.negative for example in read if example.negative is not None],
        }
        return {
            f"{column}_{name}": value
            for column, items in columns.items()
            if items
            for name, value in self.model.preprocess(items).items()
        }


class _Log(TrainerCallback):
    """Hands what the library logs at each step to moon2's own log."""

    def __init__(self, prepared: PreparedRun, run: RunFolder) -> None:
        self.settings = prepared.recipe.training
        self.run = run
        self.log: RunLog | None = None
        self.tokens = 0

    def count_tokens(self, _: object, arguments: tuple[ItemBatch], __: object) -> None:
        """A forward hook of the network. The cached loss runs it twice, first without gradient: that does not count."""
        if torch.is_grad_enabled():
            self.tokens += arguments[0].tokens

    def on_train_begin(self, args: object, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Opens the log where the checkpoint ends."""
        self.log = RunLog(self.run, self.settings, state.global_step)

    def on_log(
        self,
        args: object,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: object,
    ) -> None:
        """Adds a step's loss; the library's summary at the end has none."""
        if self.log is not None and logs and "loss" in logs:
            names = ("loss", "grad_norm", "learning_rate")
            parts = {name: torch.tensor(float(logs[name])) for name in names if name in logs}
            parts["tokens"] = torch.tensor(float(self.tokens))
            self.log.add_step(state.global_step, parts, self.settings.batch_size)
            self.tokens = 0

    def on_train_end(self, args: object, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Closes the log."""
        if self.log is not None:
            self.log.__exit__(None, None, None)
