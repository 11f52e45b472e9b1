"""A saved encoder in mteb's own tables: `mteb.evaluate(MoonMTEBEncoder(folder), tasks)`.

Works for text, image and mixed tasks of mteb 2, such as Fashion200k's retrieval tasks and MIEB. mteb keeps results by a
model's name and revision, and gives them back unasked: the revision is therefore a hash of all that the vectors come
from, so that no encoder is given another's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ScoringFunction

from moon2.encoders.load import load_own
from moon2.images import open_image
from moon2.model.encoder import Encoder
from moon2.model.encoder_folder import class_path
from moon2.model.items import Item
from moon2.progress import progress_bar


class MoonMTEBEncoder(AbsEncoder):
    """mteb's encoder protocol over `moon2.Encoder`.

    Args:
        model_name: folder or hub id of a saved encoder, or the folder of a run.
        revision: for mteb's result files only; a hash of weights, settings and tokenizer when not given.
        device: where to put it; the GPU when there is one.

    Raises:
        EncoderError: there is no such encoder.
    """

    def __init__(
        self, model_name: str | Path, revision: str | None = None, *, device: str | None = None, **_: object
    ) -> None:
        self.model = load_own(model_name, device)
        described = {
            "name": f"moon2/{_name(model_name)}",
            "revision": revision or _revision(self.model),
            "embed_dim": self.model.dimension,
            "n_parameters": sum(weights.numel() for weights in self.model.model.parameters()),
            "max_tokens": self.model.processor.settings.max_text_tokens,
            "similarity_fn_name": ScoringFunction.COSINE,
            "modalities": ["text", "image"],
            "framework": ["PyTorch"],
        }
        self.mteb_model_meta = ModelMeta.create_empty(overwrites=described)

    def encode(self, inputs: Iterable[dict[str, Any]], **settings: object) -> np.ndarray:
        """(items, D) float32 of unit length, in order.

        Args:
            inputs: batches with "text", "image" or both, each a list; a text or image may be None or empty. A row
                that has neither gets a vector of zeros, which is as near to one thing as to another.
            settings: of mteb; only `show_progress_bar` is used. The encoder was trained without prompts.
        """
        batches = progress_bar(inputs, desc="encoding", disable=not settings.get("show_progress_bar", False))
        vectors = [self._encode_batch(batch) for batch in batches]
        return np.concatenate([np.zeros((0, self.model.dimension), np.float32), *vectors])

    def _encode_batch(self, batch: dict[str, Any]) -> np.ndarray:
        size = len(next(iter(batch.values())))
        texts = batch.get("text") or [""] * size
        images = batch.get("image") or [None] * size
        reading_size = self.model.processor.reading_size
        items = [
            Item((text or "").strip(), [] if image is None else [open_image(image, read_at=reading_size)])
            for text, image in zip(texts, images, strict=True)
        ]
        rows = [row for row, item in enumerate(items) if item.text or item.images]
        vectors = np.zeros((size, self.model.dimension), np.float32)
        if rows:
            vectors[rows] = self.model.encode([items[row] for row in rows], batch_size=size)
        return vectors


def _name(source: str | Path) -> str:
    """What mteb's tables call the encoder: its folder, or the run's whose `model` it is; on the hub, its own name."""
    folder = Path(source)
    if not folder.exists():
        return folder.name
    folder = folder.resolve()
    return folder.parent.name if folder.name == "model" else folder.name


def _revision(encoder: Encoder) -> str:
    """The first half of a SHA-256 over whatever decides the encoder's vectors."""
    digest = hashlib.sha256()
    model, processor = encoder.model, encoder.processor
    settings = [
        asdict(model.settings),
        class_path(type(model)),
        model.pooling,
        asdict(processor.settings),
        model.backbone.config.to_dict(),
        processor.image_processor.to_dict(),
        sorted(processor.tokenizer.get_vocab().items()),
    ]
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, weights in sorted(model.state_dict().items()):
        digest.update(f"{name} {weights.dtype} {tuple(weights.shape)}".encode())
        digest.update(weights.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:32]
