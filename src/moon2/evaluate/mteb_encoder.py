"""A saved encoder in mteb's own tables: `mteb.evaluate(MoonMTEBEncoder(folder), tasks)`.

Works for text, image and mixed tasks of mteb 2, such as Fashion200k's retrieval tasks and MIEB.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ScoringFunction
from tqdm import tqdm

from moon2.model.encoder import Encoder
from moon2.model.processor import Item
from moon2.pictures import open_picture


class MoonMTEBEncoder(AbsEncoder):
    """mteb's encoder protocol over `moon2.Encoder`.

    Args:
        model_name: folder or hub id of a saved encoder, or the folder of a run.
        revision: for mteb's result files only.
        device: where to put it; the GPU when there is one.

    Raises:
        EncoderError: there is no such encoder.
    """

    def __init__(
        self, model_name: str | Path, revision: str | None = None, *, device: str | None = None, **_: Any
    ) -> None:
        self.model = Encoder.from_pretrained(model_name, device)
        described = {
            "name": f"moon2/{Path(model_name).name}",
            "revision": revision or "local",
            "embed_dim": self.model.dimension,
            "n_parameters": sum(weights.numel() for weights in self.model.model.parameters()),
            "max_tokens": self.model.processor.settings.max_text_tokens,
            "similarity_fn_name": ScoringFunction.COSINE,
            "modalities": ["text", "image"],
            "framework": ["PyTorch"],
        }
        self.mteb_model_meta = ModelMeta.create_empty(overwrites=described)

    def encode(self, inputs: Iterable[dict[str, Any]], **settings: Any) -> np.ndarray:
        """(items, D) float32 of unit length, in order.

        Args:
            inputs: batches with "text", "image" or both, each a list; a text or picture may be None or empty.
            settings: of mteb; `show_progress_bar` is heeded, prompts are not: the encoder was trained without.
        """
        batches = tqdm(inputs, desc="encoding", disable=not settings.get("show_progress_bar", False))
        return np.concatenate([self._encode_batch(batch) for batch in batches])

    def _encode_batch(self, batch: dict[str, Any]) -> np.ndarray:
        size = len(next(iter(batch.values())))
        texts = batch.get("text") or [""] * size
        pictures = batch.get("image") or [None] * size
        items = [
            Item((text or "").strip(), [] if picture is None else [open_picture(picture)])
            for text, picture in zip(texts, pictures, strict=True)
        ]
        return self.model.encode(items, batch_size=max(size, 1))
