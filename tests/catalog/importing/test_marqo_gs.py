"""Marqo-GS-10M from a small copy in its published layout, with each of its four tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moon2.catalog.importing.import_catalog import ImportResult, import_catalog
from moon2.catalog.schema import CatalogError


@pytest.fixture
def marqo(tmp_path: Path, image_bytes: Callable[..., bytes]) -> Path:
    folder = tmp_path / "marqo-gs-dataset/marqo_gs_wfash_1m"
    folder.mkdir(parents=True)
    (tmp_path / "marqo-gs-dataset/images_wfash").mkdir()
    for corpus, ids in ((1, ("11", "12")), (2, ("21", "22"))):
        for id in ids:
            photo = tmp_path / f"marqo-gs-dataset/images_wfash/{id}.webp"
            photo.write_bytes(image_bytes("navy", "WEBP"))
        products = {id: {"title": f"dress {id}", "image_local": f"/theirs/{id}.webp"} for id in ids}
        (folder / f"corpus_{corpus}.json").write_text(json.dumps(products))
    (folder / "query_0_product_id_0.csv").write_text(
        '"query","product_id","position","title","pair_id","score_linear","image_local"\n'
        '"red dress","11","1","dress 11","a","100","11.webp"\n"red dress","12","60","dress 12","b","41","12.webp"\n'
        '"long dress","12","1","dress 12","c","100","12.webp"\n"long dress","11","100","dress 11","d","1","11.webp"\n'
    )
    for query, words in ((0, "red dress"), (1, "Silk Dress")):
        for product, ids in ((0, ("11", "12")), (1, ("21", "22"))):
            truth = {words: {ids[0]: 100, ids[1]: 55}}
            (folder / f"query_{query}_product_id_{product}_gt_test.json").write_text(json.dumps(truth))
    return folder


def run(source: Path, out: Path, subset: str | None = None, **options: Any) -> ImportResult:
    result = import_catalog(str(source), out=out, layout="marqo-gs-10m", subset=subset, **options)
    assert isinstance(result, ImportResult)
    return result


def test_new_queries_among_new_products_are_the_test(marqo: Path, tmp_path: Path) -> None:
    result = run(marqo, tmp_path / "out")
    catalog = result.catalog
    assert (catalog.ids("train"), catalog.ids("test")) == (["11", "12"], ["21", "22"])
    assert catalog.product("11").images == ((marqo.parent / "images_wfash/11.webp").read_bytes(),)
    red, long = catalog.interactions("train")
    assert (red.query.text, red.positive_ids, red.grades) == ("red dress", ("11",), {"11": 100.0, "12": 41.0})
    assert long.negative_ids == (), "the last of a hundred places is no wrong answer"
    (silk,) = catalog.interactions("test")
    assert (silk.query.text, silk.positive_ids, silk.grades) == ("Silk Dress", ("21",), {"21": 100.0, "22": 55.0})
    assert (catalog.licence(), result.rejected, result.dropped) == ("apache-2.0", 0, 0)


@pytest.mark.parametrize(
    ("subset", "words", "gallery"),
    [("novel_document", "red dress", "test"), ("novel_query", "Silk Dress", None), ("in_domain", "red dress", None)],
)
def test_the_other_tests(subset: str, words: str, gallery: str | None, marqo: Path, tmp_path: Path) -> None:
    catalog = run(marqo, tmp_path / "out", subset).catalog
    (query,) = catalog.interactions("test")
    assert query.query.text == words
    assert catalog.splits == (("train", "test") if gallery else ("train",)), "the gallery is all that was trained on"


def test_a_photo_that_is_not_there_costs_itself(marqo: Path, tmp_path: Path) -> None:
    (marqo.parent / "images_wfash/21.webp").unlink()
    result = run(marqo, tmp_path / "out")
    assert result.catalog.product("21").images == ()
    assert result.reasons == {"unreadable_image": 1}


def test_what_is_missing_is_one_line(marqo: Path, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="--subset all: the tests of Marqo-GS-10M are zero_shot, novel_document"):
        run(marqo, tmp_path / "out", "all")
    (marqo / "query_1_product_id_1_gt_test.json").write_text("[1]")
    with pytest.raises(CatalogError, match="is not query → product → grade"):
        run(marqo, tmp_path / "out")
    (marqo / "corpus_2.json").unlink()
    with pytest.raises(CatalogError, match=r"holds no corpus_2\.json; give a folder of Marqo-GS-10M"):
        run(marqo, tmp_path / "out")
