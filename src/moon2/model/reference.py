"""Reference vectors, saved beside a model: whoever serves it can tell that it still computes what it was saved with.

A server with another image processor, another kernel or half a file of weights gives vectors too, only other ones. The
items are fixed and drawn here; their vectors are as the encoder gave them when it was saved.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn

REFERENCE = "reference.json"
FORMAT = 1
LEAST_COSINE = {"float32": 0.9999, "bfloat16": 0.98, "float16": 0.995}
"""With the saved vector, by the type of the weights; devices and kernels round differently."""


def reference_items() -> list[tuple[str, bytes | None]]:
    """Text, and image as the bytes of a PNG: two texts, two images, and both."""
    shirt, bag = _drawn("navy", "white"), _drawn("firebrick", "khaki")
    return [("navy cotton shirt", None), ("red leather handbag", None), ("", shirt), ("", bag), ("a red bag", bag)]


def write_reference(folder: Path, model: nn.Module, encode: Callable[[list[dict[str, Any]]], np.ndarray]) -> None:
    """Keeps what `encode` makes of `reference_items` by means of `model`, which may be in training."""
    is_training = model.training
    model.eval()
    # Blocks that training compiled for bfloat16 cannot take the float32 that the vectors are to be made in.
    with torch.compiler.set_stance("force_eager"):
        vectors = encode([{"text": text, "image": image} for text, image in reference_items()])
    model.train(is_training)
    rows = [base64.b64encode(vector.astype("<f4").tobytes()).decode() for vector in vectors]
    (folder / REFERENCE).write_text(json.dumps({"format": FORMAT, "vectors": rows}, indent=1))


def read_reference(folder: Path) -> np.ndarray | None:
    """[5, D] float32; None where the model was saved without, or by another version."""
    try:
        read = json.loads((folder / REFERENCE).read_text(encoding="utf-8"))
        if read["format"] != FORMAT:
            return None
        return np.stack([np.frombuffer(base64.b64decode(row), "<f4") for row in read["vectors"]])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _drawn(colour: str, line: str) -> bytes:
    image = Image.new("RGB", (64, 64), colour)
    draw = ImageDraw.Draw(image)
    draw.ellipse((12, 8, 52, 56), fill=line)
    draw.line((0, 0, 63, 63), fill=colour, width=5)
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return encoded.getvalue()
