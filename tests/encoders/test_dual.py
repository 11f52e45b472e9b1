"""CLIP and SigLIP as encoders, on tiny checkpoints in the hub's layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.dual_checkpoints import KINDS, LENGTH

from moon2.encoders.dual import DualEncoder
from moon2.model.errors import EncoderError

TEXTS = ["red women shoes", "navy men casual shirt with a very long and wordy title " * 3, "bag"]
IMAGES = [
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (20, 30, 3), dtype=np.uint8)) for seed in range(5)
]


@pytest.fixture(scope="module", params=KINDS)
def encoder(request: pytest.FixtureRequest, dual_checkpoints: dict[str, Path]) -> DualEncoder:
    return DualEncoder.from_pretrained(dual_checkpoints[request.param])


def test_texts_and_images_come_as_unit_vectors_of_one_space(encoder: DualEncoder) -> None:
    texts, images = encoder.embed_texts(TEXTS), encoder.embed_images(IMAGES)
    assert texts.shape[1] == images.shape[1]
    for vectors in (texts, images):
        assert vectors.dtype == np.float32
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.abs(texts[0] - texts[2]).max() > 1e-2
    assert np.abs(images[0] - images[1]).max() > 1e-2


def test_the_batch_changes_no_vector(encoder: DualEncoder) -> None:
    one_by_one = np.concatenate([encoder.embed_texts([text]) for text in TEXTS])
    assert encoder.embed_texts(TEXTS, batch_size=2) == pytest.approx(one_by_one, abs=1e-5)
    one_by_one = np.concatenate([encoder.embed_images([image]) for image in IMAGES])
    assert encoder.embed_images(IMAGES, batch_size=2) == pytest.approx(one_by_one, abs=1e-5)


def test_a_long_text_is_cut_where_the_model_ends(encoder: DualEncoder) -> None:
    assert len(encoder.tokenizer(TEXTS[1])["input_ids"]) > LENGTH
    assert np.isfinite(encoder.embed_texts([TEXTS[1]])).all()


def test_another_kind_of_model_is_refused_in_one_line(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="nowhere: cannot be loaded") as refusal:
        DualEncoder.from_pretrained(tmp_path / "nowhere")
    assert "\n" not in str(refusal.value)
    with pytest.raises(EncoderError, match="CLIP or SigLIP"):
        DualEncoder.from_pretrained(checkpoints["qwen3_vl"])
