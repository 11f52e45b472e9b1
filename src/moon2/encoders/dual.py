"""Dual encoders, which embed text and images apart: CLIP, SigLIP, SigLIP 2, FashionCLIP and their kin.

Any checkpoint of `transformers` will do whose model has both `get_text_features` and `get_image_features`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer

from moon2.encoders.protocol import EncoderAdapter
from moon2.errors import one_line
from moon2.model.encoder import Vectors
from moon2.model.errors import EncoderError
from moon2.model.finite import first_not_finite
from moon2.model.reading_size import ShorterSideReadingSize


class DualEncoder(EncoderAdapter):
    """Text and images into one space, by two towers."""

    def __init__(self, model: Any, tokenizer: Any, image_processor: Any, name: str = "", prompt: str = "") -> None:
        super().__init__(name, prompt)
        self.model = model
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        size = image_processor.size
        side = size.get("shortest_edge") or max(size["height"], size["width"])
        self.reading_size = ShorterSideReadingSize(side, Image.Resampling(image_processor.resample))

    @classmethod
    def from_pretrained(cls, source: str | Path, prompt: str = "") -> DualEncoder:
        """Loads a checkpoint by hub id or folder; on the GPU when there is one.

        Raises:
            EncoderError: it cannot be loaded, or has not both towers.
        """
        try:
            config = AutoConfig.from_pretrained(source)
            model = AutoModel.from_pretrained(source, config=config, dtype=torch.float32)
            if not (hasattr(model, "get_text_features") and hasattr(model, "get_image_features")):
                raise EncoderError(
                    f"{source}: a {config.model_type} model does not embed text and images apart; give a CLIP or "
                    f"SigLIP checkpoint, or an encoder that moon2 trained"
                )
            if bad := first_not_finite(model.named_parameters()):
                raise EncoderError(f"{source}: weight {bad} is NaN or infinite; download or train the model again")
            tokenizer = AutoTokenizer.from_pretrained(source)
            # The other backend is torchvision, which this project does without.
            image_processor = AutoImageProcessor.from_pretrained(source, backend="pil")
        except EncoderError:
            raise
        except Exception as error:  # whatever the libraries for weights and tokenizers raise at a damaged file
            reason = one_line(error)
            raise EncoderError(f"{source}: cannot be loaded as an encoder of text and images ({reason})") from None
        model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        return cls(model, tokenizer, image_processor, str(source), prompt)

    def embed_texts(self, texts: Sequence[str], batch_size: int = 64, role: str = "") -> Vectors:
        """[n, D] float32 of unit length; a text longer than the model takes is cut."""
        limit = self.model.config.text_config.max_position_embeddings
        # SigLIP was trained on texts padded to the full length, and embeds others badly.
        padding = "max_length" if self.model.config.model_type.startswith("siglip") else True
        parts = []
        for start in range(0, len(texts), batch_size):
            batch = list(texts[start : start + batch_size])
            inputs = self.tokenizer(batch, padding=padding, truncation=True, max_length=limit, return_tensors="pt")
            parts.append(self._features("get_text_features", inputs))
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    def embed_images(self, images: Sequence[Image.Image], batch_size: int = 64, role: str = "") -> Vectors:
        """[n, D] float32 of unit length, of RGB images."""
        parts = []
        for start in range(0, len(images), batch_size):
            inputs = self.image_processor(images=list(images[start : start + batch_size]), return_tensors="pt")
            parts.append(self._features("get_image_features", inputs))
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    def _features(self, method: str, inputs: Any) -> Vectors:
        accepted = {name: value.to(self.model.device) for name, value in inputs.items() if isinstance(value, Tensor)}
        with torch.inference_mode():
            output = getattr(self.model, method)(**accepted)
        # A plain tensor in some models, in others an output that holds it.
        features = output if isinstance(output, Tensor) else output.pooler_output
        return torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy()
