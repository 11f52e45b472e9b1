"""Two encoders are the same if the files that decide their vectors are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from moon2 import Encoder
from moon2.encoders.identity import encoder_identity
from moon2.evaluate.per_query import query_scores_beside
from moon2.model.errors import EncoderError
from moon2.run_folder import RunFolder


def test_a_copy_is_the_same_and_a_trained_one_is_not(small_encoder_folder: Path, tmp_path: Path) -> None:
    identity = encoder_identity(small_encoder_folder)
    run = tmp_path / "run"
    shutil.copytree(small_encoder_folder, run / "model")
    (run / "model" / "README.md").write_text("A better card.")
    # `moon2 evaluate` and `moon2 report`, given the encoder's own folder, write there.
    own = RunFolder(run / "model")
    for file in (own.evaluation, query_scores_beside(own.quick_evaluation), own.report):
        file.write_text("figures")
    assert encoder_identity(run) == encoder_identity(run / "model") == identity

    encoder = Encoder.from_pretrained(run)
    with torch.no_grad():
        next(encoder.model.parameters()).view(-1)[0] += 1
    encoder.save_pretrained(tmp_path / "trained")
    assert encoder_identity(tmp_path / "trained") != identity

    config = run / "model" / "config.json"
    config.write_text(config.read_text().replace('"max_images": 4', '"max_images": 1'))
    assert encoder_identity(run) != identity, "it reads fewer images"


def test_encoders_of_others_have_one_too(dual_checkpoints: dict[str, Path]) -> None:
    identities = {encoder_identity(folder) for folder in dual_checkpoints.values()}
    assert len(identities) == len(dual_checkpoints)


def test_a_folder_without_an_encoder_has_none(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(EncoderError, match="run"):
        encoder_identity(tmp_path / "run")
