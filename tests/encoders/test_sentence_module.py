"""A saved encoder opens with sentence-transformers, and gives the same vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from moon2 import Encoder
from moon2.records import Product

sentence_transformers = pytest.importorskip("sentence_transformers")

TEXTS = ["red women shoes", "a navy shirt", "bag"]
IMAGES = [
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 30, 3), dtype=np.uint8)) for seed in range(3)
]


@pytest.fixture(scope="module")
def model(small_encoder_folder: Path) -> Any:
    return sentence_transformers.SentenceTransformer(str(small_encoder_folder), trust_remote_code=True)


def test_its_vectors_are_the_encoders(model: Any, small_encoder: Encoder) -> None:
    assert model.encode(TEXTS) == pytest.approx(small_encoder.encode(TEXTS), abs=1e-5)
    assert model.encode(IMAGES) == pytest.approx(small_encoder.encode(IMAGES), abs=1e-5)
    pairs = list(zip(TEXTS, IMAGES, strict=True))
    products = [Product(id=text, title=text, images=(image,)) for text, image in pairs]
    both = model.encode([{"text": text, "image": image} for text, image in pairs])
    assert both == pytest.approx(small_encoder.encode(products), abs=1e-5)
    assert model.get_embedding_dimension() == small_encoder.dimension


def test_several_images_are_one_item(model: Any, small_encoder: Encoder) -> None:
    item = Product("p", "", images=IMAGES[:2])
    assert model.encode([IMAGES[:2]]) == pytest.approx(small_encoder.encode([item]), abs=1e-5)


def test_a_prompt_stands_before_the_text(model: Any, small_encoder: Encoder) -> None:
    pair = {"text": "shirt", "image": IMAGES[0]}
    assert model.encode(["shirt"], prompt="navy ") == pytest.approx(small_encoder.encode("navy shirt"), abs=1e-5)
    whole = small_encoder.encode(pair | {"text": "navy shirt"})
    assert model.encode([pair], prompt="navy ") == pytest.approx(whole, abs=1e-5)


def test_it_is_saved_by_sentence_transformers_and_opens_with_moon2(
    model: Any, small_encoder: Encoder, tmp_path: Path
) -> None:
    model.save_pretrained(str(tmp_path / "again"))
    again = Encoder.from_pretrained(tmp_path / "again")
    assert np.array_equal(again.encode(TEXTS), small_encoder.encode(TEXTS))


def test_its_vectors_can_be_cut(small_encoder: Encoder, small_encoder_folder: Path) -> None:
    folder = str(small_encoder_folder)
    cut = sentence_transformers.SentenceTransformer(folder, trust_remote_code=True, truncate_dim=8)
    assert cut.get_embedding_dimension() == 8
    vectors = cut.encode(TEXTS, normalize_embeddings=True)
    assert vectors == pytest.approx(small_encoder.encode(TEXTS, dimension=8), abs=1e-5)
    # The library cuts without normalising unless it is asked to; its similarity is the cosine either way.
    plain = cut.encode(TEXTS)
    assert np.asarray(cut.similarity(plain, plain)) == pytest.approx(vectors @ vectors.T, abs=1e-5)
