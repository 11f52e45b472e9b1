"""Both ways between moon2 and sentence-transformers.

`SentenceTransformer(folder, trust_remote_code=True)` opens a saved encoder: the folder names `MoonModule` in its
modules.json, so it works wherever moon2 is installed. `SentenceTransformerEncoder` is one of that library's models as a
`VectorEncoder`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import InputModule

from moon2.encoders.load import load_own
from moon2.encoders.protocol import EncoderAdapter
from moon2.model.encoder import Encoder, EncoderError, Vectors


class MoonModule(InputModule):
    """Text, images, and {"text": …, "image": …} to the unit vectors of `Encoder.encode`."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the library leaves it untyped
        self.encoder = encoder
        self.network = encoder.model  # a child, so that `.to(device)` and `.parameters()` find it
        self.tokenizer = encoder.processor.tokenizer

    @property
    def modalities(self) -> list[Any]:
        """Text, images, and both together."""
        return ["text", "image", ("image", "text")]

    @property
    def max_seq_length(self) -> int:
        """Text tokens of one item; longer text is cut."""
        return self.encoder.processor.settings.max_text_tokens

    def get_embedding_dimension(self) -> int:
        """D."""
        return self.encoder.dimension

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **_: Any) -> dict[str, Any]:
        """Opens the inputs: `items`, and under `input_ids` [n] int64 the rows among them that are to be embedded.

        By that name the library's trainer finds an input, and its cached losses cut it into small batches.
        """
        items = [self.encoder.processor.item(_with_prompt(source, prompt or "")) for source in inputs]
        return {"input_ids": torch.arange(len(items)), "items": items}

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Adds `sentence_embedding`, [n, D] float32 of unit length."""
        items = [features["items"][row] for row in features["input_ids"].tolist()]
        text = self.encoder.model.needs_text_pass({"mm"})
        views = self.network(self.encoder.processor.batch(items, text=text).to(self.encoder.device), {"mm"})
        return {**features, "sentence_embedding": views.vectors["mm"].float()}

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Writes the encoder's folder."""
        self.encoder.save_pretrained(output_path)

    @classmethod
    def load(
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        init_defaults: dict[str, Any] | None = None,
        **_: Any,
    ) -> MoonModule:
        """Reads the encoder's folder, here or on the hub."""
        folder = cls.load_dir_path(model_name_or_path, subfolder, token, cache_folder, revision, local_files_only)
        return cls(load_own(folder or model_name_or_path, device="cpu"))


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
            reason = " ".join(str(error).split())[:200]
            raise EncoderError(
                f"{source}: cannot be loaded ({reason}); if it brings Python of its own that you trust, add "
                f"--trust_remote_code"
            ) from None
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


def _with_prompt(source: Any, prompt: str) -> Any:
    if isinstance(source, str):
        return prompt + source
    if isinstance(source, Mapping) and source.get("text"):
        return {**source, "text": f"{prompt}{source['text']}"}
    if isinstance(source, (list, tuple)):
        return {"image": list(source)}
    return source
