"""A sentence-transformers model as a `VectorEncoder`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sentence_transformers import SentenceTransformer

from moon2.encoders.protocol import EncoderAdapter
from moon2.errors import one_line
from moon2.model.encoder import Vectors
from moon2.model.errors import EncoderError
from moon2.model.finite import first_not_finite


class SentenceTransformerEncoder(EncoderAdapter):
    """A sentence-transformers model; one that takes only text has no vector of an image.

    One that takes text and image together (it says so in `modalities`) is asked for both at once.

    Args:
        source: its folder or hub id.
        prompt: put before every query; the model's own when empty.
        trust_remote_code: let it run Python that comes with it.

    Raises:
        EncoderError: it cannot be loaded.
    """

    def __init__(self, source: str | Path, prompt: str = "", *, trust_remote_code: bool = False) -> None:
        super().__init__(str(source), prompt)
        try:
            self.model = SentenceTransformer(str(source), trust_remote_code=trust_remote_code)
        except Exception as error:  # whatever the libraries below it raise
            reason = one_line(error)
            raise EncoderError(
                f"{source}: cannot be loaded ({reason}); if it brings Python of its own that you trust, add "
                f"--trust_remote_code"
            ) from None
        if bad := first_not_finite(self.model.named_parameters()):
            raise EncoderError(f"{source}: weight {bad} is NaN or infinite; download or train the model again")
        self.takes_images = "image" in self.model.modalities
        self._takes_pairs = any(
            isinstance(kind, tuple) and {"text", "image"} <= {*kind} for kind in self.model.modalities
        )

    def embed_texts(self, texts: Sequence[str], batch_size: int = 64, role: str = "") -> Vectors:
        """[n, D] float32 of unit length."""
        return self._embed(list(texts), batch_size, role)

    def embed_images(self, images: Sequence[Image.Image], batch_size: int = 64, role: str = "") -> Vectors:
        """[n, D] float32 of unit length.

        Raises:
            EncoderError: the model takes only text.
        """
        if "image" not in self.model.modalities:
            raise EncoderError(f"{self.name}: embeds text only; give a model that takes images too")
        return self._embed(list(images), batch_size, role)

    def embed_pairs(
        self, texts: Sequence[str], images: Sequence[Image.Image], batch_size: int = 64, role: str = ""
    ) -> Vectors:
        """Both at once where the model can, else the normalised sum."""
        if not self._takes_pairs:
            return super().embed_pairs(texts, images, batch_size, role)
        pairs = [{"text": text, "image": image} for text, image in zip(texts, images, strict=True)]
        return self._embed(pairs, batch_size, role)

    def _embed(self, inputs: list[Any], batch_size: int, role: str) -> Vectors:
        options: dict[str, Any] = {
            "batch_size": batch_size,
            "show_progress_bar": False,
            "normalize_embeddings": True,
        }
        if role == "query":
            # None is the model's own prompt; ours stands before the text already.
            vectors = self.model.encode_query(inputs, prompt="" if self.prompt else None, **options)
        elif role == "document":
            vectors = self.model.encode_document(inputs, **options)
        else:
            vectors = self.model.encode(inputs, **options)
        return np.asarray(vectors, np.float32)
