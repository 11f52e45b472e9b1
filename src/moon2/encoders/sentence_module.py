"""A saved encoder inside sentence-transformers: `SentenceTransformer(folder, trust_remote_code=True)`.

The folder names this class in its modules.json, so it works wherever moon2 is installed, and with it everything that
takes a sentence-transformers model. The vectors are those of `Encoder.encode`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from sentence_transformers.base.modules import InputModule

from moon2.encoders.load import load_own
from moon2.model.encoder import Encoder
from moon2.model.items import ItemSource


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

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **_: object) -> dict[str, Any]:
        """Opens the inputs: `items`, and under `input_ids` [n] int64 the rows among them that are to be embedded.

        By that name the library's trainer finds an input, and its cached losses cut it into small batches.
        """
        items = [self.encoder.processor.item(_with_prompt(source, prompt or "")) for source in inputs]
        return {"input_ids": torch.arange(len(items)), "items": items}

    def forward(self, features: dict[str, Any], **_: object) -> dict[str, Any]:
        """Adds `sentence_embedding`, [n, D] float32 of unit length."""
        items = [features["items"][row] for row in features["input_ids"].tolist()]
        views = self.network(self.encoder.item_batch(items, {"mm"}), {"mm"})
        return {**features, "sentence_embedding": views.vectors["mm"]}

    def save(self, output_path: str, *_: object, **__: object) -> None:
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
        **_: object,
    ) -> MoonModule:
        """Reads the encoder's folder, here or on the hub."""
        folder = cls.load_dir_path(model_name_or_path, subfolder, token, cache_folder, revision, local_files_only)
        return cls(load_own(folder or model_name_or_path, device="cpu"))


def _with_prompt(source: ItemSource, prompt: str) -> ItemSource:
    if isinstance(source, str):
        return prompt + source
    if isinstance(source, Mapping) and source.get("text"):
        return {**source, "text": f"{prompt}{source['text']}"}
    if isinstance(source, (list, tuple)):
        return {"image": list(source)}
    return source
