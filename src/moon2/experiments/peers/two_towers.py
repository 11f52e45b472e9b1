"""A CLIP-style dual encoder of the same parts: the decoder for text, the vision encoder for images, no experts."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from moon2.catalog.store import Catalog
from moon2.model.experts import Routing
from moon2.model.moon_model import MoonModel, Views, pool
from moon2.model.processor import ItemBatch
from moon2.recipe import Recipe, require
from moon2.train.train import TrainingResult, run_training
from moon2.views import VIEWS, View


class TwoTowers(MoonModel):
    """Text and images never meet; a product's vector is the normalised sum of both."""

    def needs_text_pass(self, views: Collection[View]) -> bool:
        """The joint view needs the text on its own too."""
        return "t" in views or "mm" in views

    def forward(self, batch: ItemBatch, views: Collection[View] = VIEWS) -> Views:
        """The wanted views of each item, with no routing of a view: an image meets no expert."""
        number, device = len(batch.has_text), batch.has_text.device
        zeros = torch.zeros(number, self.dimension, device=device)
        vectors: dict[View, Tensor] = {"t": zeros, "i": zeros}
        passes: list[Routing] = []
        if batch.text is not None:
            states, routing = self.run(batch.text)
            passes.append(routing)
            pooled, _ = pool(states, batch.text.pooling_mask, batch.text, routing)
            vectors["t"] = zeros.index_copy(0, batch.text.rows, functional.normalize(pooled, dim=-1))
        if batch.joint is not None:
            features = self.family.image_features(self.backbone, batch.joint.image_inputs)
            images = torch.stack([tokens.mean(dim=0) for tokens in features]).float()
            counts = torch.tensor([len(grids) for grids in batch.joint.grids], device=device)
            item_of_image = batch.joint.rows.repeat_interleave(counts)
            vectors["i"] = functional.normalize(zeros.index_add(0, item_of_image, images), dim=-1)
        vectors["mm"] = functional.normalize(vectors["t"] + vectors["i"], dim=-1)
        has: dict[View, Tensor] = {
            "t": batch.has_text,
            "i": batch.has_images,
            "mm": batch.has_text | batch.has_images,
        }
        return Views(
            {view: vectors[view] for view in views},
            {view: has[view] for view in views},
            {view: zeros.new_zeros(number, 0) for view in views},
            passes,
        )


def train(*, data: Path, out: Path, recipe: Recipe, resume: bool = False) -> TrainingResult:
    """Train a dual encoder on a catalog; see `moon2 train`.

    Args:
        data: folder of the catalog.
        out: folder of the run.
        recipe: every setting; `experts.count` must be 1.
        resume: go on from the last checkpoint in the run's folder, if there is one.
    """
    require(recipe.experts.count == 1, "experts.count", recipe.experts.count, "1 for two towers")
    return run_training(recipe, Catalog.open(data), out, resume=resume, network=TwoTowers)
