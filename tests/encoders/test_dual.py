"""Other people's encoders of words and images, on tiny checkpoints in the hub's layout."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.dual_checkpoints import KINDS, LENGTH, write_dual_checkpoint
from support.tiny_checkpoints import write_checkpoint

from moon2.encoders.dual import DualEncoder, DualEncoderError

TEXTS = ["red women shoes", "navy men casual shirt with a very long and wordy title " * 3, "bag"]


@pytest.fixture(scope="module", params=KINDS)
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DualEncoder:
    return DualEncoder.from_pretrained(write_dual_checkpoint(request.param, tmp_path_factory.mktemp(request.param)))


def images() -> list[Image.Image]:
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 255, (20, 30, 3), dtype=np.uint8)) for _ in range(5)]


def test_words_and_images_come_as_unit_vectors_of_one_space(encoder: DualEncoder) -> None:
    words, seen = encoder.encode_texts(TEXTS), encoder.encode_images(images())
    assert words.shape[1] == seen.shape[1]
    for vectors in (words, seen):
        assert vectors.dtype == np.float32
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.abs(words[0] - words[2]).max() > 1e-2


def test_the_batch_changes_no_vector(encoder: DualEncoder) -> None:
    one_by_one = np.concatenate([encoder.encode_texts([text]) for text in TEXTS])
    assert encoder.encode_texts(TEXTS, batch_size=2) == pytest.approx(one_by_one, abs=1e-5)
    one_by_one = np.concatenate([encoder.encode_images([image]) for image in images()])
    assert encoder.encode_images(images(), batch_size=2) == pytest.approx(one_by_one, abs=1e-5)


def test_a_long_text_is_cut_where_the_model_ends(encoder: DualEncoder) -> None:
    assert len(encoder.tokenizer(TEXTS[1])["input_ids"]) > LENGTH
    assert np.isfinite(encoder.encode_texts([TEXTS[1]])).all()


def test_what_is_no_dual_encoder_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DualEncoderError, match="nowhere: cannot be loaded") as refusal:
        DualEncoder.from_pretrained(tmp_path / "nowhere")
    assert "\n" not in str(refusal.value)
    with pytest.raises(DualEncoderError, match="CLIP or SigLIP"):
        DualEncoder.from_pretrained(write_checkpoint("qwen3_vl", tmp_path / "generative"))
