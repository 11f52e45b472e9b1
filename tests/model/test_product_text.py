"""What of a product is read as its text, and that everything which reads a product reads the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moon2 import Encoder, Product
from moon2.catalog.store import write_catalog
from moon2.encoders.load import load_own
from moon2.model.product_text import product_text, unknown_fields
from moon2.recipe import InputSettings, Recipe, RecipeError, load_recipe
from moon2.train.texts import product_texts

SHIRT = Product(
    "1",
    " Navy  shirt ",
    description="A light shirt\n for summer.",
    category=("Apparel", "Shirts"),
    attributes={"colour": "navy", "brand": "Nordwind", "sleeve_length": "long", "size": " "},
)
READ = "input.fields=[title,description,brand]"


def text(*fields: str, product: Product = SHIRT) -> str:
    return product_text(product, InputSettings(fields=[*fields]))


def test_by_default_it_is_the_title_as_it_is() -> None:
    assert product_text(SHIRT, InputSettings()) == "Navy  shirt"


def test_fields_are_joined_in_their_order_and_empty_ones_vanish() -> None:
    assert text("title", "description", "category") == (
        "Navy  shirt | A light shirt for summer. | category: Apparel > Shirts"
    )
    assert text("brand", "size", "fabric", "title") == "brand: Nordwind | Navy  shirt"
    assert text("description", "category", product=Product("2", "Bag")) == ""


def test_attributes_are_all_that_have_no_place_of_their_own_by_name() -> None:
    assert text("attributes") == "brand: Nordwind | colour: navy | sleeve length: long"
    assert text("attributes", "brand") == "colour: navy | sleeve length: long | brand: Nordwind"


@pytest.mark.parametrize("fields", ["[]", "[title, title]", "[title, '']"])
def test_a_list_of_fields_that_cannot_be_is_refused(fields: str) -> None:
    with pytest.raises(RecipeError, match=r"input\.fields"):
        load_recipe(None, [f"input.fields={fields}"])


def test_a_field_that_no_product_has_is_named_with_the_nearest() -> None:
    assert unknown_fields(["title", "colour", "brand"], {"colour", "brand"}) == []
    (line,) = unknown_fields(["color"], {"colour", "brand"})
    assert "'color'" in line and "did you mean 'colour'?" in line


def new_encoder(small_recipe: Callable[..., Recipe], *settings: str) -> Encoder:
    return Encoder.from_recipe(small_recipe("experts.noise=0.5", *settings), [text("title", "description", "brand")])


def test_the_description_gives_way_to_what_comes_after_it(small_recipe: Callable[..., Recipe]) -> None:
    encoder = new_encoder(small_recipe, READ, "input.max_text_tokens=40")
    count = encoder.processor.token_count
    for unit in ("light and airy ", "夏", "👗"):  # tokens of several words, of a character, of a part of one
        long = Product("1", "Navy shirt", description=unit * 200, attributes={"brand": "Nordwind"})
        read = encoder.product_text(long)
        assert read.startswith(f"Navy shirt | {unit.strip()}") and read.endswith(" | brand: Nordwind")
        assert 40 - count(unit) < count(read) <= 40
    # Where there is no room for any of it, the end is cut as that of any text.
    crowded = Product("1", "shirt " * 40, description="light", attributes={"brand": "Nordwind"})
    assert encoder.product_text(crowded) == f"{'shirt ' * 40}".strip() + " | brand: Nordwind"
    assert len(encoder.processor.read([encoder.processor.item(crowded)])[0].tokens) == 40


def test_a_product_and_its_text_have_one_vector_wherever_they_are_read(
    small_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    """Here, opened again, and in sentence-transformers, which takes a Product too."""
    sentence_transformers = pytest.importorskip("sentence_transformers")
    encoder = new_encoder(small_recipe, READ)
    image = Image.new("RGB", (32, 32), "navy")
    pictured = Product("2", SHIRT.title, description=SHIRT.description, attributes=SHIRT.attributes, images=[image])
    vectors = encoder.encode_document([SHIRT, pictured])
    assert not np.allclose(vectors[0], encoder.encode(SHIRT.title.strip())[0], atol=1e-3)

    words = "Navy  shirt | A light shirt for summer. | brand: Nordwind"
    assert encoder.product_text(SHIRT) == words
    assert encoder.encode_document([words, {"text": words, "image": image}]) == pytest.approx(vectors, abs=1e-5)

    encoder.save_pretrained(tmp_path)
    again = load_own(tmp_path)
    assert again.fields == ["title", "description", "brand"]
    assert np.array_equal(again.encode_document([SHIRT, pictured]), vectors)
    model = sentence_transformers.SentenceTransformer(str(tmp_path), trust_remote_code=True)
    assert model.encode_document([SHIRT, pictured]) == pytest.approx(vectors, abs=1e-5)
    assert model.encode_document([words]) == pytest.approx(vectors[:1], abs=1e-5)
    assert model.encode_document([{"text": words, "image": image}]) == pytest.approx(vectors[1:], abs=1e-5)


def test_a_catalogs_texts_are_read_without_its_images(tmp_path: Path) -> None:
    products = [SHIRT, Product("2", "", attributes={"brand": "Sol"}, images=["gone.jpg"]), Product("3", "Bag")]
    catalog = write_catalog(tmp_path / "shop", {"train": products}, title="Shop")
    for fields in (["title"], ["description", "brand"], ["attributes", "category", "title"]):
        settings = InputSettings(fields=fields)
        assert [*product_texts(catalog, settings)] == [*filter(None, (product_text(p, settings) for p in products))]


def test_a_product_without_the_fields_is_named_with_them(small_recipe: Callable[..., Recipe]) -> None:
    encoder = new_encoder(small_recipe, "input.fields=[description, brand]")
    with pytest.raises(ValueError, match=r"product 'bag': has neither text \(description, brand\) nor an image"):
        encoder.encode([Product("bag", "Bag")])
