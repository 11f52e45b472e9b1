"""The files of a folder tell what model it holds; a saved encoder names its network, and no folder runs other code."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import httpx2
import numpy as np
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from moon2.encoders.dual import DualEncoder
from moon2.encoders.load import load_encoder, load_own, model_kind
from moon2.model.encoder import Encoder
from moon2.model.errors import EncoderError


def test_a_folder_of_moon2_and_a_run_that_holds_one_give_its_encoder(
    small_encoder: Encoder, small_encoder_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_encoder_folder, tmp_path / "run" / "model")
    for source in (small_encoder_folder, tmp_path / "run"):
        assert model_kind(source) == "moon2"
        loaded = load_encoder(source)
        assert isinstance(loaded, Encoder)
        assert np.array_equal(loaded.encode(["navy shirt"]), small_encoder.encode(["navy shirt"]))


def test_a_checkpoint_with_two_towers_is_a_dual_encoder(dual_checkpoints: dict[str, Path]) -> None:
    for folder in dual_checkpoints.values():
        assert model_kind(folder) == "dual"
        assert isinstance(load_encoder(folder), DualEncoder)


def test_the_prompt_reaches_the_encoder(dual_checkpoints: dict[str, Path]) -> None:
    encoder = load_encoder(dual_checkpoints["clip"], prompt="query: ")
    assert isinstance(encoder, DualEncoder) and encoder.prompt == "query: "


def named(network: object, folder: Path, small_encoder_folder: Path) -> Path:
    """The saved encoder with another network in its config."""
    shutil.copytree(small_encoder_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"network": network}))
    return folder


def test_only_networks_of_moon2_are_imported(
    small_encoder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside.py").write_text("raise SystemExit('outside code ran')")
    monkeypatch.syspath_prepend(tmp_path)
    folder = named("outside.Network", tmp_path / "model", small_encoder_folder)
    for load in (load_own, load_encoder):
        with pytest.raises(EncoderError, match=r"names the network 'outside\.Network', which this moon2 does not have"):
            load(folder)
    assert "outside" not in sys.modules


@pytest.mark.parametrize("network", ["moon2.recipe.Recipe", "moon2.no.such.Network", "moon2.model:", 7])
def test_a_name_that_is_no_network_is_refused(network: object, small_encoder_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=f"names the network {network!r}") as refusal:
        load_own(named(network, tmp_path / "model", small_encoder_folder))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_config_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(EncoderError, match=r"config\.json: is damaged"):
        load_encoder(tmp_path)


def test_an_empty_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(EncoderError) as refusal:
        load_encoder(tmp_path)
    assert str(tmp_path) in str(refusal.value) and "\n" not in str(refusal.value)
    with pytest.raises(EncoderError, match=r"holds no encoder \(no config\.json\)"):
        load_own(tmp_path)


def test_a_mistyped_folder_is_not_sought_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network, the hub's library would try for a minute."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("moon2.model.hub.hf_hub_download", lambda *_: pytest.fail("the hub was asked"))
    Path("runs/shop").mkdir(parents=True)
    with pytest.raises(EncoderError, match=r"^runs/shpo: there is no such folder; did you mean 'runs/shop'\?"):
        load_encoder("runs/shpo")


def test_a_folder_called_as_an_organisation_does_not_hide_its_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("openai/notes").mkdir(parents=True)
    asked: list[str] = []

    def download(name: str, file: str) -> str:
        asked.append(name)
        raise LocalEntryNotFoundError("there is no network")

    monkeypatch.setattr("moon2.model.hub.hf_hub_download", download)
    with pytest.raises(EncoderError, match="on the hub no model can be found"):
        load_encoder("openai/clip-vit-base-patch32")
    assert "openai/clip-vit-base-patch32" in asked


def test_a_run_that_is_not_finished_is_told_from_a_damaged_model(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").touch()
    with pytest.raises(EncoderError, match="training is not finished; go on with the same `moon2 train` and --resume"):
        load_encoder(tmp_path)


def test_on_the_hub_too_a_moon2_encoder_is_known_by_its_config(
    small_encoder_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a modules.json too, by which sentence-transformers opens it."""
    monkeypatch.setattr("moon2.model.hub.hf_hub_download", lambda source, name: str(small_encoder_folder / name))
    assert model_kind("organisation/encoder") == "moon2"


@pytest.mark.parametrize("error", [httpx2.ConnectError("no route"), LocalEntryNotFoundError("not kept")])
def test_without_a_network_it_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("moon2.model.hub.hf_hub_download", fail)
    with pytest.raises(EncoderError, match="organisation/encoder: is no folder here") as refusal:
        model_kind("organisation/encoder")
    assert "\n" not in str(refusal.value)
