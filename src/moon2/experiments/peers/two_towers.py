"""A CLIP-style dual encoder of the same parts: the decoder for text, the vision encoder for images, no experts."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from moon2.catalog.store import Catalog
from moon2.model.families import decoder_of
from moon2.model.item_batch import ItemBatch
from moon2.model.moon_model import DecoderInput, MoonModel, Views, row_means
from moon2.recipe import Recipe, require
from moon2.train.train import TrainingResult, run_training
from moon2.views import VIEWS, View


class TwoTowers(MoonModel):
    """Text and images never meet; a product's vector is the normalised sum of both."""

    def joint_rows(self, views: Collection[View]) -> bool:
        """Never: images do not pass the decoder."""
        return False

    def text_rows(self, views: Collection[View]) -> bool:
        """The joint view needs the text on its own too."""
        return "t" in views or "mm" in views

    def forward(
        self, batch: ItemBatch, views: Collection[View] = VIEWS, chosen: dict[int, Tensor] | None = None
    ) -> Views:
        """The wanted views of each item, with no routing of a view: an image meets no expert."""
        number = len(batch.has_text)
        words = DecoderInput(decoder_of(self.backbone, self.family).embed_tokens(batch.input_ids), [])
        found = self.pool(*self.decode(words, batch, chosen), batch, {"t"})
        text = found.vectors["t"]
        images = torch.zeros_like(text)
        if batch.images is not None:
            features, _ = self.family.image_features(self.backbone, batch.images.inputs)
            item_of_use, image_of_use = batch.images.uses
            (means,) = row_means(
                text.new_ones(len(features)), (features.float(),), batch.images.image_of_token, len(batch.images.grids)
            )
            means = means.index_select(0, image_of_use)
            images = functional.normalize(images.index_add(0, item_of_use, means), dim=-1)
        vectors: dict[View, Tensor] = {"t": text, "i": images, "mm": functional.normalize(text + images, dim=-1)}
        found.vectors = {view: vectors[view] for view in views}
        found.routing = {view: text.new_zeros(number, 0) for view in views}
        return found


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
