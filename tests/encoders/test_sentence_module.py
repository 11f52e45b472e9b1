"""The saved folder opens with sentence-transformers, and gives the same vectors."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moon2.model.encoder import Encoder
from moon2.records import Product

sentence_transformers = pytest.importorskip("sentence_transformers")

TEXTS = ["red women shoes", "a navy shirt", "bag"]


def images() -> list[Image.Image]:
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 255, (40, 30, 3), dtype=np.uint8)) for _ in TEXTS]


@pytest.fixture(scope="module")
def tiny_encoder(new_encoder: Callable[..., Encoder]) -> Encoder:
    return new_encoder("tiny")


@pytest.fixture(scope="module")
def folder(tiny_encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    tiny_encoder.save_pretrained(folder)
    return folder


def test_its_vectors_are_the_encoders(folder: Path, tiny_encoder: Encoder) -> None:
    model = sentence_transformers.SentenceTransformer(str(folder), trust_remote_code=True)
    assert model.encode(TEXTS) == pytest.approx(tiny_encoder.encode(TEXTS), abs=1e-5)
    assert model.encode(images()) == pytest.approx(tiny_encoder.encode(images()), abs=1e-5)
    pairs = list(zip(TEXTS, images(), strict=True))
    products = [Product(id=text, title=text, images=(image,)) for text, image in pairs]
    both = model.encode([{"text": text, "image": image} for text, image in pairs])
    assert both == pytest.approx(tiny_encoder.encode(products), abs=1e-5)
    assert model.get_embedding_dimension() == tiny_encoder.dimension


def test_it_is_saved_by_sentence_transformers_and_opens_with_moon2(folder: Path, tmp_path: Path) -> None:
    model = sentence_transformers.SentenceTransformer(str(folder), trust_remote_code=True)
    model.save_pretrained(str(tmp_path / "again"))
    again = Encoder.from_pretrained(tmp_path / "again")
    assert again.encode(TEXTS) == pytest.approx(Encoder.from_pretrained(folder).encode(TEXTS), abs=0)
