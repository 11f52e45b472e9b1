"""What kind of model a folder or hub id holds, and that model as a `VectorEncoder`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Literal

from moon2.encoders.protocol import EncoderAdapter, VectorEncoder
from moon2.meant import did_you_mean_file
from moon2.model.encoder import Encoder
from moon2.model.errors import EncoderError
from moon2.model.hub import fetch_file
from moon2.model.moon_model import MoonModel
from moon2.recipe import InputSettings
from moon2.run_folder import RunError, RunFolder, find_model_folder

Kind = Literal["moon2", "sentence-transformers", "dual"]


def load_encoder(
    source: str | Path, *, prompt: str = "", fields: Sequence[str] = (), trust_remote_code: bool = False
) -> VectorEncoder:
    """Loads any model that embeds products; the files in it tell what kind it is.

    Args:
        source: a folder or hub id: of a moon2 encoder, run or saved peer, of a sentence-transformers model (it has a
            modules.json), or of a `transformers` checkpoint with a text and an image tower.
        prompt: put before every query's text; some text encoders are trained with one. When not given, the one that a
            sentence-transformers model brings with it. Not for moon2's own.
        fields: what of a product is read as its text, as in `input.fields`; its title when not given. moon2's own read
            what they were trained on.
        trust_remote_code: let a sentence-transformers model run Python that comes with it.

    Raises:
        EncoderError: it cannot be loaded, or is none of these; or it is moon2's own and reads other fields.
    """
    kind = model_kind(source)
    if kind == "moon2":
        own = load_own(source)
        read = own.processor.settings.fields
        if fields and [*fields] != read:
            raise EncoderError(f"{source}: was trained on the fields {', '.join(read)}; leave --fields out")
        return own
    encoder = _load_other(source, kind, prompt, trust_remote_code)
    if fields:
        encoder.inputs = InputSettings(fields=[*fields])
    return encoder


def _load_other(source: str | Path, kind: Kind, prompt: str, trust_remote_code: bool) -> EncoderAdapter:
    if kind == "dual":
        from moon2.encoders.dual import DualEncoder

        return DualEncoder.from_pretrained(source, prompt)
    try:
        from moon2.encoders.sentence_transformers import SentenceTransformerEncoder
    except ImportError:
        raise EncoderError(
            f"{source}: is a sentence-transformers model; pip install 'moon2[peers]' to score it"
        ) from None
    return SentenceTransformerEncoder(source, prompt, trust_remote_code=trust_remote_code)


def load_own(source: str | Path, device: str | None = None) -> Encoder:
    """Loads a saved encoder of moon2 with the network that its config.json names, that of a peer too.

    Raises:
        EncoderError: there is none, or the class it names is not one of moon2's networks.
    """
    config = _config_file(source)
    network = _read_config(config).get("network") if config is not None else None
    # Without one, opening it says what is wrong with the folder.
    return Encoder.from_pretrained(source, device, MoonModel if network is None else _network(network, source))


def model_kind(source: str | Path) -> Kind:
    """What a folder or hub id holds.

    Raises:
        EncoderError: there is no such folder, and the hub gives none; or it has no model, as of a run not finished.
    """
    folder = Path(source)
    is_beside = folder.parent != Path() and folder.parent.is_dir() and not folder.is_dir()
    if is_beside and (near := did_you_mean_file(folder)):
        # Not sought on the hub then: without a network, that takes a minute.
        raise EncoderError(f"{source}: there is no such folder{near}")
    config = _config_file(source)
    if folder.is_dir():
        has_modules = (folder / "modules.json").is_file()
        if config is None and not has_modules:
            try:
                RunFolder(folder).require_model()
            except RunError as error:
                raise EncoderError(str(error)) from None
    else:
        has_modules = fetch_file(source, "modules.json") is not None
        if config is None and not has_modules:
            raise EncoderError(
                f"{source}: is no folder here, and on the hub no model can be found or reached by that name"
            )
    # First, because a moon2 encoder has a modules.json too.
    if config is not None and _read_config(config).get("model_type") == "moon2":
        return "moon2"
    return "sentence-transformers" if has_modules else "dual"


def _config_file(source: str | Path) -> Path | None:
    if not Path(source).is_dir():
        return fetch_file(source, "config.json")
    folder = find_model_folder(source)
    return folder and folder / "config.json"


def _network(path: str, source: str | Path) -> type[MoonModel]:
    """The class that a saved encoder names; from moon2 alone, so that a folder cannot run other code."""
    try:
        kind = resolve_name(path) if path.startswith("moon2.") else None
    except (ImportError, AttributeError, ValueError):
        kind = None
    if not (isinstance(kind, type) and issubclass(kind, MoonModel)):
        raise EncoderError(f"{source}: its config.json names the network {path!r}, which this moon2 does not have")
    return kind


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("it is no JSON object")
    except ValueError as error:
        raise EncoderError(f"{path}: is damaged ({error}); save or download the model again") from None
    return config
