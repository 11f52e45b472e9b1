"""`moon2 push`: the hub's own client uploads to a hub on loopback, and what is there loads again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard, constants
from support.local_hub import LocalHub

from moon2 import Encoder
from moon2.catalog.store import Catalog
from moon2.cli import main
from moon2.evaluate.result import Evaluation
from moon2.model.errors import EncoderError
from moon2.push import hub_card, push
from moon2.recipe import Recipe
from moon2.run_folder import RunError
from moon2.train.model_card import model_card

EVALUATION = Evaluation(
    model="runs/shop",
    catalog="shop",
    gallery=1_234,
    queries=400,
    recalls={"t→mm": {1: 61.25, 5: 80.0, 10: 90.5}},
    scored={"t→mm": 400},
    keywords={"t→mm, hybrid (titles)": {1: 69.0, 5: 85.0, 10: 93.0}},
    keyword_queries={"t→mm, hybrid (titles)": 400},
)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """Large files go to the hub through a protocol of their own, which is turned off: all are in the commit."""
    with LocalHub() as hub:
        monkeypatch.setenv("HF_TOKEN", hub.token)
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield hub


@pytest.fixture
def run(small_encoder_folder: Path, shop: Catalog, tmp_path: Path) -> Path:
    run = tmp_path / "run"
    shutil.copytree(small_encoder_folder, run / "model")
    (run / "model" / "README.md").write_text(model_card(Recipe(), shop, 14, [32]))
    EVALUATION.write(run / "evaluation.json")
    return run


def test_a_run_is_pushed_and_loads_by_its_name(
    hub: LocalHub, run: Path, small_encoder: Encoder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(run), "shop/encoder", "--revision", "night"]) == 0
    assert capsys.readouterr().out.strip() == f"{hub.url}/shop/encoder"
    assert hub.private["shop/encoder"]
    assert hub.files["shop/encoder", "main"] == {}
    assert hub.files["shop/encoder", "night"].keys() == {path.name for path in (run / "model").iterdir()}

    push(run, "shop/encoder")  # it is there already
    loaded = Encoder.from_pretrained("shop/encoder")
    assert np.array_equal(loaded.encode(["navy shirt"]), small_encoder.encode(["navy shirt"]))
    assert "61.2" in loaded.card
    assert "61.2" not in (run / "model" / "README.md").read_text(), "the run's own card stays as it is"


def test_the_card_says_what_was_measured_and_how_to_load_it(run: Path) -> None:
    text = hub_card((run / "model" / "README.md").read_text(), "shop/encoder", EVALUATION)
    card = ModelCard(text)
    data = card.data.to_dict()
    assert (data["library_name"], data["pipeline_tag"], data["license"]) == ("moon2", "feature-extraction", "unknown")
    assert {"product-search", "sentence-transformers"} <= set(data["tags"])
    (results,) = data["model-index"]
    assert results["name"] == "shop/encoder"
    values = {
        (result["task"]["name"], metric["type"]): metric["value"]
        for result in results["results"]
        for metric in result["metrics"]
    }
    assert values[("product retrieval, t→mm", "recall_at_10")] == 90.5
    assert "400 test queries among 1,234 products" in card.text
    assert "| t→mm, hybrid (titles) | 69.0 | 85.0 | 93.0 |" in card.text
    for line in (
        'Encoder.from_pretrained("shop/encoder")',
        'SentenceTransformer("shop/encoder", trust_remote_code=True)',
        'MoonMTEBEncoder("shop/encoder")',
        "The licence of the data that it learned from is not known",
    ):
        assert line in card.text
    assert card.text.index("## Measured") < card.text.index("## Recipe") < card.text.index("learning_rate:")
    assert "was not evaluated" in hub_card("", "a/b", None)


def test_an_encoder_is_pushed_without_a_run(hub: LocalHub, small_encoder: Encoder) -> None:
    assert small_encoder.push_to_hub("me/mine", private=False) == f"{hub.url}/me/mine"
    assert not hub.private["me/mine"]
    assert "model.safetensors" in hub.files["me/mine", "main"]


def test_what_cannot_be_pushed_ends_in_one_line(
    hub: LocalHub, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunError, match="there is no such run"):
        push(tmp_path / "none", "a/b")
    with pytest.raises(EncoderError, match=r"a/b/c: cannot be uploaded \(.*is the name organisation/model"):
        push(run, "a/b/c")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(EncoderError, match=r"a/b: cannot be uploaded \(.*401.*may HF_TOKEN write") as error:
        push(run, "a/b")
    assert "\n" not in str(error.value)
