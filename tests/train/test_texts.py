"""The words that a run learns from: those that the encoder will read; and what is said of them before it begins."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from moon2 import Encoder, Interaction, Product, Query
from moon2.catalog.store import Catalog, write_catalog
from moon2.catalog.triplets import training_triplets
from moon2.recipe import Recipe
from moon2.train.prepare import prepare_run
from moon2.train.texts import tokenizer_texts, warn_about_texts
from moon2.train.train import run_training


@pytest.fixture(scope="module")
def shirts(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Shirts that only their brand and description tell apart."""
    brands = ("Nordwind", "Sol", "Quix", "Zephyr", "Umbra", "Kolibri")
    products = [Product(brand, "Shirt", description="cotton " * 30, attributes={"brand": brand}) for brand in brands]
    log = [Interaction(Query(f"q-{brand}", f"{brand} shirt"), (brand,)) for brand in brands]
    folder = tmp_path_factory.mktemp("shirts") / "shop"
    return write_catalog(folder, {"train": products}, {"train": log}, title="Shirts")


def test_the_tokenizer_learns_what_is_read(shirts: Catalog, small_recipe: Callable[..., Recipe]) -> None:
    triplets = training_triplets(shirts, 0)
    by_title, by_brand = (
        [*tokenizer_texts(shirts, triplets, small_recipe(*fields).input)]
        for fields in ([], ["input.fields=[title, brand]"])
    )
    assert by_title[0] == "Shirt" and by_brand[0] == "Shirt | brand: Nordwind"
    assert by_title[6:] == by_brand[6:] == [triplet.query.text for triplet in triplets]


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        ([], []),
        (["input.fields=[title, brand]"], []),
        (["input.fields=[title, brnad]"], ["input.fields names 'brnad'", "did you mean 'brand'?"]),
        (["input.fields=[title, description]"], ["input.max_text_tokens is 64, and of 6 products", "the description"]),
    ],
)
def test_what_may_surprise_is_said_once(
    settings: list[str],
    lines: list[str],
    shirts: Catalog,
    small_recipe: Callable[..., Recipe],
    caplog: pytest.LogCaptureFixture,
) -> None:
    encoder = Encoder.from_recipe(small_recipe(*settings), ["shirt"])
    with caplog.at_level(logging.WARNING):
        warn_about_texts(shirts, encoder.processor)
    assert len(caplog.messages) == bool(lines) and all(line in caplog.text for line in lines)


def test_products_of_one_title_are_told_apart_by_what_else_is_read(
    shirts: Catalog, small_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    """By their title alone, or cut behind it, all six are one product to L_intra; no shirt is another's negative."""
    from moon2.run_folder import RunFolder
    from moon2.train.batches import triplet_masks

    for fields, tokens, pairs in (("[title]", 64, 16), ("[title, brand]", 64, 4), ("[title, brand]", 1, 16)):
        recipe = small_recipe("training.steps=1", f"input.fields={fields}", f"input.max_text_tokens={tokens}")
        stream = prepare_run(recipe, shirts, RunFolder(tmp_path / f"{fields}-{tokens}")).stream
        masks = triplet_masks([stream.outline(number) for number in range(4)])
        assert int(masks.same_product.sum()) == pairs


def test_a_trained_encoder_reads_the_fields_of_its_run(
    shirts: Catalog, small_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = small_recipe("training.steps=1", "input.fields=[brand, title]")
    run = run_training(recipe, shirts, tmp_path / "run").folder
    encoder = Encoder.from_pretrained(run, "cpu")
    assert encoder.product_text(shirts.product("Sol")) == "brand: Sol | Shirt"
    assert "as its text, brand, title" in encoder.card
