"""What a run starts from: a dense backbone, which is upcycled, or a trained encoder, which goes on learning.

A trained encoder brings its weights, experts and W*, tokenizer and image processor, and the fields of a product that it
reads. How much it reads of an item, how its weights are held and how it is trained are the new recipe's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import torch

from moon2.model.encoder import Encoder
from moon2.model.encoder_folder import class_path, read_encoder_config, read_origin
from moon2.model.moon_model import MoonModel
from moon2.recipe import BackboneSettings, ExpertSettings, InputSettings, Recipe, RecipeError, TinySettings
from moon2.run_folder import RunFolder
from moon2.train.teacher import Teacher

Settings = BackboneSettings | TinySettings | ExpertSettings | InputSettings


def complete_recipe(recipe: Recipe, network: type[MoonModel]) -> Recipe:
    """The recipe with `backbone`, `experts` and `input.fields` of the encoder that it starts from, if it names one.

    A setting of theirs that is left at its default counts as not given. `backbone.dtype` stays the recipe's own.

    Raises:
        RecipeError: a setting contradicts the encoder, or the encoder is one of another trainer, or an adapter.
        EncoderError, RunError: there is no encoder.
    """
    source = recipe.init
    if source is None:
        return recipe
    if Path(source).is_dir():
        if (Path(source) / "adapter_config.json").is_file() and not (Path(source) / "config.json").is_file():
            raise RecipeError(f"init {source}: holds an adapter, no encoder; give the encoder it was merged into")
        RunFolder(source).require_model()
    _, config = read_encoder_config(source)
    if config.get("network") != class_path(network):
        raise RecipeError(
            f"init {source}: its network is {config.get('network')}, and this trains {class_path(network)}; go on with "
            "the trainer that made it"
        )
    experts, backbone = ExpertSettings(**config["experts"]), read_origin(config)
    _require_equal("experts", recipe.experts, experts, source)
    if backbone is None:
        backbone = replace(recipe.backbone, pooling=config["pooling"])
    backbone = replace(backbone, dtype=recipe.backbone.dtype)
    _require_equal("backbone", recipe.backbone, backbone, source)
    inputs = replace(recipe.input, fields=config["input"]["fields"])
    _require_equal("input", recipe.input, inputs, source)
    return replace(recipe, backbone=backbone, experts=experts, input=inputs)


def new_encoder(recipe: Recipe, texts: Iterable[str], network: type[MoonModel]) -> Encoder:
    """The encoder at step 0; see `Encoder.from_recipe`.

    Raises:
        BackboneError, EncoderError: what the recipe starts from cannot be loaded.
    """
    if recipe.init is None:
        return Encoder.from_recipe(recipe, texts, network)
    torch.manual_seed(recipe.training.seed)
    encoder = Encoder.from_pretrained(recipe.init, "cpu", network, inputs=recipe.input, dtype=recipe.backbone.dtype)
    encoder.mixed_precision = recipe.training.bf16
    return encoder


def fingerprint(recipe: Recipe, teacher: Teacher | None = None) -> Iterator[str]:
    """Hashes of the encoder that a run starts from, and of its teacher, so that it never goes on with others."""
    yield from teacher.identities if teacher else ()
    if recipe.init is not None:
        for path in sorted(read_encoder_config(recipe.init)[0].glob("*.safetensors")):
            with path.open("rb") as file:
                yield hashlib.file_digest(file, "sha256").hexdigest()


def _require_equal(section: str, given: Settings, own: Settings, source: str) -> None:
    """Refuses settings that are neither their default nor the encoder's own.

    Raises:
        RecipeError: names the first of them.
    """
    for field in fields(own):
        value, saved = getattr(given, field.name), getattr(own, field.name)
        if isinstance(saved, TinySettings):
            _require_equal(f"{section}.{field.name}", value, saved, source)
        elif value not in (getattr(type(given)(), field.name), saved):
            raise RecipeError(
                f"{section}.{field.name} is {value!r}, but the encoder {source} was made with {saved!r}; leave it "
                "out, or train without --init"
            )
