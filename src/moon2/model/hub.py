"""A folder with an encoder to the Hugging Face hub, with its own token: HF_TOKEN, or what `hf auth login` kept."""

from __future__ import annotations

import json
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from moon2.errors import one_line
from moon2.model.encoder_folder import EncoderError

PLACEHOLDER = '"this folder"'
"""In a model card: where the encoder is loaded from."""


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
    try:
        address = api.create_repo(name, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(name, branch=revision, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, revision=revision, commit_message="Upload a moon2 encoder")
    except Exception as error:
        # Without a network, the hub's library raises what its HTTP library does, httpx or httpx2 by its version.
        of_http = type(error).__module__.partition(".")[0] in ("httpx", "httpx2")
        if not of_http and not isinstance(error, HfHubHTTPError | HFValidationError | OSError):
            raise
        reason = one_line(error)
        raise EncoderError(
            f"{name}: cannot be uploaded ({reason}); is the name organisation/model, and may HF_TOKEN write?"
        ) from None
    return str(address)
