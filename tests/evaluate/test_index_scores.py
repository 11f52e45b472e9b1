"""An index is scored by its searches, and as the encoder is where both search the same products."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from moon2 import Interaction, Query
from moon2.catalog.store import Catalog, write_catalog
from moon2.evaluate.evaluate import evaluate
from moon2.evaluate.result import Evaluation
from moon2.evaluate.test_set import EvaluationError
from moon2.search.commands import build_index
from moon2.search.index import Index
from moon2.vectors.embed_catalog import embed
from moon2.vectors.fusion import Fusion, write_fusions
from moon2.vectors.ranker import RankerError


@pytest.fixture(scope="module")
def shop(generated_shop: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """All its products are the gallery, so that a run and an index search the same ones."""
    products = list(generated_shop.products())
    log = [generated_shop.with_image(it.query) for it in generated_shop.interactions("test")]
    interactions = [
        Interaction(query, it.positive_ids) for query, it in zip(log, generated_shop.interactions("test"), strict=True)
    ]
    named = Interaction(Query("named", products[3].id.upper()), (products[3].id,))
    folder = tmp_path_factory.mktemp("shops") / "one"
    return write_catalog(folder, {"test": products}, {"test": [*interactions, named]}, title="One split")


@pytest.fixture(scope="module")
def model(small_encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With weights of the hybrid, as training leaves them."""
    folder = tmp_path_factory.mktemp("model") / "model"
    shutil.copytree(small_encoder_folder, folder)
    fusions = {"t": Fusion(0.3, 0.1, 0.8), "mm": Fusion(0.5, 0.2, 0.4)}
    write_fusions(folder / "fusion.json", {"title": fusions, "all": fusions})
    return folder


@pytest.fixture(scope="module")
def index(model: Path, shop: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder = tmp_path_factory.mktemp("index")
    embed(str(model), data=shop.folder, out=folder / "vectors", what="products", views=("mm",))
    return build_index(folder / "vectors", out=str(folder / "index"), thumbnails=0)


def test_a_run_and_its_index_have_the_same_figures(index: Index, shop: Catalog, model: Path, tmp_path: Path) -> None:
    of_run = evaluate(str(model), data=shop.folder, out=tmp_path / "run.json").evaluation
    result = evaluate(index.place, data=shop.folder, against=str(tmp_path / "run.json"))
    of_index = result.evaluation
    for row in ("t→mm, hybrid (all text)", "mm→mm, hybrid (all text)"):
        assert of_index.keywords[row] == pytest.approx(of_run.keywords[row]), row
    for direction in ("t→mm", "i→mm", "mm→mm"):
        assert of_index.recalls[direction] == pytest.approx(of_run.recalls[direction]), direction
    assert "difference to" in str(result) and "t→mm, hybrid (all text)" in str(result)
    assert Evaluation.read(Path(index.place) / "evaluation.json") == of_index


def test_the_filter_helps_and_an_exact_search_of_an_exact_index_needs_no_row(index: Index, shop: Catalog) -> None:
    rows = evaluate(index.place, data=shop.folder).evaluation.keywords
    hybrid = "t→mm, hybrid (all text)"
    assert sum(rows[f"{hybrid}, in its category"].values()) > sum(rows[hybrid].values())
    assert "i→mm, in its category" in rows
    assert not [row for row in rows if "exact" in row]


def test_an_index_that_may_miss_something_is_scored_beside_an_exact_search(
    index: Index, shop: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Index, "is_approximate", True)
    rows = evaluate(index.place, data=shop.folder, limit=10).evaluation.keywords
    assert rows["t→mm, exact"].keys() == {1, 5, 10}
    assert "mm→mm, hybrid (all text), in its category, exact" in rows


def test_an_index_of_other_products_is_told_from_one_of_these(
    index: Index, shop: Catalog, model: Path, tmp_path: Path
) -> None:
    embed(str(model), data=shop.folder, out=tmp_path / "v", what="products", storage="int8")
    small = build_index(tmp_path / "v", out=str(tmp_path / "int8"), thumbnails=0)
    evaluate(index.place, data=shop.folder)
    assert "difference to" in str(evaluate(small.place, data=shop.folder, against=index.place))  # what int8 costs
    small.delete(small.ids()[:1])
    with pytest.raises(EvaluationError, match="other queries or another gallery"):
        evaluate(small.place, data=shop.folder, against=index.place)


def test_what_an_index_cannot_be_asked_is_refused(index: Index, shop: Catalog, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="is an index; it takes --data, --out, --against and --limit alone"):
        evaluate(index.place, data=shop.folder, prompt="query: ")
    (tmp_path / "index.json").write_text('{"opened_by": "os:system"}')
    with pytest.raises(RankerError, match="names 'os:system', which this moon2 does not have"):
        evaluate(str(tmp_path), data=shop.folder)
    without = write_catalog(tmp_path / "shop", {"train": list(shop.products())[:3]}, title="No log")
    with pytest.raises(EvaluationError, match="has no test queries to search with"):
        evaluate(index.place, data=without.folder)
