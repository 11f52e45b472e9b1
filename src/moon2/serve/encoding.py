"""The encoder behind the server: items of requests to vectors, the same as in the library, and those of queries kept.

Images are opened by as many threads as there are cores, so that never more large ones are in memory; then all go
through `batching.py`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from moon2.encoders.protocol import EncoderAdapter, VectorEncoder
from moon2.errors import UserError
from moon2.images import open_image
from moon2.model.encoder import Encoder
from moon2.model.processor import ReadItem
from moon2.model.reference import LEAST_COSINE, read_reference, reference_items
from moon2.run_folder import find_model_folder
from moon2.serve.batching import Batcher, Prepared
from moon2.serve.metrics import Metrics
from moon2.serve.refusals import Refusal
from moon2.serve.settings import Limits
from moon2.vectors.item_embedder import BATCH_TOKENS
from moon2.views import View

Role = Literal["query", "document", ""]
WHOLE: tuple[View, ...] = ("mm",)
"""All that an item has, as in `Encoder.encode`."""
SHORT = 2_000
"""Characters that are tokenized on the event loop; what is longer would hold up other requests."""
IMAGE_TOKENS = 64
"""What an image counts in a batch of another library's encoder, whose tokens are not known."""


@dataclass(frozen=True)
class Asked:
    """An item to embed.

    Attributes:
        text: its words.
        images: files of images, as bytes.
        where: which part of the request it is, such as "input[3]".
        role: a query, a document, or neither; some encoders read them differently.
    """

    text: str
    images: tuple[bytes, ...] = ()
    where: str = "input"
    role: Role = ""


@dataclass(frozen=True)
class _AdapterItem:
    text: str
    image: Image.Image | None
    role: Role


@dataclass(frozen=True)
class Vectors:
    """What a request asked for: `matrix` is [n, D] float32 of unit length, `tokens` how many were read."""

    matrix: np.ndarray
    tokens: int


class EncodingService:
    """An encoder that serves many requests at once.

    Args:
        encoder: any.
        source: where it is; its reference vectors stand beside it.
        limits: of a request.
        metrics: are told of batches and of the cache.
        remembered: how many queries' vectors are kept.

    Attributes:
        names: by which requests may call it; the first is its own.
        dimension: D.
        dimensions: the lengths at which its vectors may be had, ascending.
    """

    def __init__(
        self, encoder: VectorEncoder, source: str | Path, limits: Limits, metrics: Metrics, remembered: int
    ) -> None:
        self.encoder, self._limits, self._metrics, self._remembered = encoder, limits, metrics, remembered
        self.names = model_names(source)
        if isinstance(encoder, Encoder):
            self.dimension, self.dimensions = encoder.dimension, encoder.dimensions
            tokens = BATCH_TOKENS.get(encoder.device.type, BATCH_TOKENS["cuda"])
        else:
            self.dimension = int(encoder.encode(["a"]).shape[1])
            self.dimensions, tokens = [self.dimension], BATCH_TOKENS["cpu"]
        compute = partial(_compute, encoder, self.dimension)
        self.batcher: Batcher[ReadItem | _AdapterItem] = Batcher(compute, tokens, limits.waiting, metrics.batch)
        self._threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)), "moon2-images")
        self._known: OrderedDict[bytes, tuple[np.ndarray, int]] = OrderedDict()
        folder = find_model_folder(source)
        self._reference = None if folder is None else read_reference(folder)

    def close(self) -> None:
        """Ends its threads, once what waits is done."""
        self.batcher.close()
        self._threads.shutdown()

    async def encode(self, items: Sequence[Asked], *, first: bool = False) -> Vectors:
        """The vectors of a request's items. That of a single one is kept: it is most likely a query.

        Raises:
            Refusal: an item cannot be embedded (422, `param` says which), or there is too much to do (429, 503).
        """
        self._check_limits(items)
        key = _key(items[0]) if len(items) == 1 and self._remembered and not first else None
        if key is not None:
            if known := self._known.get(key):
                self._known.move_to_end(key)
                self._metrics.cache_hits.inc()
                return Vectors(known[0][np.newaxis], known[1])
            self._metrics.cache_misses.inc()
        prepared = await self._prepare(items)
        try:
            matrix = await self.batcher.vectors(prepared, self._limits.seconds, first=first)
        except Refusal as refusal:
            if refusal.param is None:
                raise
            where = items[int(refusal.param)].where
            raise Refusal(refusal.status, f"{where}: {refusal.message}", where) from None
        tokens = sum(item.tokens for item in prepared)
        if key is not None:
            self._known[key] = matrix[0], tokens
            while len(self._known) > self._remembered:
                self._known.popitem(last=False)
        return Vectors(matrix, tokens)

    async def require_whole(self, items: Sequence[Asked]) -> None:
        """Checks that texts are read to their ends, which is not known of another library's encoder.

        Raises:
            Refusal: one is not, or there is too much in the request.
        """
        self._check_limits(items)
        if isinstance(self.encoder, Encoder):
            count, most = self.encoder.processor.token_count, self.encoder.processor.settings.max_text_tokens
            loop = asyncio.get_running_loop()
            counts = await asyncio.gather(*(loop.run_in_executor(self._threads, count, item.text) for item in items))
            for item, tokens in zip(items, counts, strict=True):
                if tokens > most:
                    raise Refusal(422, f"{item.where}: is longer than the encoder reads", item.where)

    async def problem(self) -> str | None:
        """Encodes the reference items as a request would; says what is wrong with the vectors, None if nothing."""
        takes_images = not isinstance(self.encoder, EncoderAdapter) or self.encoder.takes_images
        items = [
            Asked(text, () if image is None or not takes_images else (image,)) for text, image in reference_items()
        ]
        items = [item for item in items if item.text or item.images]
        try:
            vectors = (await self.encode(items, first=True)).matrix
        except Refusal as refusal:
            return refusal.message
        if np.abs(np.linalg.norm(vectors, axis=1) - 1).max() > 1e-2:
            return "its vectors are not of unit length"
        alike = [(0, 1)] + ([(2, 3)] if takes_images else [])
        if any(np.array_equal(vectors[first], vectors[second]) for first, second in alike):
            return "it gives two different items the same vector"
        if self._reference is not None:
            if self._reference.shape != vectors.shape:
                return "its vectors have another length than those saved with it"
            least = LEAST_COSINE[self._weights_type()]
            cosine = float((vectors * self._reference).sum(axis=1).min())
            if not cosine >= least:
                return f"its vectors are not those saved with it (cosine {cosine:.4f}, below {least})"
        return None

    def _weights_type(self) -> str:
        if not isinstance(self.encoder, Encoder):
            return "float32"
        return str(next(self.encoder.model.parameters()).dtype).removeprefix("torch.")

    def _check_limits(self, items: Sequence[Asked]) -> None:
        """Before anything is tokenized, which takes seconds for a very long text."""
        if len(items) > self._limits.items:
            raise Refusal(422, f"{len(items):,} items are more than {self._limits.items:,}; send several requests")
        for item in items:
            if (length := len(item.text)) > self._limits.characters:
                message = f"{item.where}: {length:,} characters are more than {self._limits.characters:,}"
                raise Refusal(422, message, item.where)

    async def _prepare(self, items: Sequence[Asked]) -> list[Prepared[ReadItem | _AdapterItem]]:
        if len(items) == 1 and not items[0].images and len(items[0].text) <= SHORT:
            return [self._prepared(items[0])]
        loop = asyncio.get_running_loop()
        parts = [items[start : start + 16] for start in range(0, len(items), 16)]
        found = await asyncio.gather(*(loop.run_in_executor(self._threads, self._prepare_part, part) for part in parts))
        return [item for part in found for item in part]

    def _prepare_part(self, items: Sequence[Asked]) -> list[Prepared[ReadItem | _AdapterItem]]:
        return [self._prepared(item) for item in items]

    def _prepared(self, asked: Asked) -> Prepared[ReadItem | _AdapterItem]:
        """Tokenized, its images opened and scaled.

        Raises:
            Refusal: there is nothing in it, or an image cannot be read.
        """
        try:
            if isinstance(self.encoder, Encoder):
                return self._prepared_own(self.encoder, asked)
            assert isinstance(self.encoder, EncoderAdapter)
            return self._prepared_other(self.encoder, asked)
        except UserError as error:
            message = str(error).removeprefix("item: ")
            raise Refusal(422, f"{asked.where}: {message}", asked.where) from None

    def _prepared_own(self, encoder: Encoder, asked: Asked) -> Prepared[ReadItem | _AdapterItem]:
        processor, views = encoder.processor, WHOLE
        item = processor.item({"text": asked.text, "image": list(asked.images)}, views=views)
        read = processor.read([item])[0]
        joint, text = encoder.model.joint_rows(views), encoder.model.text_rows(views)
        return Prepared(processor.tokens(read, joint=joint, text=text), read)

    def _prepared_other(self, encoder: EncoderAdapter, asked: Asked) -> Prepared[ReadItem | _AdapterItem]:
        text = asked.text.strip()
        if text and asked.role == "query":
            text = f"{encoder.prompt}{text}"
        image = None
        if asked.images and encoder.takes_images:
            image = open_image(asked.images[0], "image", encoder.reading_size)
        if not text and image is None:
            raise Refusal(422, f"{asked.where}: has nothing that this encoder can embed", asked.where)
        tokens = len(text) // 4 + 1 + (IMAGE_TOKENS if image is not None else 0)
        return Prepared(tokens, _AdapterItem(text, image, asked.role))


def _compute(encoder: VectorEncoder, dimension: int, works: list[ReadItem | _AdapterItem]) -> np.ndarray:
    """[n, D] float32 of a batch.

    No method: the service, its batcher and this would hold each other, and an encoder that was exchanged would stay.
    """
    if isinstance(encoder, Encoder):
        model, views = encoder.model, WHOLE
        own = [work for work in works if isinstance(work, ReadItem)]
        joint, text = model.joint_rows(views), model.text_rows(views)
        batch = encoder.processor.pack(own, joint=joint, text=text).to(encoder.device)
        return encoder.embed_batch(batch, views)["mm"]
    assert isinstance(encoder, EncoderAdapter)
    vectors = np.full((len(works), dimension), np.nan, np.float32)
    groups: dict[tuple[bool, bool, Role], list[int]] = {}
    others = [work for work in works if isinstance(work, _AdapterItem)]
    for row, work in enumerate(others):
        groups.setdefault((bool(work.text), work.image is not None, work.role), []).append(row)
    for (has_text, has_image, role), rows in groups.items():
        texts = [others[row].text for row in rows]
        images = [image for row in rows if (image := others[row].image) is not None]
        if has_text and has_image:
            vectors[rows] = encoder.embed_pairs(texts, images, role=role)
        elif has_text:
            vectors[rows] = encoder.embed_texts(texts, role=role)
        else:
            vectors[rows] = encoder.embed_images(images, role=role)
    return vectors


def model_names(source: str | Path) -> list[str]:
    """By which a request may call an encoder: its run's or folder's name, and where it is."""
    path = named_path(source)
    return [path.parent.name if path.name == "model" else path.name, str(source)]


def named_path(source: str | Path) -> Path:
    """A path that ends in a name, also where "." or ".." was given; an address as it is."""
    # A link keeps the name that it was given, so `resolve` is not used.
    return Path(os.path.abspath(source) if os.path.exists(source) else source)


def _key(asked: Asked) -> bytes:
    digest = hashlib.blake2b(f"{asked.role}\0{asked.text}".encode("utf-8", "surrogatepass"), digest_size=16)
    for image in asked.images:
        digest.update(hashlib.blake2b(image, digest_size=16).digest())
    return digest.digest()
