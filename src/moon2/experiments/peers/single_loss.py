"""One InfoNCE between whatever a query has and whatever a product has, as in VLM2Vec (arXiv 2410.05160)."""

from __future__ import annotations

from pathlib import Path

import torch

from moon2.catalog.store import Catalog
from moon2.model.moon_model import MoonModel
from moon2.objective.alignment import info_nce
from moon2.recipe import Recipe
from moon2.train.batches import TripletBatch
from moon2.train.step import StepResult, count_tokens
from moon2.train.train import TrainingResult, run_training


def single_loss_step(model: MoonModel, batch: TripletBatch, recipe: Recipe, step: int) -> StepResult:
    """The mean InfoNCE of the queries' mm against the products' mm, over all triplets of the batch."""
    vectors = model(batch.items, {"mm"}).vectors["mm"]
    queries, products = vectors[: batch.size], vectors[batch.size :]
    own = torch.arange(batch.size, device=vectors.device)
    losses = info_nce(queries, products, own, batch.known_positive, recipe.alignment.temperature_inter)
    return StepResult(losses.mean(), {"loss/mm→mm": losses.mean().detach(), "tokens": count_tokens(batch)})


def train(*, data: Path, out: Path, recipe: Recipe, resume: bool = False) -> TrainingResult:
    """Train with a single InfoNCE on a catalog; see `moon2 train`.

    Args:
        data: folder of the catalog.
        out: folder of the run.
        recipe: every setting.
        resume: go on from the last checkpoint in the run's folder, if there is one.
    """
    return run_training(recipe, Catalog.open(data), out, resume=resume, step=single_loss_step)
