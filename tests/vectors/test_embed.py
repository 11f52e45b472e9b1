"""A catalog as vectors: each item is in every view that it has, once, and broken images cost only themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.coloured_shop import ColourAndKindEncoder, photo, twins, write_test_catalog
from tqdm import tqdm

from moon2.recipe import InputSettings
from moon2.records import Product, Query
from moon2.vectors.embed import embed_products, embed_queries

ENCODER = ColourAndKindEncoder()
BAR: tqdm[None] = tqdm(disable=True)
BROKEN = b"no image"


@pytest.mark.parametrize("batch_size", [1, 64])
def test_products_are_in_the_views_that_they_have(batch_size: int, tmp_path: Path) -> None:
    """Also where a product is alone in its batch."""
    products = [
        Product("both", "red shirt", images=(photo("red", "shirt"),)),
        Product("broken", "red shirt", images=(BROKEN,)),
        Product("image", images=(photo("blue", "bag"),)),
        Product("text", "green bag"),
        Product("broken-image", images=(BROKEN,)),
    ]
    catalog = write_test_catalog(tmp_path, products, [])
    vectors, labels = embed_products(ENCODER, catalog, catalog.ids(), batch_size, BAR)
    rows = {view: [products[row].id for row in table.rows] for view, table in vectors.items()}
    assert rows == {
        "t": ["both", "broken", "text"],
        "i": ["both", "image"],
        "mm": ["both", "broken", "image", "text"],
    }
    for view, table in vectors.items():
        for row, vector in zip(table.rows, table.matrix, strict=True):
            one_view = "t" if products[row].id == "broken" else view
            assert vector == pytest.approx(ENCODER.encode([products[row]], view=one_view)[0], abs=1e-6)
    assert labels == {"class": [None] * 5}


def test_queries_are_in_mm_only_with_text_and_an_image(tmp_path: Path) -> None:
    products, _ = twins()
    queries = [
        Query("text", "red bag"),
        Query("image", image=photo("blue", "bag")),
        Query("shown", "red", product_id="bag-blue-1"),
        Query("broken", "red", image=BROKEN),
        Query("lost", "red", product_id="no such product"),
    ]
    catalog = write_test_catalog(tmp_path, products, [])
    vectors = embed_queries(ENCODER, catalog, queries, 1, BAR)
    rows = {view: [queries[row].id for row in table.rows] for view, table in vectors.items()}
    assert rows == {"t": ["text", "shown", "broken", "lost"], "i": ["image", "shown"], "mm": ["shown"]}
    assert vectors["i"].matrix[1] == pytest.approx(ENCODER.encode([photo("blue", "bag")])[0], abs=1e-6)


def test_labels_are_the_leaf_of_the_category_and_the_named_attributes(tmp_path: Path) -> None:
    products, _ = twins()
    products.append(Product("bare", "something", attributes={"colour": ""}))
    catalog = write_test_catalog(tmp_path, products, [])
    ids = ["bag-blue-1", "bare", "shirt-red-2"]
    vectors, labels = embed_products(ENCODER, catalog, ids, 64, BAR, ["colour"])
    assert labels == {"class": ["bag", None, "shirt"], "colour": ["blue", None, "red"]}
    assert np.array_equal(vectors["mm"].rows, [0, 1, 2])


def test_an_attribute_called_class_stays_apart_from_the_category(tmp_path: Path) -> None:
    products = [Product("1", "a car", category=("Toys", ""), attributes={"class": "A", "attribute class": "B"})]
    products.append(Product("2", "a bus", category=("Toys", "buses"), attributes={"class": "C"}))
    catalog = write_test_catalog(tmp_path, products, [])
    _, labels = embed_products(ENCODER, catalog, ["1", "2"], 64, BAR, ["class"])
    assert labels == {"class": [None, "buses"], "attribute class": ["A", "C"]}


def test_a_product_has_the_view_of_its_text_by_the_fields_that_are_read(tmp_path: Path) -> None:
    encoder = ColourAndKindEncoder()
    encoder.inputs = InputSettings(fields=["colour"])
    products = [
        Product("coloured", images=(photo("red", "bag"),), attributes={"colour": "red"}),
        Product("titled", "red bag", images=(photo("red", "bag"),)),
    ]
    catalog = write_test_catalog(tmp_path, products, [])
    vectors, _ = embed_products(encoder, catalog, catalog.ids(), 64, BAR)
    assert {view: table.rows.tolist() for view, table in vectors.items()} == {"t": [0], "i": [0, 1], "mm": [0, 1]}
    assert vectors["t"].matrix[0] == pytest.approx(encoder.encode(["colour: red"])[0], abs=1e-6)
