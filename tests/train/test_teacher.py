"""A run learns from vectors that `moon2 embed` wrote with other models: looked up, refused, taught and resumed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.mixed_batch import gradients, item

from moon2 import Encoder
from moon2.catalog.fingerprint import catalog_fingerprint
from moon2.catalog.store import Catalog
from moon2.catalog.triplets import training_triplets
from moon2.recipe import Recipe, RecipeError
from moon2.run_folder import RunFolder
from moon2.train.batches import TripletExample, TripletOutline
from moon2.train.step import needed_views
from moon2.train.teacher import open_teacher
from moon2.train.train import run_training
from moon2.vectors.embed_catalog import embed
from moon2.vectors.vector_folder import VectorFolderError, VectorInfo
from moon2.vectors.vector_writer import VectorWriter, stored_rows
from moon2.views import View


def write_teacher(
    folder: Path,
    catalog: Catalog,
    views: tuple[View, ...] = ("t", "mm"),
    *,
    lacks: Sequence[str] = (),
    width: int = 8,
    fingerprint: str = "",
    identity: str = "teacher",
) -> str:
    """Random vectors of a catalog's products and queries, as `moon2 embed` writes them."""
    info = VectorInfo(
        width, "float32", views, "sbert", identity, str(catalog.folder), fingerprint or catalog_fingerprint(catalog)
    )
    ids = {
        "products": catalog.ids("train"),
        "queries": [interaction.query.id for interaction in catalog.interactions("train")],
    }
    draw = np.random.default_rng(0)
    with VectorWriter(folder, info) as writer:
        for what, names in ids.items():
            vectors = {view: draw.standard_normal((len(names), width)).astype(np.float32) for view in views}
            for matrix in vectors.values():
                matrix[[id in lacks for id in names]] = np.nan
            columns = {"id": names, "split": ["train"] * len(names), "key": names}
            writer.write(what, "train", stored_rows(info, what, vectors, columns))
    return str(folder)


def outlines(*pairs: tuple[str, str]) -> list[TripletOutline]:
    """Of a query and a product that the drawn shop has, each with its text."""
    return [
        TripletOutline(product, None, frozenset({product}), (product, ""), (product, ""), query, f"text of {query}")
        for query, product in pairs
    ]


def test_rows_are_those_of_queries_then_positives_then_negatives(shop: Catalog, tmp_path: Path) -> None:
    teacher = open_teacher([write_teacher(tmp_path / "v", shop)], shop, training_triplets(shop))
    assert teacher is not None and list(teacher.tables) == ["t"]
    table = teacher.tables["t"]
    pair = outlines(("q-red-bag", "red-bag"), ("shown", "green-shirt"))
    pair[1] = replace(pair[1], negative_id="green-bag", own_texts=("green shirt", "green bag"))
    taught = teacher.taught(pair)["t"]
    keys = [("queries", "q-red-bag"), ("queries", "shown"), ("products", "red-bag")]
    keys += [("products", "green-shirt"), ("products", "green-bag")]
    rows = torch.tensor([table.places[key] for key in keys])
    assert torch.equal(taught.own, table.own[rows]) and torch.equal(taught.joint, table.joint[rows])
    assert taught.counts.all()
    torch.testing.assert_close(taught.own.norm(dim=1), torch.ones(5))


def test_of_each_view_the_first_folder_that_has_it_teaches(shop: Catalog, tmp_path: Path) -> None:
    folders = [
        write_teacher(tmp_path / "words", shop, ("t",), width=6),
        write_teacher(tmp_path / "images", shop, ("i",), width=10),
        write_teacher(tmp_path / "both", shop, ("t", "i", "mm"), width=12),
    ]
    teacher = open_teacher(folders, shop, training_triplets(shop))
    assert teacher is not None
    assert {view: table.own.shape[1] for view, table in teacher.tables.items()} == {"t": 6, "i": 10}
    assert teacher.tables["t"].joint is teacher.tables["t"].own, "without mm a text stands for the whole"
    both = open_teacher(folders[2:], shop, training_triplets(shop))
    assert both is not None and not torch.equal(both.tables["i"].own, both.tables["i"].joint)


def test_a_query_of_words_or_a_photo_alone_is_taught(
    shop: Catalog, small_encoder_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of such a query `moon2 embed` writes one view and no joint one."""
    embed(str(small_encoder_folder), data=shop.folder, out=tmp_path / "v")
    triplets = training_triplets(shop)
    texts = {triplet.query.id for triplet in triplets if triplet.query.text}
    photos = {triplet.query.id for triplet in triplets if shop.with_image(triplet.query).image is not None}
    with caplog.at_level(logging.WARNING):
        teacher = open_teacher([str(tmp_path / "v")], shop, triplets)
    assert teacher is not None and texts - photos and photos - texts
    for view, queries in (("t", texts), ("i", photos)):
        table = teacher.tables[view]
        taught = {id for what, id in table.places if what == "queries"}
        assert taught == queries
        alone = [table.places["queries", id] for id in queries - (texts & photos)]
        assert torch.equal(table.joint[alone], table.own[alone])
    assert f"not taught by t: {len(photos - texts)} of {len(texts | photos)} queries have no vector" in caplog.text


def test_what_has_no_vector_is_said_and_takes_no_part(
    shop: Catalog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_teacher(tmp_path / "v", shop, lacks=["red-bag", "shown"])
    with caplog.at_level(logging.WARNING):
        teacher = open_teacher([folder], shop, training_triplets(shop))
    assert "not taught by t: 1 of 12 products and 1 of 15 queries have no vector" in caplog.text
    assert teacher is not None
    taught = teacher.taught(outlines(("shown", "green-shirt"), ("q-red-bag", "red-bag")))["t"]
    assert taught.counts.tolist() == [False, True, True, False]
    assert (taught.own[[0, 3]] == 0).all()


def test_a_text_counts_once_and_an_image_once_a_product(shop: Catalog, tmp_path: Path) -> None:
    teacher = open_teacher([write_teacher(tmp_path / "v", shop, ("t", "i"))], shop, training_triplets(shop))
    assert teacher is not None
    same = [
        replace(each, own_texts=(f"{'Navy' if n else 'navy'} thing", ""))
        for n, each in enumerate(outlines(("q-red-bag", "red-bag"), ("shown", "navy-bag"), ("q-navy-bag", "red-bag")))
    ]
    taught = teacher.taught(same)
    assert taught["t"].counts.tolist() == [True, True, True, True, False, False]
    assert taught["i"].counts.tolist() == [True, True, True, True, True, False]


def test_a_copy_without_a_vector_stands_in_nobodys_way(shop: Catalog, tmp_path: Path) -> None:
    """Such as a mined query, a product's own title, of which the teacher has the product alone."""
    teacher = open_teacher([write_teacher(tmp_path / "v", shop)], shop, training_triplets(shop))
    assert teacher is not None
    (mined,) = outlines(("mined-red-bag", "red-bag"))
    taught = teacher.taught([replace(mined, query_text="Red bag", own_texts=("red bag", ""))])["t"]
    assert taught.counts.tolist() == [False, True]


def test_a_duplicate_text_changes_nothing(new_encoder: Callable[..., Encoder], shop: Catalog, tmp_path: Path) -> None:
    """A further triplet of a text that is there already: L_T is what it was."""
    teacher = open_teacher([write_teacher(tmp_path / "v", shop)], shop, training_triplets(shop))
    assert teacher is not None
    examples = []
    for query, product in (("q-red-bag", "red-bag"), ("shown", "green-shirt"), ("q-navy-bag", "navy-bag")):
        colour, kind = product.split("-")
        (outline,) = outlines((query, product))
        examples.append(TripletExample(item(f"{colour}", None), item(f"{colour} {kind}", (32, 32)), None, outline))
    twin = replace(
        examples[0],
        positive=item("red bag", (48, 24)),
        outline=replace(examples[0].outline, positive_id="black-bag", query_text="TEXT of q-red-bag"),
    )
    losses = [
        gradients(new_encoder(), batch, None, "training.teacher=[given]", teacher=teacher).log["teacher"]
        for batch in (examples, [*examples, twin])
    ]
    assert losses[0] > 0
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-5)


def test_a_teacher_of_another_catalog_is_refused_in_one_line(
    shop: Catalog, generated_shop: Catalog, tmp_path: Path
) -> None:
    folder = write_teacher(tmp_path / "v", generated_shop)
    with pytest.raises(RecipeError, match="holds vectors of another catalog") as refusal:
        open_teacher([folder], shop, training_triplets(shop))
    line = str(refusal.value)
    assert "lacking 12 of 12 products and 15 of 15 queries of" in line and "moon2 embed sbert --data" in line
    assert "\n" not in line
    changed = write_teacher(tmp_path / "changed", shop, fingerprint="before")
    with pytest.raises(RecipeError, match="lacking nothing of"):
        open_teacher([changed], shop, training_triplets(shop))


def test_a_folder_that_teaches_nothing_is_refused(shop: Catalog, tmp_path: Path) -> None:
    joint = write_teacher(tmp_path / "v", shop, ("mm",))
    with pytest.raises(RecipeError, match=r"has neither texts \(t\) nor images \(i\)"):
        open_teacher([joint], shop, training_triplets(shop))
    with pytest.raises(VectorFolderError, match="holds no vectors"):
        open_teacher([str(tmp_path)], shop, training_triplets(shop))
    assert open_teacher([], shop, training_triplets(shop)) is None


def test_a_run_learns_from_it_and_never_goes_on_with_another(
    shop: Catalog, small_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    folder = write_teacher(tmp_path / "v", shop, ("t", "i", "mm"))
    recipe = small_recipe("training.steps=2", f"training.teacher=[{folder}]")
    run = RunFolder(run_training(recipe, shop, tmp_path / "run").folder)
    assert all(line["teacher"] > 0 for line in run.read_history() if "loss" in line)
    write_teacher(tmp_path / "v", shop, ("t", "i", "mm"), identity="trained again")
    with pytest.raises(RecipeError):
        run_training(recipe, shop, tmp_path / "run", resume=True)


def test_all_views_are_computed_where_a_teacher_may_have_them(small_recipe: Callable[..., Recipe]) -> None:
    alone = 'alignment.objectives={"mm→mm": 1}'
    assert needed_views(small_recipe(alone)) == ("mm",)
    assert needed_views(small_recipe(alone, "training.teacher=[v]")) == ("t", "i", "mm")
