"""`Encoder`: what people use. Items in, unit vectors out; one folder on disk.

A saved encoder is a folder with `config.json`, `model.safetensors` (sharded when large), the tokenizer's and the image
processor's own files and a model card `README.md`. Loading it gives the same vectors bit for bit.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from huggingface_hub import load_torch_model, save_torch_state_dict
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.initialization import no_init_weights

from moon2.errors import UserError, one_line
from moon2.files import files_replaced
from moon2.model.backbone import build_backbone
from moon2.model.encoder_folder import class_path, network_config, read_encoder_config, read_origin, weights_dtype
from moon2.model.errors import EncoderError
from moon2.model.families import family_of
from moon2.model.finite import first_not_finite
from moon2.model.hub import push_folder
from moon2.model.item_batch import ItemBatch
from moon2.model.item_checks import require_items
from moon2.model.items import Item, ItemSource, item_length
from moon2.model.lora import merged
from moon2.model.moon_model import MoonModel
from moon2.model.processor import Processor
from moon2.model.reference import write_reference
from moon2.objective.matryoshka import shortened
from moon2.progress import progress_bar
from moon2.recipe import BackboneSettings, ExpertSettings, InputSettings, Recipe
from moon2.records import Product
from moon2.views import VIEWS, View

if hasattr(os, "register_at_fork"):
    # A process that is forked has none of its parent's threads, and OpenMP waits for them forever. It needs none with
    # one thread, which is also what suits a pool of such processes.
    os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))

Vectors = NDArray[np.float32]
logger = logging.getLogger(__name__)


class Encoder:
    """Embeds text, images, or both into one space.

    Vectors are float32 of length one, so a dot product is a cosine similarity. Threads may share an encoder.

    >>> encoder = Encoder.from_pretrained("runs/shop")
    >>> queries = encoder.encode_query(["navy shirt", {"text": "in red", "image": "photo.jpg"}])
    >>> products = encoder.encode_document([Product(id="1", title="Navy shirt", images=["1.jpg"])])
    >>> encoder.similarity(queries, products).shape
    (2, 1)
    """

    def __init__(
        self,
        model: MoonModel,
        processor: Processor,
        card: str = "",
        origin: BackboneSettings | None = None,
        dimensions: Sequence[int] = (),
        *,
        mixed_precision: bool = False,
    ) -> None:
        self.model = model.eval()
        self.processor = processor
        self.card = card
        # By which settings the backbone was had; a run that starts from this encoder is checked against them.
        self.origin = origin
        # The lengths at which its vectors were trained, ascending; the full one is the last.
        self.dimensions = [*dimensions] or [self.dimension]
        # Whether it was trained by bfloat16 arithmetic; on a GPU its weights are then held so (`weights_dtype`).
        self.mixed_precision = mixed_precision
        self._warned: set[int] = set()

    @property
    def dimension(self) -> int:
        """Length D of a vector."""
        return self.model.dimension

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.dual_alignment.device

    @classmethod
    def from_recipe(cls, recipe: Recipe, texts: Iterable[str], network: type[MoonModel] = MoonModel) -> Encoder:
        """A new encoder, upcycled and not yet trained.

        Args:
            recipe: backbone, experts, input, and the seed of the weights.
            texts: the tokenizer of the `tiny` backbone is trained on them.
            network: the class of the network; a peer to compare with gives its own.

        Raises:
            BackboneError: the recipe's backbone cannot be loaded.
        """
        torch.manual_seed(recipe.training.seed)
        backbone = build_backbone(recipe.backbone, recipe.input, texts)
        processor = Processor(
            backbone.tokenizer, backbone.image_processor, backbone.family, backbone.model.config, recipe.input
        )
        model = network(backbone.model, backbone.family, recipe.experts, recipe.backbone.pooling)
        return cls(model, processor, origin=recipe.backbone, mixed_precision=recipe.training.bf16)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        device: str | torch.device | None = None,
        network: type[MoonModel] = MoonModel,
        *,
        inputs: InputSettings | None = None,
        dtype: Literal["float32", "bfloat16"] | None = None,
    ) -> Encoder:
        """Loads a saved encoder.

        Args:
            source: its folder, the folder of a run that holds it as `model`, or a hub id.
            device: where to put it; the GPU when there is one, else the CPU.
            network: the class of its network; `moon2.encoders.load.load_encoder` finds that of any saved encoder.
            inputs: what it shall read of an item; as it was trained when not given.
            dtype: number format to hold the weights in; when not given as they were saved, but bfloat16 on a GPU where
                training computed so. Who saves it again from there gives "float32", to lose nothing.

        Raises:
            EncoderError: there is none, the folder is something else or incomplete, or a weight is not finite.
        """
        folder, config = read_encoder_config(source)
        if inputs is not None:
            config["input"] = asdict(inputs)
        if config.get("network") != class_path(network):
            raise EncoderError(
                f"{source}: its network is {config.get('network')}; open it with moon2.encoders.load.load_encoder"
            )
        try:
            device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
            config["dtype"] = dtype or weights_dtype(config, device)
            return cls._load(folder, config, device, network)
        except EncoderError:
            raise
        except Exception as error:  # what the libraries for weights and tokenizers raise at a damaged file
            reason = one_line(error)
            raise EncoderError(f"{source}: incomplete or damaged ({reason}); save it again") from error

    @classmethod
    def _load(cls, folder: Path, config: dict[str, Any], device: torch.device, network: type[MoonModel]) -> Encoder:
        described = dict(config["backbone"])
        family = family_of(described["model_type"], folder)
        backbone_config: Any = AutoConfig.for_model(described.pop("model_type"), **described)
        inputs = InputSettings(**config["input"])
        with no_init_weights():
            backbone = AutoModel.from_config(backbone_config, dtype=getattr(torch, config["dtype"]))
            model = network(backbone, family, ExpertSettings(**config["experts"]), config["pooling"])
        load_torch_model(model, folder, strict=True, safe=True)
        if bad := first_not_finite(model.named_parameters()):
            raise EncoderError(
                f"{folder}: weight {bad} is NaN or infinite, so every vector would be; its training diverged: train it "
                f"again with a lower training.learning_rate"
            )
        family.prepare(model.backbone)
        tokenizer = AutoTokenizer.from_pretrained(folder, config=backbone_config)
        image_processor = family.image_processor(folder, backbone_config, inputs.max_pixels)
        card = folder / "README.md"
        processor = Processor(tokenizer, image_processor, family, backbone_config, inputs)
        text = card.read_text(encoding="utf-8") if card.exists() else ""
        lengths, is_mixed = config.get("matryoshka_dimensions", ()), config["mixed_precision"]
        return cls(model.to(device), processor, text, read_origin(config), lengths, mixed_precision=is_mixed)

    def save_pretrained(self, folder: str | Path, weights: dict[str, Tensor] | None = None) -> None:
        """Writes the encoder as one folder that `from_pretrained` reads back bit for bit; LoRA's adapters merged.

        Args:
            folder: made if it is not there.
            weights: in the place of the network's own, such as those gathered from several devices.

        Raises:
            EncoderError: a weight is NaN or infinite; nothing is written.
            OSError, SafetensorError: it cannot be written, as on a full disk; what the folder held stays.
        """
        state = weights or self.model.state_dict()
        if bad := first_not_finite(state.items()):
            raise EncoderError(f"{folder}: not saved, because weight {bad} is NaN or infinite; lower the learning rate")
        config = network_config(self.model) | {
            "mixed_precision": self.mixed_precision,
            "origin": asdict(self.origin) if self.origin is not None else None,
            "input": asdict(self.processor.settings),
        }
        if len(self.dimensions) > 1:
            # The names by which other libraries know that vectors may be cut, and to what.
            config |= {"is_matryoshka": True, "matryoshka_dimensions": self.dimensions}
        with files_replaced(Path(folder), last="config.json", stale="model*.safetensors*") as target:
            self.processor.tokenizer.save_pretrained(target)
            self.processor.image_processor.save_pretrained(target)
            card = "---\nlibrary_name: moon2\n---\n\nA moon2 encoder.\n"
            (target / "README.md").write_text(self.card or card, encoding="utf-8")
            save_torch_state_dict(merged(self.model, state), target)
            # By this sentence-transformers finds the class that wraps the folder for it.
            modules = [{"idx": 0, "name": "0", "path": "", "type": "moon2.encoders.sentence_module.MoonModule"}]
            (target / "modules.json").write_text(json.dumps(modules, indent=1))
            if weights is None:  # gathered weights come from a network that is spread over devices
                write_reference(target, self.model, self.encode)
            # Last, because a folder with a config is taken for a whole encoder.
            (target / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True, default=str))

    def push_to_hub(self, name: str, *, private: bool = True, revision: str | None = None) -> str:
        """Uploads the encoder and its model card to the hub, such as "organisation/model"; `moon2 push` adds figures.

        Args:
            name, private, revision: as of `moon2.model.hub.push_folder`.

        Raises:
            EncoderError: the hub cannot be reached, or does not allow it.
        """
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return push_folder(Path(folder), name, private=private, revision=revision)

    def encode(
        self,
        items: Iterable[ItemSource] | ItemSource,
        *,
        view: View | None = None,
        dimension: int | None = None,
        batch_size: int = 64,
        show_progress: bool = False,
        skip_bad: bool = False,
    ) -> Vectors:
        """Embeds text, images, dictionaries of both, `Product`s, `Query`s, and mixtures of them.

        Args:
            items: an iterable of them (see `moon2.model.items.ItemSource`), or a single one, which gives one row.
            view: None embeds all that an item has; "t" only its text, "i" only its images, "mm" both.
            dimension: vectors cut to this length; best one of `dimensions`, which were trained. D when not given.
            batch_size: items in a forward pass; items of similar length are put together.
            show_progress: a progress bar.
            skip_bad: an item that cannot be embedded gives a row of NaN and a warning instead of the error.

        Returns:
            [n, dimension] float32 of unit length, in the order of `items`.

        Raises:
            EncoderError: an item cannot be embedded; names one, and why. Or `dimension` is not 1 to D.
        """
        wanted: View = "mm" if view is None else view
        return self._encode(items, (wanted,), dimension, batch_size, show_progress, skip_bad)[wanted]

    @property
    def fields(self) -> Sequence[str]:
        """What it reads of a product as its text, by `input.fields` of the recipe it was trained by."""
        return self.processor.settings.fields

    def product_text(self, product: Product) -> str:
        """Those fields as one text; see `moon2.model.product_text`.

        As plain text, such as to sentence-transformers, it gives the same vector as the product does.
        """
        return self.processor.product_text(product)

    def encode_query(self, queries: Iterable[ItemSource] | ItemSource, **options: Any) -> Vectors:
        """Embeds queries; the same as `encode`, under the name that sentence-transformers gives it."""
        return self.encode(queries, **options)

    def encode_document(self, documents: Iterable[ItemSource] | ItemSource, **options: Any) -> Vectors:
        """Embeds products; the same as `encode`, under the name that sentence-transformers gives it."""
        return self.encode(documents, **options)

    def similarity(self, first: Vectors, second: Vectors) -> Vectors:
        """Cosine similarities: [n, D] and [m, D] of unit length → [n, m] float32."""
        return np.atleast_2d(first) @ np.atleast_2d(second).T

    def encode_views(
        self,
        products: Iterable[ItemSource] | ItemSource,
        views: Collection[View] = VIEWS,
        *,
        dimension: int | None = None,
        batch_size: int = 64,
        show_progress: bool = False,
        skip_bad: bool = False,
    ) -> dict[View, Vectors]:
        """Embeds each product in several views at once, in two passes instead of three; see `encode`.

        Returns:
            Per view [n, dimension] float32 of unit length; rows of products that lack the view are NaN.

        Raises:
            EncoderError: a product cannot be embedded in any view, or `dimension` is not 1 to D.
        """
        wanted = tuple(views)
        return self._encode(products, wanted, dimension, batch_size, show_progress, skip_bad, lacking_is_bad=False)

    def _encode(
        self,
        items: Iterable[ItemSource] | ItemSource,
        views: tuple[View, ...],
        dimension: int | None,
        batch_size: int,
        show_progress: bool,
        skip_bad: bool,
        lacking_is_bad: bool = True,
    ) -> dict[View, Vectors]:
        sources = require_items(items, views, batch_size)
        length = self.dimension if dimension is None else self._known_length(dimension)
        vectors = {view: np.full((len(sources), length), np.nan, dtype=np.float32) for view in views}
        problems: list[str] = []
        # Items of similar length together. Images are opened batch by batch, so memory does not grow with the number of
        # items.
        order = sorted(range(len(sources)), key=lambda index: item_length(sources[index], self.processor.settings))
        with torch.no_grad(), progress_bar(total=len(sources), unit="items", disable=not show_progress) as bar:
            for start in range(0, len(order), batch_size):
                batch = order[start : start + batch_size]
                rows, opened = self._open(sources, batch, views, lacking_is_bad, problems)
                if problems and not skip_bad:
                    raise EncoderError(f"{problems[0]}; fix or leave it out, or pass skip_bad=True for a row of NaN")
                if rows:
                    self._embed(vectors, rows, opened, views)
                bar.update(len(batch))
        for problem in problems:
            logger.warning("set aside %s", problem)
        return vectors

    def _known_length(self, dimension: int) -> int:
        """A length to cut to, unless vectors are not that long; warns once of one that was not trained."""
        if not isinstance(dimension, (int, np.integer)) or not 1 <= dimension <= self.dimension:
            raise EncoderError(f"dimension is {dimension}; it must be 1 to {self.dimension}, the length of the vectors")
        if dimension not in {*self.dimensions, *self._warned}:
            self._warned.add(dimension)
            logger.warning("vectors cut to %d find less; those of %s were trained", dimension, self.dimensions)
        return dimension

    def _open(
        self,
        sources: Sequence[ItemSource],
        rows: list[int],
        views: tuple[View, ...],
        lacking_is_bad: bool,
        problems: list[str],
    ) -> tuple[list[int], list[Item]]:
        """The rows that can be embedded, and their items; adds a line to `problems` for each other one."""
        usable, items = [], []
        for row in rows:
            try:
                item = self.processor.item(sources[row], views=views)
            except UserError as error:
                problems.append(f"item {row}: {error}")
                continue
            if item.text or item.images:
                usable.append(row)
                items.append(item)
            elif lacking_is_bad:
                lacking = "text" if views == ("t",) else "image"
                problems.append(f"item {row}: it has no {lacking}, and view {views[0]!r} was asked for")
        return usable, items

    def _embed(self, vectors: dict[View, Vectors], rows: list[int], items: list[Item], views: tuple[View, ...]) -> None:
        for view, matrix in self.embed_batch(self.item_batch(items, views), views).items():
            length = vectors[view].shape[1]
            vectors[view][np.asarray(rows)] = shortened(torch.from_numpy(matrix), length).numpy()

    def embed_batch(self, batch: ItemBatch, views: Collection[View]) -> dict[View, Vectors]:
        """One pass of the network: per view [n, D] float32 of unit length; rows of items that lack the view are NaN.

        Args:
            batch: of n items, on the network's device, such as `item_batch` makes.
            views: which; the batch has the rows that they need.
        """
        # Not `inference_mode`: sharded weights keep what they gather in their first pass, also for training.
        with torch.no_grad():
            result = self.model(batch, views)
            lacking = {view: ~result.has(view).unsqueeze(1) for view in views}
            return {view: result.vectors[view].masked_fill(lacking[view], np.nan).cpu().numpy() for view in views}

    def item_batch(self, items: Sequence[Item], views: Collection[View]) -> ItemBatch:
        """Items as the network wants them for these views, on its device."""
        packed = self.processor.batch(
            items,
            images=set(views) != {"t"},
            joint=self.model.joint_rows(views),
            text=self.model.text_rows(views),
        )
        return packed.to(self.device)
