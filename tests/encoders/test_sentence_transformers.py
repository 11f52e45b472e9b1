"""sentence-transformers models as encoders, with their own prompts, and with their own Python only when allowed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moon2.encoders.load import load_encoder, model_kind
from moon2.encoders.protocol import EncoderAdapter
from moon2.model.errors import EncoderError
from moon2.records import Product, Query

sentence_transformers = pytest.importorskip("sentence_transformers")

QUERY = Query(id="q", text="red shoes")


@pytest.fixture(scope="module")
def folder(dual_checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP checkpoint saved as sentence-transformers saves one."""
    folder = tmp_path_factory.mktemp("sentence-transformers") / "model"
    sentence_transformers.SentenceTransformer(str(dual_checkpoints["clip"])).save_pretrained(str(folder))
    return folder


def test_it_is_known_by_its_modules_and_embeds_every_kind_of_item(
    folder: Path, image: Callable[..., Image.Image]
) -> None:
    assert model_kind(folder) == "sentence-transformers"
    encoder = load_encoder(folder)
    assert isinstance(encoder, EncoderAdapter)
    product = Product("p", "red shoes", images=(image("red"),))
    t, i, both = (encoder.encode([product], view=view)[0] for view in ("t", "i", "mm"))
    assert both == pytest.approx((t + i) / np.linalg.norm(t + i), abs=1e-5)
    assert np.linalg.norm([t, i, both], axis=1) == pytest.approx(1, abs=1e-5)


def test_it_brings_its_own_prompt_and_one_that_is_given_wins(
    folder: Path, image: Callable[..., Image.Image], tmp_path: Path
) -> None:
    model = sentence_transformers.SentenceTransformer(str(folder))
    model.prompts = {"query": "find: ", "document": ""}
    model.save_pretrained(str(tmp_path / "prompted"))
    product = Product(id="p", title="red shoes", images=(image("red"),))
    plain, own = load_encoder(folder), load_encoder(tmp_path / "prompted")
    assert own.encode([QUERY]) == pytest.approx(load_encoder(folder, prompt="find: ").encode([QUERY]), abs=1e-5)
    assert np.abs(own.encode([QUERY]) - plain.encode([QUERY])).max() > 1e-3
    assert own.encode([product]) == pytest.approx(plain.encode([product]), abs=1e-5)
    given = load_encoder(tmp_path / "prompted", prompt="buy: ")
    assert given.encode([QUERY]) == pytest.approx(load_encoder(folder, prompt="buy: ").encode([QUERY]), abs=1e-5)


def test_its_own_python_runs_only_when_allowed(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = "custom.Custom"
    (tmp_path / "model" / "modules.json").write_text(json.dumps(modules))
    code = "from sentence_transformers.sentence_transformer.modules import Transformer as Custom\n"
    (tmp_path / "model" / "custom.py").write_text(code)
    with pytest.raises(EncoderError, match="add --trust_remote_code"):
        load_encoder(tmp_path / "model")
    assert load_encoder(tmp_path / "model", trust_remote_code=True).encode(["red shoes"]).shape[0] == 1


def test_moon2_opened_by_sentence_transformers_is_asked_for_text_and_image_at_once(
    small_encoder_folder: Path, image: Callable[..., Image.Image]
) -> None:
    from moon2.encoders.sentence_transformers import SentenceTransformerEncoder

    product = Product("p", "red shoes", images=(image("red"),))
    opened = SentenceTransformerEncoder(small_encoder_folder, trust_remote_code=True)
    own = load_encoder(small_encoder_folder)
    assert opened.encode([product]) == pytest.approx(own.encode([product]), abs=1e-5)
