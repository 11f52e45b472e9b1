"""Any model in the same table: a moon2 folder, a sentence-transformers model, or a dual encoder of `transformers`.

A model that embeds words and pictures apart has no vector for a product as a whole; it gets the normalised sum of both,
which is how such models are commonly used for it. A sentence-transformers model that takes words and picture
together (it says so in `modalities`) is asked for both at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from moon2.evaluate.result import VIEWS, EvaluationError
from moon2.images import ImageError, open_image
from moon2.records import Product, Query
from moon2.vectors.embed import VectorEncoder


class TwoForms(Protocol):
    """What a peer has to do: each method gives (n, dimension) float32 of unit length.

    `role` is "query", "document", or empty for what is neither, such as a label.
    """

    name: str

    def texts(self, texts: Sequence[str], batch_size: int, role: str = "") -> np.ndarray: ...

    def pictures(self, pictures: Sequence[Image.Image], batch_size: int, role: str = "") -> np.ndarray: ...

    def both(
        self, texts: Sequence[str], pictures: Sequence[Image.Image], batch_size: int, role: str = ""
    ) -> np.ndarray: ...


def load_model(source: str | Path, *, prompt: str = "", trust_remote_code: bool = False) -> VectorEncoder:
    """Loads what `--model` names, with what kind it is told by the files in it.

    Args:
        source: a folder or hub id: of a moon2 encoder or run, of a sentence-transformers model (it has a modules.json),
            or of a `transformers` checkpoint with a text and an image tower.
        prompt: put before every query's words; some text encoders are trained with one. When not given, the one that a
            sentence-transformers model brings with it. Not for moon2's own.
        trust_remote_code: let a sentence-transformers model run Python that comes with it.

    Raises:
        EvaluationError: it cannot be loaded, or is none of these.
    """
    kind = _kind(source)
    if kind == "moon2":
        from moon2.model.encoder import Encoder

        return Encoder.from_pretrained(source)
    peer: TwoForms
    if kind == "sentence-transformers":
        peer = SentenceTransformerForms(source, own_prompt=not prompt, trust_remote_code=trust_remote_code)
    else:
        from moon2.encoders.dual import DualEncoder

        peer = DualEncoderForms(DualEncoder.from_pretrained(source))
    return PeerEncoder(peer, prompt)


class PeerEncoder:
    """Gives a peer the verbs that the benchmark asks for; only a product's first picture is read.

    Attributes:
        name: which model it is.
    """

    def __init__(self, peer: TwoForms, prompt: str = "") -> None:
        self.peer = peer
        self.prompt = prompt
        self.name = peer.name
        self._dimension = 0

    def encode(
        self, items: Sequence[Any], *, view: str | None = None, batch_size: int = 64, skip_bad: bool = False
    ) -> np.ndarray:
        """(items, dimension) float32 of unit length, in order; as `moon2.Encoder.encode`.

        With `skip_bad`, an item that cannot be embedded gives a row of NaN, even where that is every one of them.

        Raises:
            EvaluationError: an item cannot be embedded and `skip_bad` is off.
        """
        parts_of = [self._parts(item, view, skip_bad) for item in items]
        texts, pictures = [text for text, _ in parts_of], [picture for _, picture in parts_of]
        rows: dict[tuple[str, str], list[int]] = {}
        for row, (item, text, picture) in enumerate(zip(items, texts, pictures, strict=True)):
            if text or picture is not None:
                form = "mm" if text and picture is not None else "t" if text else "i"
                role = "query" if isinstance(item, Query) else "document" if isinstance(item, Product) else ""
                rows.setdefault((form, role), []).append(row)
            elif not skip_bad:
                raise EvaluationError(f"item {row} has nothing to embed in view {view or 'mm'}")
        found = {
            "t": lambda some, role: self.peer.texts([texts[row] for row in some], batch_size, role),
            "i": lambda some, role: self.peer.pictures([pictures[row] for row in some], batch_size, role),
            "mm": lambda some, role: self.peer.both(
                [texts[row] for row in some], [pictures[row] for row in some], batch_size, role
            ),
        }
        parts = [(some, found[form](some, role)) for (form, role), some in rows.items()]
        if not self._dimension:
            # A model says how long its vectors are by making one; here perhaps not one item can be embedded.
            self._dimension = (parts[0][1] if parts else self.peer.texts(["a"], 1)).shape[1]
        result = np.full((len(texts), self._dimension), np.nan, np.float32)
        for some, vectors in parts:
            result[some] = vectors
        return result

    def encode_views(
        self, products: Sequence[Product], *, batch_size: int = 64, skip_bad: bool = False
    ) -> dict[str, np.ndarray]:
        """The views "t", "i" and "mm" of products, each as `encode` gives it.

        As with moon2's own encoder, a product without a picture has no joint view, and one whose picture cannot be
        read has none at all: whoever asks decides whether its words shall stand for it.
        """
        views = {}
        for view in VIEWS:
            views[view] = self.encode(products, view=view, batch_size=batch_size, skip_bad=skip_bad)
        without = np.isnan(views["i"]).all(axis=1)
        views["mm"][without] = np.nan
        views["t"][without & np.array([bool(product.images) for product in products], dtype=bool)] = np.nan
        return views

    def _parts(self, item: Any, view: str | None, skip_bad: bool) -> tuple[str, Image.Image | None]:
        text, picture, where = "", None, "picture"
        if isinstance(item, str):
            text = item
        elif isinstance(item, Product):
            text, picture, where = item.title, next(iter(item.images), None), f"product {item.id!r}"
        elif isinstance(item, Query):
            text, picture, where = f"{self.prompt}{item.text}" if item.text else "", item.image, f"query {item.id!r}"
        else:
            picture = item
        text = "" if view == "i" else text.strip()
        if view == "t" or picture is None:
            return text, None
        try:
            return text, open_image(picture, where)
        except ImageError as error:
            if not skip_bad:
                raise EvaluationError(str(error)) from None
            print(f"moon2: {error}", file=sys.stderr)
            # The whole of it was asked for: half of it would be another vector under the same name.
            return ("" if view is None else text), None


class DualEncoderForms:
    """A dual encoder: both forms together are the normalised sum of the two."""

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder
        self.name = encoder.name

    def texts(self, texts: Sequence[str], batch_size: int, role: str = "") -> np.ndarray:
        """Vectors of texts."""
        return self.encoder.encode_texts(texts, batch_size=batch_size)

    def pictures(self, pictures: Sequence[Image.Image], batch_size: int, role: str = "") -> np.ndarray:
        """Vectors of pictures."""
        return self.encoder.encode_pictures(pictures, batch_size=batch_size)

    def both(
        self, texts: Sequence[str], pictures: Sequence[Image.Image], batch_size: int, role: str = ""
    ) -> np.ndarray:
        """The sum of both, to unit length."""
        return _unit(self.texts(texts, batch_size) + self.pictures(pictures, batch_size))


class SentenceTransformerForms:
    """A sentence-transformers model; one that takes only text has no vector of a picture.

    Args:
        source: its folder or hub id.
        own_prompt: put the prompt that it has for queries before them.
        trust_remote_code: let it run Python that comes with it.
    """

    def __init__(self, source: str | Path, *, own_prompt: bool = True, trust_remote_code: bool = False) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise EvaluationError(
                f"{source}: is a sentence-transformers model; pip install 'moon2[peers]' to score it"
            ) from None
        try:
            self.model = SentenceTransformer(str(source), trust_remote_code=trust_remote_code)
        except Exception as error:  # whatever the libraries below it raise
            reason = " ".join(str(error).split())[:200]
            raise EvaluationError(
                f"{source}: cannot be loaded ({reason}); if it brings Python of its own that you trust, add "
                f"--trust_remote_code"
            ) from None
        self.name = str(source)
        self.own_prompt = own_prompt
        self.together = any(isinstance(form, tuple) and {"text", "image"} <= {*form} for form in self.model.modalities)

    def texts(self, texts: Sequence[str], batch_size: int, role: str = "") -> np.ndarray:
        """Vectors of texts."""
        return self._encode(list(texts), batch_size, role)

    def pictures(self, pictures: Sequence[Image.Image], batch_size: int, role: str = "") -> np.ndarray:
        """Vectors of pictures.

        Raises:
            EvaluationError: the model takes only text.
        """
        if "image" not in self.model.modalities:
            raise EvaluationError(f"{self.name}: embeds text only; give a model that takes pictures too")
        return self._encode(list(pictures), batch_size, role)

    def both(
        self, texts: Sequence[str], pictures: Sequence[Image.Image], batch_size: int, role: str = ""
    ) -> np.ndarray:
        """Both at once where the model can, else the normalised sum."""
        if not self.together:
            return _unit(self.texts(texts, batch_size, role) + self.pictures(pictures, batch_size, role))
        pairs = [{"text": text, "image": picture} for text, picture in zip(texts, pictures, strict=True)]
        return self._encode(pairs, batch_size, role)

    def _encode(self, inputs: list[Any], batch_size: int, role: str) -> np.ndarray:
        how: dict[str, Any] = {"batch_size": batch_size, "show_progress_bar": False, "normalize_embeddings": True}
        if role == "query":
            # None is the model's own; ours stands before the words already.
            vectors = self.model.encode_query(inputs, prompt=None if self.own_prompt else "", **how)
        elif role == "document":
            vectors = self.model.encode_document(inputs, **how)
        else:
            vectors = self.model.encode(inputs, **how)
        return np.asarray(vectors, np.float32)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)


def _kind(source: str | Path) -> str:
    if Path(source).is_dir():
        configs = [Path(source) / "config.json", Path(source) / "model" / "config.json"]
        modules = (Path(source) / "modules.json").is_file()
    else:
        found = _from_hub(source, "config.json")
        configs = [found] if found else []
        modules = _from_hub(source, "modules.json") is not None
        if not configs and not modules:
            raise EvaluationError(
                f"{source}: is no folder here, and on the hub no model can be found or reached by that name"
            )
    # First, because a moon2 encoder has a modules.json too.
    if any(_model_type(config) == "moon2" for config in configs):
        return "moon2"
    return "sentence-transformers" if modules else "dual"


def _model_type(config: Path) -> str:
    try:
        return str(json.loads(config.read_text()).get("model_type", "")) if config.is_file() else ""
    except (ValueError, AttributeError) as error:
        raise EvaluationError(f"{config}: is damaged ({error}); save or fetch the model again") from None


def _of_httpx(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] in ("httpx", "httpx2")


def _from_hub(source: str | Path, name: str) -> Path | None:
    """A file of a model on the hub, fetched or kept from before; None where the model has no such file."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

    try:
        return Path(hf_hub_download(str(source), name))
    except EntryNotFoundError:  # also when there is no network, and nothing was kept
        return None
    except Exception as error:
        # What the hub's library raises without a network is its HTTP library's own, httpx or httpx2 by its version.
        if not isinstance(error, HfHubHTTPError | HFValidationError | OSError) and not _of_httpx(error):
            raise
        reason = " ".join(str(error).split())[:160]
        raise EvaluationError(f"{source}: is no folder here, and the hub gives none ({reason})") from None
