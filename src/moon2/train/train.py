"""The run: a recipe and a catalog in, a trained encoder out, on `transformers.Trainer`.

A run is a folder: `recipe.yaml`, `checkpoints/`, `history.jsonl` (what was logged), `tensorboard/`, `best/` (the best
evaluation so far) and, when it is done, `model/`. Killed at any moment, it goes on from the newest whole checkpoint
to the same losses.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Sampler, SequentialSampler
from transformers import ProgressCallback, TrainingArguments

from moon2.catalog.store import Catalog
from moon2.catalog.triplets import Triplet, training_triplets
from moon2.files import exclusive_lock, write_text_atomic
from moon2.model.encoder import Encoder
from moon2.recipe import AugmentationSettings, Recipe, RecipeError, load_recipe
from moon2.train.arguments import common_arguments
from moon2.train.augmentations import augmentation_texts, require_augmentations
from moon2.train.batches import TripletCollator, TripletStream
from moon2.train.history import Curves, HistoryFile
from moon2.train.optimizer import RecipeOptimizer
from moon2.train.progress import TrainingBar
from moon2.train.step import needed_views, training_step

Score = Callable[[Encoder], dict[str, float]]


@dataclass
class TrainingResult:
    """A finished run.

    Attributes:
        folder: the run's folder.
        encoder: the trained encoder, as saved in `folder/model`.
        steps: optimiser steps done.
        seconds: wall time of this call.
    """

    folder: Path
    encoder: Encoder
    steps: int
    seconds: float


def train(
    recipe: Recipe,
    data: str | Path | Catalog,
    out: str | Path,
    *,
    resume: bool = False,
    score: Score | None = None,
    triplets: list[Triplet] | None = None,
) -> TrainingResult:
    """Trains an encoder on a catalog.

    Args:
        recipe: every setting.
        data: a catalog, or its folder.
        out: the run's folder; refused if it holds a run and `resume` is not set.
        resume: go on from the newest whole checkpoint in `out`; starts anew where there is none.
        score: called with the encoder every `training.evaluate_every` steps and at the end; gives measures of which
            `score` (higher is better) picks the best weights. Without it the last weights are kept.
        triplets: what to learn from; `training_triplets` of the catalog when not given.

    Raises:
        RecipeError: `out` holds another run, or was trained by a different recipe; or the recipe uses augmentations and
            the catalog has none.
        CatalogError, BackboneError: the data or backbone cannot be used.
        FolderInUseError: another process is training in `out`.
    """
    # Of several processes that train together only the first writes.
    first = os.environ.get("RANK", "0") == "0"
    with exclusive_lock(Path(out).absolute(), "`moon2 train`") if first else nullcontext():
        return _train(recipe, data, Path(out), resume, score, triplets)


def _train(
    recipe: Recipe,
    data: str | Path | Catalog,
    folder: Path,
    resume: bool,
    score: Score | None,
    triplets: list[Triplet] | None,
) -> TrainingResult:
    started = time.monotonic()
    catalog = data if isinstance(data, Catalog) else Catalog.open(data)
    require_augmentations(catalog, recipe.augmentations)
    chosen = training_triplets(catalog, recipe.training.seed) if triplets is None else triplets
    checkpoint = _prepare_folder(folder, recipe, fingerprint(catalog, chosen, recipe.augmentations), resume)
    encoder = Encoder.from_recipe(recipe, tokenizer_texts(catalog, chosen))
    settings = recipe.training
    stream = TripletStream(
        chosen,
        catalog,
        encoder.processor,
        recipe.image_transforms,
        length=settings.steps * settings.batch_size,
        seed=settings.seed,
        augmentations=recipe.augmentations,
    )
    if checkpoint is None:
        # What a run that was killed before its first checkpoint left is not this run's.
        (folder / "history.jsonl").unlink(missing_ok=True)
        for kept in ("best", "best.new"):
            shutil.rmtree(folder / kept, ignore_errors=True)
    if settings.trainer == "moon2":
        steps = _run_own_trainer(recipe, encoder, folder, stream, checkpoint, score)
    else:
        # Imported here, because sentence-transformers is an extra and slow to load.
        try:
            from moon2.experiments.peers.sentence_transformers import run_sentence_trainer
        except ImportError:
            raise RecipeError(
                "training.trainer is 'sentence-transformers', which is not installed; pip install 'moon2[peers]'"
            ) from None
        steps = run_sentence_trainer(recipe, encoder, folder, stream, checkpoint)
    best = settled_best(folder)
    if best.exists():
        encoder = Encoder.from_pretrained(best / "model", device=encoder.device)
    encoder.card = model_card(recipe, catalog, len(chosen))
    encoder.save_pretrained(folder / "model")
    # What was saved, not what was trained: mixed precision leaves its casts on the model it ran with.
    encoder = Encoder.from_pretrained(folder / "model", device=encoder.device)
    return TrainingResult(folder, encoder, steps, time.monotonic() - started)


def _run_own_trainer(
    recipe: Recipe,
    encoder: Encoder,
    folder: Path,
    stream: TripletStream,
    checkpoint: Path | None,
    score: Score | None,
) -> int:
    trainer = MoonTrainer(recipe, encoder, folder, score, stream)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if score is not None and trainer.state.global_step != trainer.evaluated_at:
        trainer.evaluate()
    return int(trainer.state.global_step)


class MoonTrainer(RecipeOptimizer):
    """`transformers.Trainer` with the loss of `training_step`, the indexed stream, and a log of every part."""

    def __init__(
        self, recipe: Recipe, encoder: Encoder, folder: Path, score: Score | None, stream: TripletStream
    ) -> None:
        settings = recipe.training
        arguments = TrainingArguments(
            **common_arguments(settings, folder),
            eval_strategy="steps" if score is not None and settings.evaluate_every else "no",
            eval_steps=settings.evaluate_every or None,
            report_to=[],
            remove_unused_columns=False,
            label_names=[],
            dataloader_pin_memory=False,
            dataloader_num_workers=min(8, os.cpu_count() or 1) if torch.cuda.is_available() else 0,
        )
        if arguments.n_gpu > 1:
            # Trainer would wrap the model in DataParallel, which has neither W* nor the routing.
            arguments._n_gpu = 1
        super().__init__(
            model=encoder.model,
            args=arguments,
            train_dataset=stream,
            # The trainer asks for some data before it evaluates; ours comes with `score`.
            eval_dataset=stream,
            data_collator=TripletCollator(
                encoder.processor, text=encoder.model.needs_text_pass(needed_views(recipe.alignment))
            ),
            callbacks=[HistoryFile(folder / "history.jsonl"), Curves(folder / "tensorboard"), TrainingBar()],
        )
        self.remove_callback(ProgressCallback)
        self.recipe = recipe
        self.encoder = encoder
        self.folder = folder
        self.score = score
        self.evaluated_at = -1
        self._parts: dict[str, list[Tensor]] = {}
        self._clock = time.monotonic()

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """L_total of the batch; its parts go into the next line of the log."""
        batch = inputs["batch"]
        batch.items = batch.items.to(self.args.device)
        result = training_step(model, batch, self.recipe, self.state.global_step)
        for name, value in result.log.items():
            self._parts.setdefault(name, []).append(value)
        self._parts.setdefault("triplets", []).append(torch.tensor(float(batch.size)))
        return result.loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the means of the parts since the last line, and the throughput.

        A part that no batch had, such as the loss of an objective without samples, is left out; a part that some had is
        the mean over those.
        """
        if "loss" in logs and self._parts:
            triplets = float(torch.stack(self._parts.pop("triplets")).sum())
            means = {name: float(torch.stack(values).float().nanmean()) for name, values in self._parts.items()}
            logs |= {name: value for name, value in means.items() if not math.isnan(value)}
            logs["triplets_per_second"] = triplets / max(time.monotonic() - self._clock, 1e-9)
            self._parts = {}
            self._clock = time.monotonic()
        super().log(logs, start_time)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Scores the encoder as it is, logs that, and keeps the best weights aside."""
        if self.score is None:
            return {}
        paused = time.monotonic()
        measures = self.score(self.encoder)
        self.evaluated_at = self.state.global_step
        # Else the trainer asks again at the end of the epoch, for the same weights.
        self.control.should_evaluate = False
        self.log({f"eval/{name}": value for name, value in measures.items()})
        self._keep_if_best(measures["score"])
        self._clock += time.monotonic() - paused
        return {f"eval_{name}": value for name, value in measures.items()}

    def _keep_if_best(self, score: float) -> None:
        best = settled_best(self.folder)
        record = best / "score.json"
        if record.exists() and json.loads(record.read_text())["score"] >= score:
            return
        fresh = self.folder / "best.new"
        shutil.rmtree(fresh, ignore_errors=True)
        self.encoder.save_pretrained(fresh / "model")
        (fresh / "score.json").write_text(json.dumps({"score": score, "step": self.state.global_step}))
        shutil.rmtree(best, ignore_errors=True)
        fresh.rename(best)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        # The stream is already in its random order, as a function of the index alone.
        stream: Any = self.train_dataset if train_dataset is None else train_dataset
        return SequentialSampler(stream)


def settled_best(folder: Path) -> Path:
    """Where a run keeps its best weights so far; finishes an exchange of them that a kill cut short."""
    best, fresh = folder / "best", folder / "best.new"
    # The score is written last, so with it the fresh weights are whole.
    if not best.exists() and (fresh / "score.json").exists():
        fresh.rename(best)
    return best


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written whole, or None.

    The trainer writes `trainer_state.json` last, so a checkpoint in which it is missing or cut short was under way
    when the run was killed.
    """

    def step(path: Path) -> int:
        return int(path.name.rpartition("-")[2])

    for path in sorted(folder.glob("checkpoint-*"), key=step, reverse=True):
        try:
            json.loads((path / "trainer_state.json").read_text())
        except (OSError, json.JSONDecodeError):
            continue
        return path
    return None


def fingerprint(catalog: Catalog, triplets: Sequence[Triplet], augmentations: AugmentationSettings) -> str:
    """A hash of what a run learns from: its triplets, for the tokenizer its words, and the augmentations it uses."""
    digest = hashlib.sha256()
    for text in tokenizer_texts(catalog, triplets):
        digest.update(text.encode() + b"\n")
    for triplet in triplets:
        digest.update(f"{triplet.query.id}\t{triplet.positive_id}\t{triplet.negative_ids}\n".encode())
    for text in augmentation_texts(catalog, augmentations):
        digest.update(text.encode() + b"\n")
    return digest.hexdigest()


def _prepare_folder(folder: Path, recipe: Recipe, data: str, resume: bool) -> Path | None:
    """Makes the run's folder, or checks that it holds the run to go on with; gives the checkpoint to start from."""
    existing = folder / "recipe.yaml"
    if existing.exists():
        if not resume:
            raise RecipeError(f"{folder}: already holds a run; add --resume to go on with it, or give another folder")
        if load_recipe(existing) != recipe:
            raise RecipeError(f"{folder}: was begun with another recipe; see {existing}, or give another folder")
        if (folder / "data.sha256").exists() and (folder / "data.sha256").read_text() != data:
            raise RecipeError(f"{folder}: was begun on other data (another catalog or log); give another folder")
    elif folder.exists() and any(path.suffix != ".new" for path in folder.iterdir()):
        raise RecipeError(f"{folder}: is not empty and holds no run; give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in ((existing, recipe.to_yaml()), (folder / "data.sha256", data)):
        if not file.exists():
            write_text_atomic(file, text)
    return newest_checkpoint(folder / "checkpoints") if resume else None


def tokenizer_texts(catalog: Catalog, triplets: Iterable[Triplet]) -> Iterator[str]:
    """The titles and queries on which the tokenizer of the `tiny` backbone is trained."""
    yield from (row["title"] for row in catalog.rows("train", ["title"]) if row["title"])
    yield from (triplet.query.text for triplet in triplets if triplet.query.text)


def model_card(recipe: Recipe, catalog: Catalog, triplets: int) -> str:
    """The README of a trained encoder: what it is, what it learned from, how to use it."""
    return f"""---
library_name: moon2
tags: [product-search, multimodal-retrieval, embeddings, mixture-of-experts]
---

# A moon2 product encoder

Text, photos or both of a product become one vector in one space (MOON2.0, arXiv 2511.12449).
Backbone `{recipe.backbone.name}`, {recipe.experts.count} experts of which {recipe.experts.active} work on a token.
Trained for {recipe.training.steps} steps of {recipe.training.batch_size} triplets, from {triplets} triplets over the
{len(catalog)} products of the catalog `{catalog.folder.name}`.

```python
from moon2 import Encoder, Product
encoder = Encoder.from_pretrained("this folder")
vectors = encoder.encode([Product(id="1", title="Navy shirt", images=["shirt.jpg"])])
encoder.encode(["navy shirt"])  # the same space
```

## Recipe

```yaml
{recipe.to_yaml()}```
"""
