"""Encoders from the Hugging Face hub and to it, with its own token: HF_TOKEN, or what `hf auth login` kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

from moon2.errors import one_line
from moon2.model.errors import EncoderError

_NONE = "{name}: is no folder here, and the hub gives none ({{}})"
PLACEHOLDER = '"this folder"'
"""In a model card: where the encoder is loaded from."""


def fetch_model(name: str | Path) -> Path:
    """The folder of a model on the hub, downloaded or kept from before.

    Raises:
        EncoderError: the hub gives none.
    """
    with _said(_NONE.format(name=name)):
        return Path(snapshot_download(str(name)))


def fetch_file(name: str | Path, file: str) -> Path | None:
    """A file of a model on the hub, downloaded or kept from before; None where the model has no such file.

    None too without a network, where nothing was kept.

    Raises:
        EncoderError: there can be no model of that name, or the hub does not give it.
    """
    with _said(_NONE.format(name=name)):
        try:
            return Path(hf_hub_download(str(name), file))
        except EntryNotFoundError:
            return None


def push_folder(folder: Path, name: str, *, private: bool, revision: str | None) -> str:
    """Uploads a folder that holds an encoder, as one commit.

    Args:
        folder: the encoder's files; its model card is made to name the encoder as the hub does.
        name: on the hub, such as organisation/model; made if it is not there.
        private: whether only its owner may see it; what is there already stays as it is.
        revision: branch, made if it is not there; the main one when not given.

    Returns:
        The address of the model's page.

    Raises:
        EncoderError: the hub cannot be reached, or does not allow it.
    """
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8").replace(PLACEHOLDER, json.dumps(name))
    card.unlink()  # perhaps a link to somebody's own
    card.write_text(text, encoding="utf-8")
    api = HfApi(library_name="moon2")
    with _said(f"{name}: cannot be uploaded ({{}}); is the name organisation/model, and may HF_TOKEN write?"):
        address = api.create_repo(name, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(name, branch=revision, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, revision=revision, commit_message="Upload a moon2 encoder")
    return str(address)


@contextmanager
def _said(message: str) -> Iterator[None]:
    """Says in one line what of the hub fails, with the reason in the place of {}."""
    try:
        yield
    except Exception as error:
        # Without a network, the hub's library raises what its HTTP library does, httpx or httpx2 by its version.
        of_http = type(error).__module__.partition(".")[0] in ("httpx", "httpx2")
        if not of_http and not isinstance(error, HfHubHTTPError | HFValidationError | OSError):
            raise
        raise EncoderError(message.replace("{}", one_line(error))) from None
