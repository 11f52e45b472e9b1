"""A peer's training: sentence-transformers' own trainer and cached ranking loss on moon2's network.

It sees the same triplets with the same picture changes in the same folder layout, so that what differs is the method:
queries and products as they are, InfoNCE over the batch, no known positives left out, no filter, no objectives.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
from transformers import ProgressCallback

from moon2.encoders.sentence_transformers import MoonModule
from moon2.model.encoder import Encoder
from moon2.recipe import Recipe
from moon2.train.arguments import common_arguments
from moon2.train.batches import TripletExample, TripletStream
from moon2.train.history import HistoryFile
from moon2.train.optimizer import RecipeOptimizer
from moon2.train.progress import TrainingBar

# Items a pass: what the cached loss needs to hold at a time.
PASS_SIZE = 64


def run_sentence_trainer(
    recipe: Recipe, encoder: Encoder, folder: Path, stream: TripletStream, checkpoint: Path | None
) -> int:
    """Trains the encoder in place; gives the optimiser steps done.

    Args:
        recipe: steps, batch size, optimiser, temperature (ε of the losses between products), seed.
        encoder: its joint vectors are trained.
        folder: of the run; gets `checkpoints/` and `history.jsonl`.
        stream: the examples, of which step s gets a batch in the library's own random order.
        checkpoint: where to go on from.
    """
    settings = recipe.training
    arguments = SentenceTransformerTrainingArguments(
        **common_arguments(settings, folder),
        report_to=[],
    )
    module = MoonModule(encoder)
    model = SentenceTransformer(modules=[module], device=str(encoder.device))
    loss = CachedMultipleNegativesRankingLoss(
        model, scale=1 / recipe.alignment.temperature_inter, mini_batch_size=PASS_SIZE
    )
    trainer = _Trainer(
        recipe=recipe,
        model=model,
        args=arguments,
        # The library wants a dataset of columns; the places in our own stream are all it needs to hold.
        train_dataset=Dataset.from_dict({"place": list(range(len(stream)))}),
        data_collator=_Columns(stream, model),
        loss=loss,
        callbacks=[HistoryFile(folder / "history.jsonl"), TrainingBar()],
    )
    trainer.remove_callback(ProgressCallback)
    module.network.register_forward_hook(trainer.count_tokens)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    return int(trainer.state.global_step)


class _Columns:
    """Places in the stream → the features of anchors, positives and negatives, as the library's losses want them."""

    # The library asks its collators for this.
    valid_label_columns: tuple[str, ...] = ()

    def __init__(self, stream: TripletStream, model: SentenceTransformer) -> None:
        self.stream = stream
        self.model = model

    def __call__(self, rows: list[dict[str, int]]) -> dict[str, Any]:
        read: list[TripletExample] = [found for row in rows if (found := self.stream[row["place"]]) is not None]
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


class _Trainer(RecipeOptimizer, SentenceTransformerTrainer):
    """The library's trainer with the recipe's optimiser and a log of tokens and throughput."""

    def __init__(self, *, recipe: Recipe, **options: Any) -> None:
        self.recipe = recipe
        super().__init__(**options)
        self._clock, self._step, self._tokens = time.monotonic(), self.state.global_step, 0

    def count_tokens(self, _: Any, arguments: tuple[Any, ...], __: Any) -> None:
        """A forward hook of the network. The cached loss runs it twice, first without gradient: that does not count."""
        if torch.is_grad_enabled():
            items = arguments[0]
            self._tokens += sum(int(inputs.real.sum()) for inputs in (items.joint, items.text) if inputs is not None)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the tokens of a step and the triplets a second since the last line."""
        if "loss" in logs:
            steps, seconds = self.state.global_step - self._step, time.monotonic() - self._clock
            logs["triplets_per_second"] = steps * self.recipe.training.batch_size / max(seconds, 1e-9)
            logs["tokens"] = self._tokens / max(steps, 1)
            self._clock, self._step, self._tokens = time.monotonic(), self.state.global_step, 0
        super().log(logs, start_time)
