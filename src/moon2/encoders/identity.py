"""Which encoder made a vector: a hash of the files that decide it. Vectors of two encoders cannot be compared."""

from __future__ import annotations

import hashlib
from fnmatch import fnmatch
from pathlib import Path

from moon2.encoders.load import model_kind
from moon2.model.errors import EncoderError
from moon2.model.hub import fetch_model
from moon2.run_folder import find_model_folder

_CHUNK = 2**22
_SAYS_NOTHING = (".md", ".html", ".png", ".jpg", ".parquet", ".gitattributes", "fusion.json", "reference.json")
"""A model card, how a search weighs words, or a rounded vector may change without a change to the encoder."""
_FIGURES = "evaluation*.json"
"""`moon2 evaluate` writes them into the folder that it is given, which may be the encoder's own."""


def encoder_identity(source: str | Path) -> str:
    """A hash of an encoder's weights, settings, tokenizer and image processor; 32 hexadecimal digits.

    Equal for a copy of its folder, and for the run that holds it; another after any training.

    Args:
        source: as `load_encoder` takes it; a model on the hub is downloaded, or known from before.

    Raises:
        EncoderError: there is no such encoder.
    """
    model_kind(source)  # says what is wrong with a folder that is none
    folder = find_model_folder(source) or Path(source)
    if not folder.is_dir():
        folder = fetch_model(source)
    if not any((folder / name).is_file() for name in ("config.json", "modules.json")):
        raise EncoderError(f"{source}: holds no encoder; give the folder of a model or of a run")
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name.startswith(".") or name.endswith(_SAYS_NOTHING) or fnmatch(name, _FIGURES):
            continue
        digest.update(f"{name} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
