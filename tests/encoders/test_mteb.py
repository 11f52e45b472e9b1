"""A saved encoder in mteb: its figures are those of the encoder's own vectors, and no encoder gets another's."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from moon2 import Encoder
from moon2.recipe import Recipe

mteb = pytest.importorskip("mteb")
from moon2.encoders.mteb import MoonMTEBEncoder  # noqa: E402

TITLES = ["red women shoes", "navy men shirt", "blue cotton dress", "leather bag"]
IMAGES = [Image.new("RGB", (32, 32), colour) for colour in ("red", "navy", "blue", "brown")]


def titles_to_images() -> Any:
    """Each title's image among four: the shape of mteb's Fashion200k text → image task, without its download."""
    import datasets
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

    class TitlesToImages(AbsTaskRetrieval):
        metadata = mteb.get_task("Fashion200kT2IRetrieval").metadata

        def load_data(self, *_: object, **__: object) -> None:
            ids = [str(number) for number in range(len(TITLES))]
            corpus = datasets.Dataset.from_dict(
                {"id": ids, "image": IMAGES, "modality": ["image"] * len(ids)},
                features=datasets.Features(
                    {"id": datasets.Value("string"), "image": datasets.Image(), "modality": datasets.Value("string")}
                ),
            )
            queries = datasets.Dataset.from_dict({"id": ids, "text": TITLES, "modality": ["text"] * len(ids)})
            split = RetrievalSplitData(
                corpus=corpus, queries=queries, relevant_docs={id: {id: 1} for id in ids}, top_ranked=None
            )
            self.dataset = {"default": {"test": split}}
            self.data_loaded = True

    return TitlesToImages()


def test_mteb_measures_what_the_encoders_vectors_say(small_encoder: Encoder, small_encoder_folder: Path) -> None:
    result = mteb.evaluate(
        MoonMTEBEncoder(small_encoder_folder), titles_to_images(), cache=None, show_progress_bar=False
    )
    measured = result.task_results[0].scores["test"][0]
    cosines = small_encoder.similarity(small_encoder.encode(TITLES), small_encoder.encode(IMAGES))
    first = cosines.argmax(axis=1) == np.arange(len(TITLES))
    assert measured["recall_at_1"] == pytest.approx(first.mean(), abs=1e-4)
    assert measured["recall_at_5"] == 1.0


def test_mtebs_cache_gives_no_encoder_the_figures_of_another(
    small_recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mteb.cache import ResultCache

    def name_and_revision(folder: Path) -> tuple[str, str]:
        meta = MoonMTEBEncoder(folder).mteb_model_meta
        return meta.name, meta.revision

    cached: dict[int, set[str]] = {}
    for seed in (0, 1):
        folder = tmp_path / f"run{seed}" / "model"
        Encoder.from_recipe(small_recipe(f"training.seed={seed}"), TITLES).save_pretrained(folder)
        model, cache = MoonMTEBEncoder(folder), ResultCache(tmp_path / "cache")
        mteb.evaluate(model, titles_to_images(), cache=cache, show_progress_bar=False)
        files = (tmp_path / "cache").rglob("Fashion200kT2IRetrieval.json")
        cached[seed] = {path.parent.name for path in files} - set().union(*cached.values())
        assert model.mteb_model_meta.name == f"moon2/run{seed}"
    assert len(cached[0]) == len(cached[1]) == 1
    # A moved encoder is the same one; a run trained anew under the same name is another.
    shutil.copytree(tmp_path / "run0", tmp_path / "moved" / "run0")
    shutil.copytree(tmp_path / "run1", tmp_path / "anew" / "run0")
    monkeypatch.chdir(tmp_path / "run0")
    known = name_and_revision(Path())
    assert known[0] == "moon2/run0"
    assert name_and_revision(tmp_path / "moved" / "run0") == known
    assert name_and_revision(tmp_path / "anew" / "run0") == ("moon2/run0", *cached[1])


def test_a_row_with_nothing_in_it_gets_zeros(small_encoder_folder: Path) -> None:
    encoder = MoonMTEBEncoder(small_encoder_folder)
    vectors = encoder.encode([{"text": ["red shoes", "", None]}, {"image": [None, IMAGES[0]], "text": ["", ""]}])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 0, 0, 0, 1], abs=1e-5)
    assert encoder.encode([]).shape == (0, vectors.shape[1])
