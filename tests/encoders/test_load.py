"""Other people's models score in the same table, and ours in mteb's."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from PIL import Image
from support.dual_checkpoints import write_dual_checkpoint
from tqdm import tqdm

from moon2.catalog.generated_shop.generate import write_shop
from moon2.catalog.store import Catalog, write_catalog
from moon2.encoders.load import PeerEncoder, _kind, load_model
from moon2.evaluate.evaluate import DIRECTIONS, evaluate
from moon2.evaluate.result import EvaluationError
from moon2.model.encoder import Encoder
from moon2.recipe import BackboneSettings, InputSettings, Recipe, TinySettings, TrainingSettings
from moon2.records import Interaction, Product, Query
from moon2.vectors.embed import encode_gallery

SIZES = TinySettings(vocabulary=300, width=32, layers=2, heads=2, feed_forward=48, vision_width=32, vision_layers=1)
TINY = Recipe(backbone=BackboneSettings(tiny=SIZES), input=InputSettings(max_pixels=2400))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return write_shop(out=tmp_path_factory.mktemp("shop") / "shop", products=60, queries=20)


@pytest.fixture(scope="module")
def moon2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("moon2")
    Encoder.from_recipe(TINY, ["red shoes", "navy shirt"]).save_pretrained(folder)
    return folder


def sentence_transformers_clip(folder: Path) -> Path:
    """A CLIP checkpoint saved as sentence-transformers saves one."""
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(str(write_dual_checkpoint("clip", folder / "clip"))).save_pretrained(str(folder / "model"))
    return folder / "model"


def noise(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (20, 30, 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_dual_encoder_is_scored_in_every_direction(kind: str, shop: Catalog, tmp_path: Path) -> None:
    model = load_model(write_dual_checkpoint(kind, tmp_path))
    found = evaluate(model, shop, model=kind)
    assert set(found.recalls) == set(DIRECTIONS)
    assert found.zero_shot["class"]["mm"]["accuracy"] >= 0


def test_a_product_as_a_whole_is_the_sum_of_its_words_and_its_image(tmp_path: Path) -> None:
    model = load_model(write_dual_checkpoint("clip", tmp_path))
    product = Product(id="1", title="red shoes", images=(noise(),))
    t, i, both = (model.encode([product], view=view)[0] for view in ("t", "i", "mm"))
    assert both == pytest.approx((t + i) / np.linalg.norm(t + i), abs=1e-5)


def test_a_sentence_transformers_model_is_scored(shop: Catalog, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    model = load_model(sentence_transformers_clip(tmp_path))
    assert isinstance(model, PeerEncoder)
    assert set(evaluate(model, shop, model="clip").recalls) == set(DIRECTIONS)


def test_the_prompt_stands_before_queries_only(tmp_path: Path) -> None:
    folder = write_dual_checkpoint("clip", tmp_path)
    plain, prompted = load_model(folder), load_model(folder, prompt="query: ")
    query, product = Query(id="q", text="red shoes"), Product(id="p", title="red shoes")
    assert np.abs(plain.encode([query]) - prompted.encode([query])).max() > 1e-3
    assert prompted.encode([product]) == pytest.approx(plain.encode([product]))


def test_a_model_of_sentence_transformers_brings_its_own_prompt(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    from sentence_transformers import SentenceTransformer

    plain = sentence_transformers_clip(tmp_path)
    model = SentenceTransformer(str(plain))
    model.prompts = {"query": "find: ", "document": ""}
    model.save_pretrained(str(tmp_path / "prompted"))
    query, product = Query(id="q", text="red shoes"), Product(id="p", title="red shoes", images=(noise(),))
    own = load_model(tmp_path / "prompted")
    asked = load_model(plain, prompt="find: ").encode([query])
    assert own.encode([query]) == pytest.approx(asked, abs=1e-5)
    assert np.abs(own.encode([query]) - load_model(plain).encode([query])).max() > 1e-3
    assert own.encode([product]) == pytest.approx(load_model(plain).encode([product]), abs=1e-5)
    # One that is given stands in its place.
    assert load_model(tmp_path / "prompted", prompt="buy: ").encode([query]) == pytest.approx(
        load_model(plain, prompt="buy: ").encode([query]), abs=1e-5
    )


def test_a_models_own_python_runs_only_when_asked(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    folder = sentence_transformers_clip(tmp_path)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = "custom.Custom"
    (folder / "modules.json").write_text(json.dumps(modules))
    code = "from sentence_transformers.models import Transformer\n\nclass Custom(Transformer):\n    pass\n"
    (folder / "custom.py").write_text(code)
    with pytest.raises(EvaluationError, match="add --trust_remote_code"):
        load_model(folder)
    assert load_model(folder, trust_remote_code=True).encode(["red shoes"]).shape[0] == 1


BROKEN = Product(id="broken", title="red shoes", images=(b"no image",))


def test_a_broken_image_is_set_aside_and_the_rest_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    model = load_model(write_dual_checkpoint("clip", tmp_path))
    good = Product(id="good", title="navy shirt", images=(noise(),))
    vectors = model.encode([BROKEN, good], view="i", skip_bad=True)
    assert np.isnan(vectors).all(axis=1).tolist() == [True, False]
    views = model.encode_views([BROKEN, good], skip_bad=True)
    for view in ("mm", "i", "t"):
        assert np.isnan(views[view]).all(axis=1).tolist() == [True, False]
    assert "product 'broken'" in capsys.readouterr().err
    with pytest.raises(EvaluationError, match="product 'broken'"):
        model.encode([BROKEN, good], view="i")


def test_where_nothing_can_be_embedded_rows_are_nan_and_as_long_as_ever(tmp_path: Path) -> None:
    model = load_model(write_dual_checkpoint("clip", tmp_path))
    found = model.encode([BROKEN], view="i", skip_bad=True)
    assert found.shape == (1, model.encode(["red shoes"]).shape[1])
    assert np.isnan(found).all()


def test_a_product_whose_image_is_broken_stands_in_each_gallery_once(tmp_path: Path) -> None:
    """The smallest batches too, in which such a product, or query, is alone."""
    products = [Product(id=f"{n}", title=f"shoes {n}", category=("S", "a"), images=(noise(n),)) for n in range(4)]
    log = [Interaction(Query(f"q{n}", f"shoes {n}", image=noise(n)), (f"{n}",)) for n in range(4)]
    log.append(Interaction(Query("broken", "", image=b"no image"), ("broken",)))
    catalog = write_catalog(tmp_path / "shop", {"test": [BROKEN, *products]}, {"test": log}, title="shoes")
    model = load_model(write_dual_checkpoint("clip", tmp_path / "clip"))
    gallery, _ = encode_gallery(model, catalog, catalog.ids(), 1, tqdm(disable=True))
    assert {view: numbers.tolist() for view, (numbers, _) in gallery.items()} == {
        "mm": [0, 1, 2, 3, 4],
        "i": [1, 2, 3, 4],
        "t": [0, 1, 2, 3, 4],
    }
    found = evaluate(model, catalog, batch_size=1)
    assert found.left_out["t→i"] == {"queries without text": 1, "gallery products without a readable image": 1}
    assert found.left_out["i→t"] == {"queries without a readable image": 1}
    assert found.scored == {direction: 4 for direction in DIRECTIONS}


def test_a_moon2_folder_is_told_from_the_rest(moon2_folder: Path) -> None:
    assert isinstance(load_model(moon2_folder), Encoder)


def test_on_the_hub_too_a_moon2_encoder_is_told_by_its_config(
    moon2_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a modules.json besides, by which sentence-transformers opens it."""
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda source, name: str(moon2_folder / name))
    assert _kind("organisation/encoder") == "moon2"


@pytest.mark.parametrize("error", [httpx2.ConnectError("no route"), LocalEntryNotFoundError("not kept")])
def test_without_a_network_it_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fails)
    with pytest.raises(EvaluationError, match="organisation/encoder: is no folder here"):
        _kind("organisation/encoder")


TITLES = ["red women shoes", "navy men shirt", "blue cotton dress", "leather bag"]


def titles_to_images() -> Any:
    """Each title's image among four: the shape of mteb's Fashion200k text → image task, without its download."""
    mteb = pytest.importorskip("mteb")
    datasets = pytest.importorskip("datasets")
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

    class TitlesToPictures(AbsTaskRetrieval):
        metadata = mteb.get_task("Fashion200kT2IRetrieval").metadata

        def load_data(self, *_: object, **__: object) -> None:
            ids = [str(number) for number in range(len(TITLES))]
            corpus = datasets.Dataset.from_dict(
                {"id": ids, "image": [noise(n) for n in range(len(ids))], "modality": ["image"] * len(ids)},
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

    return TitlesToPictures()


def test_mteb_scores_a_moon2_folder(moon2_folder: Path) -> None:
    mteb = pytest.importorskip("mteb")
    from moon2.encoders.mteb import MoonMTEBEncoder

    encoder = MoonMTEBEncoder(moon2_folder)
    result = mteb.evaluate(encoder, titles_to_images(), cache=None, show_progress_bar=False)
    measured = result.task_results[0].scores["test"][0]
    # What mteb says is what our own vectors say.
    words, images = encoder.model.encode(TITLES), encoder.model.encode([noise(n) for n in range(len(TITLES))])
    first = (words @ images.T).argmax(axis=1) == np.arange(len(TITLES))
    assert measured["recall_at_1"] == pytest.approx(first.mean(), abs=1e-4)
    assert measured["recall_at_5"] == 1.0


def test_mtebs_cache_gives_no_encoder_the_figures_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mteb = pytest.importorskip("mteb")
    from mteb.cache import ResultCache

    from moon2.encoders.mteb import MoonMTEBEncoder

    def described(folder: Path) -> tuple[str, str]:
        meta = MoonMTEBEncoder(folder).mteb_model_meta
        return meta.name, meta.revision

    cached = {}
    for seed in (0, 1):
        recipe = replace(TINY, training=TrainingSettings(seed=seed))
        folder = tmp_path / f"run{seed}" / "model"
        Encoder.from_recipe(recipe, TITLES).save_pretrained(folder)
        model, cache = MoonMTEBEncoder(folder), ResultCache(tmp_path / "cache")
        mteb.evaluate(model, titles_to_images(), cache=cache, show_progress_bar=False)
        kept = (tmp_path / "cache").rglob("Fashion200kT2IRetrieval.json")
        cached[seed] = {path.parent.name for path in kept} - set().union(*cached.values())
        assert model.mteb_model_meta.name == f"moon2/run{seed}"
    assert len(cached[0]) == len(cached[1]) == 1
    # The same encoder is known again wherever it lies; a run trained anew under the same name is another.
    shutil.copytree(tmp_path / "run0", tmp_path / "moved" / "run0")
    shutil.copytree(tmp_path / "run1", tmp_path / "anew" / "run0")
    monkeypatch.chdir(tmp_path / "run0")
    known = described(Path())
    assert known[0] == "moon2/run0"
    assert described(tmp_path / "moved" / "run0") == known
    assert described(tmp_path / "anew" / "run0") == ("moon2/run0", *cached[1])


def test_mteb_may_ask_for_rows_with_nothing_in_them(moon2_folder: Path) -> None:
    pytest.importorskip("mteb")
    from moon2.encoders.mteb import MoonMTEBEncoder

    encoder = MoonMTEBEncoder(moon2_folder)
    found = encoder.encode([{"text": ["red shoes", "", None]}, {"image": [None, noise()], "text": ["", ""]}])
    assert np.linalg.norm(found, axis=1) == pytest.approx([1, 0, 0, 0, 1], abs=1e-5)
    assert encoder.encode([]).shape == (0, found.shape[1])
