"""`moon2 embed` with a model of text alone: no image is read, and what is left without a vector is said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from support.coloured_shop import photo
from transformers import AutoTokenizer, BertConfig, BertModel

from moon2.catalog.store import write_catalog
from moon2.encoders.load import load_encoder
from moon2.records import Interaction, Product, Query
from moon2.search.commands import build_index
from moon2.vectors.embed_catalog import embed
from moon2.vectors.item_embedder import ItemEmbedder
from moon2.vectors.vector_folder import VectorFolder, What
from moon2.views import VIEWS

URL = "https://shop.example/photo.png"
PHOTO = photo("red", "shirt")


@pytest.fixture(scope="module")
def model(dual_checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A sentence-transformers model over a tiny BERT with random weights."""
    bert, folder = tmp_path_factory.mktemp("bert"), tmp_path_factory.mktemp("text-alone")
    tokenizer = AutoTokenizer.from_pretrained(dual_checkpoints["clip"])
    tokenizer.save_pretrained(bert)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=len(tokenizer), pad_token_id=1, **sizes)).save_pretrained(bert)
    SentenceTransformer(str(bert)).save_pretrained(str(folder))
    return str(folder)


def write_shop(folder: Path, products: Sequence[Product], queries: Sequence[Query] = ()) -> Path:
    log = [Interaction(query, (products[0].id,)) for query in queries]
    write_catalog(folder, {"train": list(products)}, {"train": log}, title="shop", overwrite=True)
    return folder


def has(out: Path, what: What) -> dict[str, list[bool]]:
    """View → which rows have it."""
    folder = VectorFolder.open(out)
    return {
        view: [row is not None for batch in folder.batches(what, [view]) for row in batch[view].to_pylist()]
        for view in VIEWS
    }


def test_a_product_needs_no_readable_image_and_one_without_text_is_a_reject(model: str, tmp_path: Path) -> None:
    out = tmp_path / "v"
    products = [
        Product("both", "navy shirt", images=(URL,)),
        Product("text", "navy shirt"),
        Product("image", images=(PHOTO,)),
        Product("url", images=(URL,)),
    ]
    result = embed(model, data=write_shop(tmp_path / "shop", products), out=out)
    there = [True, True, False, False]
    assert has(out, "products") == {"t": there, "i": [False] * 4, "mm": there}
    rejects = VectorFolder.open(out).rejects()
    assert [(reject.row, reject.id, reject.dropped) for reject in rejects] == [(3, "image", "row"), (4, "url", "row")]
    for reject in rejects:
        assert f"product {reject.id!r}: only its image could be embedded, and the model takes text" in reject.message
    assert result.rejected == {"nothing_to_embed": 2}
    again = embed(model, data=tmp_path / "shop", out=out)
    assert (again.new, again.kept) == (2, 2), "only rejects are tried again"


def test_a_querys_views_do_not_hang_on_an_image_that_is_not_read(model: str, tmp_path: Path) -> None:
    queries = [
        Query("bad", "navy shirt", image=b"no image"),
        Query("alone", image=PHOTO),
        Query("good", "navy shirt", image=PHOTO),
        Query("words", "navy shirt"),
    ]
    out = tmp_path / "v"
    embed(model, data=write_shop(tmp_path / "shop", [Product("p", "shirt")], queries), out=out)
    assert has(out, "queries") == {
        "t": [True, False, True, True],
        "i": [False] * 4,
        "mm": [True, False, True, False],
    }
    assert [one.id for one in VectorFolder.open(out).rejects()] == ["alone"]


def test_an_index_of_its_vectors_knows_what_has_changed(model: str, tmp_path: Path) -> None:
    products = [Product("p", "navy shirt", images=(PHOTO,)), Product("q", "red bag")]
    embed(model, data=write_shop(tmp_path / "shop", products), out=tmp_path / "v")
    index = build_index(tmp_path / "v", out=str(tmp_path / "index"))
    assert index.upsert(products).unchanged == 2
    before = index.photos(["p"])["p"]
    assert index.upsert([Product("p", "navy shirt", images=(photo("green", "bag"),))]).written == 1
    assert index.photos(["p"])["p"] != before


def test_its_images_have_no_vectors_of_their_own(model: str, tmp_path: Path) -> None:
    products, out = [Product("p", "navy shirt", images=(PHOTO, URL))], tmp_path / "v"
    result = embed(model, data=write_shop(tmp_path / "shop", products), out=out, per_image=True)
    assert result.counts == {"products": 1, "images": 0} and not result.rejected


def test_no_view_of_images_is_said_of_each_product_that_has_one(model: str) -> None:
    products = [Product("both", "navy shirt", images=(PHOTO,)), Product("text", "navy shirt")]
    found = ItemEmbedder(load_encoder(model)).embed(products, ("i",))
    assert np.isnan(found.vectors["i"]).all() and found.problems.keys() == {0}
