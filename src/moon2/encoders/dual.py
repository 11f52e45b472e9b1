"""Encoders of other people that embed words and pictures apart: CLIP, SigLIP, SigLIP 2, FashionCLIP and their kin.

They serve as the judge of whether a picture and a title belong together, and as peers in moon2's tables. Any checkpoint
of `transformers` will do whose model has both `get_text_features` and `get_image_features`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer

from moon2.errors import UserError

Vectors = NDArray[np.float32]


class DualEncoderError(UserError):
    """A checkpoint is no dual encoder, or cannot be loaded; the message says which and why."""


class DualEncoder:
    """Words and pictures into one space, by two towers."""

    def __init__(self, model: Any, tokenizer: Any, image_processor: Any, name: str = "") -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.name = name

    @classmethod
    def from_pretrained(cls, source: str | Path, device: str | torch.device | None = None) -> DualEncoder:
        """Loads a checkpoint by hub id or folder; on the GPU when there is one and no device is given.

        Raises:
            DualEncoderError: it cannot be loaded, or has not both towers.
        """
        try:
            config = AutoConfig.from_pretrained(source)
            model = AutoModel.from_pretrained(source, config=config, dtype=torch.float32)
            if not (hasattr(model, "get_text_features") and hasattr(model, "get_image_features")):
                raise DualEncoderError(
                    f"{source}: a {config.model_type} model does not embed words and pictures apart; "
                    f"give a CLIP or SigLIP checkpoint, or an encoder that moon2 trained"
                )
            tokenizer = AutoTokenizer.from_pretrained(source)
            # The other backend is torchvision, which this project does without.
            image_processor = AutoImageProcessor.from_pretrained(source, backend="pil")
        except DualEncoderError:
            raise
        except Exception as error:  # whatever the libraries for weights and tokenizers raise at a damaged file
            reason = " ".join(str(error).split())[:200]
            raise DualEncoderError(
                f"{source}: cannot be loaded as an encoder of words and pictures ({reason})"
            ) from None
        model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
        return cls(model, tokenizer, image_processor, str(source))

    def encode_texts(self, texts: Sequence[str], *, batch_size: int = 64) -> Vectors:
        """[n, D] float32 of unit length; a text longer than the model takes is cut."""
        limit = self.model.config.text_config.max_position_embeddings
        # SigLIP was trained on texts padded to the full length, and embeds others badly.
        padding = "max_length" if self.model.config.model_type.startswith("siglip") else True
        parts = []
        for start in range(0, len(texts), batch_size):
            some = list(texts[start : start + batch_size])
            inputs = self.tokenizer(some, padding=padding, truncation=True, max_length=limit, return_tensors="pt")
            parts.append(self._unit("get_text_features", inputs))
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    def encode_pictures(self, pictures: Sequence[Image.Image], *, batch_size: int = 64) -> Vectors:
        """[n, D] float32 of unit length, of RGB pictures."""
        parts = []
        for start in range(0, len(pictures), batch_size):
            inputs = self.image_processor(images=list(pictures[start : start + batch_size]), return_tensors="pt")
            parts.append(self._unit("get_image_features", inputs))
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    def _unit(self, method: str, inputs: Any) -> Vectors:
        accepted = {name: value.to(self.model.device) for name, value in inputs.items() if isinstance(value, Tensor)}
        with torch.inference_mode():
            found = getattr(self.model, method)(**accepted)
        # A plain tensor in some models, in others an output that holds it.
        vectors = found if isinstance(found, Tensor) else found.pooler_output
        return torch.nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy()
