"""`Encoder`: what people use. Records in, unit vectors out; one folder on disk.

A saved encoder is a folder with `config.json`, `model.safetensors` (sharded when large), the tokenizer's and the image
processor's own files and a model card `README.md`. Loading it gives the same vectors bit for bit.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import load_torch_model, save_torch_state_dict, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from numpy.typing import NDArray
from PIL import Image
from tqdm.auto import tqdm
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.initialization import no_init_weights

from moon2.errors import UserError
from moon2.model.backbone import build_backbone
from moon2.model.families import family_of
from moon2.model.moon_model import VIEWS, MoonModel
from moon2.model.processor import Item, Processor
from moon2.recipe import ExpertSettings, InputSettings, Recipe
from moon2.records import Product, Query

Vectors = NDArray[np.float32]


class EncoderError(UserError):
    """An encoder cannot be loaded, or cannot embed an item; the message says which, why, and what to do."""


class Encoder:
    """Embeds text, pictures, or both into one space.

    Vectors are float32 of length one, so a dot product is a cosine similarity.
    """

    def __init__(self, model: MoonModel, processor: Processor, card: str = "") -> None:
        self.model = model
        self.processor = processor
        self.card = card

    @property
    def dimension(self) -> int:
        """Length D of a vector."""
        return self.model.dimension

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.dual_alignment.device

    @classmethod
    def from_recipe(cls, recipe: Recipe, texts: Iterable[str]) -> Encoder:
        """A new encoder, upcycled and not yet trained; `texts` train the tokenizer of the `tiny` backbone.

        Raises:
            BackboneError: the recipe's backbone cannot be had.
        """
        torch.manual_seed(recipe.training.seed)
        backbone = build_backbone(recipe.backbone, recipe.input, texts)
        processor = Processor(
            backbone.tokenizer, backbone.image_processor, backbone.family, backbone.model.config, recipe.input
        )
        how = recipe.backbone.fusion, recipe.backbone.pooling
        return cls(MoonModel(backbone.model, backbone.family, recipe.experts, *how), processor)

    @classmethod
    def from_pretrained(cls, source: str | Path, device: str | torch.device | None = None) -> Encoder:
        """Loads a saved encoder.

        Args:
            source: its folder, the folder of a run that holds it as `model`, or a hub id.
            device: where to put it; the GPU when there is one, else the CPU.

        Raises:
            EncoderError: there is none, or the folder is something else or incomplete.
        """
        folder = _folder(source)
        try:
            settings = json.loads((folder / "config.json").read_text())
        except ValueError as error:
            raise EncoderError(f"{source}: its config.json is damaged ({error}); save it again") from None
        if settings.get("model_type") != "moon2":
            kind = settings.get("model_type", "nothing known")
            raise EncoderError(
                f"{source}: holds a model of type {kind!r}, not a moon2 encoder; train one from it first"
            )
        try:
            return cls._load(folder, settings, device or ("cuda" if torch.cuda.is_available() else "cpu"))
        # Exception itself, because that is what the libraries for weights and tokenizers raise at a damaged file.
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise EncoderError(f"{source}: incomplete or damaged ({reason}); save it again") from error

    @classmethod
    def _load(cls, folder: Path, settings: dict[str, Any], device: str | torch.device) -> Encoder:
        described = dict(settings["backbone"])
        config = AutoConfig.for_model(described.pop("model_type"), **described)
        family = family_of(config, folder)
        inputs = InputSettings(**settings["input"])
        with no_init_weights():
            backbone = AutoModel.from_config(config, dtype=getattr(torch, settings["dtype"]))
            how = settings.get("fusion", "early"), settings.get("pooling", "tokens")
            model = MoonModel(backbone, family, ExpertSettings(**settings["experts"]), *how)
        load_torch_model(model, folder, strict=True, safe=True)
        family.prepare(model.backbone)
        tokenizer = AutoTokenizer.from_pretrained(folder, config=config)
        image_processor = family.image_processor(folder, config, inputs.max_pixels)
        card = (folder / "README.md").read_text() if (folder / "README.md").exists() else ""
        model.to(device).eval()
        return cls(model, Processor(tokenizer, image_processor, family, config, inputs), card)

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes the encoder as one folder that `from_pretrained` reads back bit for bit."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        config: Any = self.model.backbone.config
        dtype = str(next(self.model.backbone.parameters()).dtype).removeprefix("torch.")
        settings = {
            "model_type": "moon2",
            "moon2_version": version("moon2"),
            "dtype": dtype,
            "experts": asdict(self.model.settings),
            "fusion": self.model.fusion,
            "pooling": self.model.pooling,
            "input": asdict(self.processor.settings),
            "backbone": config.to_dict(),
        }
        self.processor.tokenizer.save_pretrained(target)
        self.processor.image_processor.save_pretrained(target)
        (target / "README.md").write_text(self.card or "---\nlibrary_name: moon2\n---\n\nA moon2 encoder.\n")
        save_torch_state_dict(self.model.state_dict(), target)
        # By this sentence-transformers finds the class that wraps the folder for it.
        module = {"idx": 0, "name": "0", "path": "", "type": "moon2.encoders.sentence_transformers.MoonModule"}
        (target / "modules.json").write_text(json.dumps([module], indent=1))
        # Last, because a folder with a config is taken for a whole encoder.
        (target / "config.json").write_text(json.dumps(settings, indent=1, sort_keys=True, default=str))

    def encode(
        self,
        items: Iterable[Any] | Any,
        *,
        view: str | None = None,
        batch_size: int = 64,
        show_progress: bool = False,
        skip_bad: bool = False,
    ) -> Vectors:
        """Embeds strings, PIL images, paths (`pathlib.Path`), `Product`s, `Query`s, and mixtures of them.

        Args:
            items: any iterable of them, or a single one (which gives one row).
            view: None embeds all that an item has; "t" only its text, "i" only its pictures, "mm" both.
            batch_size: items a pass; items of like length are put together.
            show_progress: a progress bar.
            skip_bad: an item that cannot be embedded gives a row of NaN and a warning instead of the error.

        Returns:
            [n, D] float32 of unit length, in the order of `items`.

        Raises:
            EncoderError: an item cannot be embedded; names the first that was met, and why.
        """
        if view is not None and view not in VIEWS:
            raise EncoderError(f"view is {view!r}; it must be one of {', '.join(VIEWS)}, or None for all an item has")
        single = isinstance(items, (str, Path, Image.Image, Product, Query, Item)) or not isinstance(items, Iterable)
        return self._encode([items] if single else list(items), (view or "mm",), batch_size, show_progress, skip_bad)[
            view or "mm"
        ]

    def encode_views(
        self,
        products: Sequence[Product],
        views: Collection[str] = VIEWS,
        *,
        batch_size: int = 64,
        show_progress: bool = False,
        skip_bad: bool = False,
    ) -> dict[str, Vectors]:
        """Embeds each product in several views at once, in two passes instead of three.

        Returns:
            Per view [n, D] float32 of unit length; rows of products that lack the view are NaN.
        """
        return self._encode(products, tuple(views), batch_size, show_progress, skip_bad, lacking_is_bad=False)

    def _encode(
        self,
        records: Sequence[Any],
        views: tuple[str, ...],
        batch_size: int,
        show_progress: bool,
        skip_bad: bool,
        lacking_is_bad: bool = True,
    ) -> dict[str, Vectors]:
        result = {view: np.full((len(records), self.dimension), np.nan, dtype=np.float32) for view in views}
        bad: list[str] = []
        # Long items together: a batch is padded to its longest. Pictures are opened batch by batch, so memory does
        # not grow with the number of items.
        order = sorted(range(len(records)), key=lambda index: _length(records[index]))
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode(), tqdm(total=len(records), unit="item", disable=not show_progress) as bar:
                for start in range(0, len(order), batch_size):
                    places = order[start : start + batch_size]
                    rows, items = self._read(records, places, views, lacking_is_bad, bad)
                    if bad and not skip_bad:
                        raise EncoderError(f"{bad[0]}; mend or leave it out, or pass skip_bad=True for a row of NaN")
                    if rows:
                        self._fill(result, rows, items, views)
                    bar.update(len(places))
        finally:
            self.model.train(was_training)
        for line in bad:
            tqdm.write(f"moon2: set aside {line}", file=sys.stderr)
        return result

    def _read(
        self, records: Sequence[Any], places: list[int], views: tuple[str, ...], lacking_is_bad: bool, bad: list[str]
    ) -> tuple[list[int], list[Item]]:
        """What can be embedded of the records at `places`, and where; a line in `bad` for each that cannot."""
        rows, items = [], []
        for row in places:
            try:
                item = self.processor.item(records[row], views=views)
                if lacking_is_bad and not (item.text or item.images):
                    what = "text" if views == ("t",) else "picture"
                    raise ValueError(f"it has no {what}, and view {views[0]!r} was asked for")
            except (ValueError, TypeError) as error:
                bad.append(f"item {row}: {error}")
                continue
            if item.text or item.images:
                rows.append(row)
                items.append(item)
        return rows, items

    def _fill(self, result: dict[str, Vectors], rows: list[int], items: list[Item], views: tuple[str, ...]) -> None:
        text = self.model.needs_text_pass(views)
        batch = self.processor.batch(items, joint=views != ("t",), text=text).to(self.device)
        found = self.model(batch, views)
        for view in views:
            valid = found.valid[view].cpu().numpy()
            result[view][np.asarray(rows)[valid]] = found.vectors[view].float().cpu().numpy()[valid]


def _length(record: Any) -> tuple[int, int]:
    if isinstance(record, str):
        return 0, len(record)
    text = getattr(record, "title", None) or getattr(record, "text", None) or ""
    images = getattr(record, "images", None)
    return (1 if images is None else len(images)), len(text)


def _folder(source: str | Path) -> Path:
    folder = Path(source)
    for candidate in (folder, folder / "model"):
        if (candidate / "config.json").exists():
            return candidate
    if folder.exists():
        raise EncoderError(
            f"{source}: holds no encoder (no config.json); give the folder that training wrote as RUN/model"
        )
    try:
        return Path(snapshot_download(str(source)))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise EncoderError(f"{source}: is no folder here, and the hub gives none ({reason})") from None
