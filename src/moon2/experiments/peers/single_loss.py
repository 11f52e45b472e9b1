"""One InfoNCE between whatever a query has and whatever a product has, as in VLM2Vec (arXiv 2410.05160)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from moon2.catalog.store import Catalog
from moon2.model.moon_model import Views
from moon2.objective.alignment import info_nce
from moon2.recipe import Recipe, require
from moon2.train.batches import TripletMasks
from moon2.train.step import StepResult
from moon2.train.train import TrainingResult, run_training


def single_loss(views: Views, masks: TripletMasks, dual_alignment: Tensor, recipe: Recipe, step: int) -> StepResult:
    """The mean InfoNCE of the queries' mm against the products' mm, over all triplets of the batch."""
    vectors, readable = views.vectors["mm"], views.has("mm")
    queries, products = vectors[: masks.size], vectors[masks.size :]
    own = torch.arange(masks.size, device=vectors.device)
    unusable = masks.known_positive | ~readable[masks.size :]
    losses = info_nce(queries, products, own, unusable, recipe.alignment.temperature_inter)
    is_triplet = readable[: masks.size] & readable[masks.size : 2 * masks.size]
    mean = (losses * is_triplet).sum() / is_triplet.sum().clamp(min=1)
    return StepResult(mean, {"loss/mm→mm": mean.detach()})


def train(*, data: Path, out: Path, recipe: Recipe, resume: bool = False) -> TrainingResult:
    """Train with a single InfoNCE on a catalog; see `moon2 train`.

    Args:
        data: folder of the catalog.
        out: folder of the run.
        recipe: every setting; `training.dimensions` must be left out.
        resume: go on from the last checkpoint in the run's folder, if there is one.
    """
    require(not recipe.training.dimensions, "training.dimensions", recipe.training.dimensions, "left out for this peer")
    return run_training(recipe, Catalog.open(data), out, resume=resume, loss=single_loss)
