"""What a saved encoder's folder says of it, and where the folder is."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from moon2.model.errors import EncoderError
from moon2.model.hub import fetch_model
from moon2.model.moon_model import MoonModel
from moon2.recipe import BackboneSettings, TinySettings
from moon2.run_folder import find_model_folder


def network_of(model: MoonModel) -> type[MoonModel]:
    """The class of a network; sharded weights give it one of FSDP's own, derived from it."""
    return next(kind for kind in type(model).__mro__ if not kind.__module__.startswith("torch."))


def class_path(kind: type) -> str:
    """How a saved encoder names the class of its network."""
    return f"{kind.__module__}.{kind.__qualname__}"


def network_config(model: MoonModel) -> dict[str, object]:
    """What a saved encoder's config.json says of its network."""
    return {
        "model_type": "moon2",
        "moon2_version": version("moon2"),
        "network": class_path(network_of(model)),
        "dtype": str(next(model.backbone.parameters()).dtype).removeprefix("torch."),
        "experts": asdict(model.settings),
        "pooling": model.pooling,
        "backbone": model.backbone.config.to_dict(),
    }


def read_encoder_config(source: str | Path) -> tuple[Path, dict[str, Any]]:
    """Where a saved encoder is on this machine, and what its config.json says.

    Raises:
        EncoderError: there is none, or the folder holds something else.
    """
    folder = _local_folder(source)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise EncoderError(f"{source}: its config.json is damaged ({error}); save it again") from None
    if config.get("model_type") != "moon2":
        kind = config.get("model_type", "nothing known")
        raise EncoderError(f"{source}: holds a model of type {kind!r}, not a moon2 encoder; train one from it first")
    return folder, config


def weights_dtype(config: dict[str, Any], device: torch.device) -> str:
    """The number format in which a saved encoder's weights are held, "float32" or "bfloat16".

    As they were saved; on a GPU bfloat16 where training computed in it. By its data sheet an H100 has 67 TFLOP/s in
    float32 and 989 in bfloat16; most CPUs are slower in bfloat16.
    """
    return "bfloat16" if device.type == "cuda" and config["mixed_precision"] else config["dtype"]


def read_origin(config: dict[str, Any]) -> BackboneSettings | None:
    """The settings by which a saved encoder's backbone was had, where they are known."""
    origin = config.get("origin")
    return origin and BackboneSettings(**{**origin, "tiny": TinySettings(**origin["tiny"])})


def _local_folder(source: str | Path) -> Path:
    folder = find_model_folder(source)
    if folder is not None:
        return folder
    if Path(source).exists():
        raise EncoderError(
            f"{source}: holds no encoder (no config.json); give the folder that training wrote as RUN/model"
        )
    return fetch_model(source)
