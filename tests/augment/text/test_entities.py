"""Entities of shops of every kind, each with its source; nothing is invented and nothing breaks."""

from __future__ import annotations

import pytest

from moon2.augment.text.entities import Entity
from moon2.augment.text.entities import extract_entities as extract_from_clean
from moon2.augment.text.sanitize import clean_product
from moon2.records import Product

POLO = Product(
    id="1",
    title="Puma Men's Navy-Blue Polo T-Shirt XL",
    description="Striped cotton pique with an ottoman collar. Pair it with black denim jeans.",
    category=("Apparel", "Topwear", "Tshirts"),
    attributes={"brand": "Puma", "base_colour": "Navy Blue", "Fit": "Slim Fit", "gender": "Men", "warehouse": "K-17"},
)


def extract_entities(product: Product) -> tuple[Entity, ...]:
    return extract_from_clean(clean_product(product))


def values(product: Product, kind: str, source: str | None = None) -> list[str]:
    entities = extract_entities(product)
    return [entity.value for entity in entities if entity.kind == kind and source in (None, entity.source)]


def test_every_kind_is_extracted_with_its_source() -> None:
    assert values(POLO, "brand") == ["Puma", "Puma"]
    assert values(POLO, "type") == ["T-Shirt", "Tshirts"]
    assert values(POLO, "material") == ["cotton"]
    assert values(POLO, "colour") == ["Navy Blue", "Navy-Blue"]
    assert values(POLO, "pattern") == ["Striped"]
    assert values(POLO, "style") == ["Slim Fit"]
    assert values(POLO, "gender") == ["Men", "Men's"]
    assert values(POLO, "size") == ["XL"]
    assert Entity("type", "Tshirts", "category") in extract_entities(POLO)
    assert Entity("colour", "Navy-Blue", "title") in extract_entities(POLO)
    assert Entity("brand", "Puma", "attribute:brand") in extract_entities(POLO)


def test_advice_on_what_to_wear_with_it_is_not_about_the_product() -> None:
    assert "black" not in values(POLO, "colour") and "denim" not in values(POLO, "material")
    assert values(Product(id="1", title="Earrings", description="Wipe with a cotton swab"), "material") == []


def test_attributes_with_unknown_keys_are_left_alone() -> None:
    assert not [entity for entity in extract_entities(POLO) if entity.source == "attribute:warehouse"]
    empty = Product(id="1", title="Thing", attributes={"colour": "N/A", "material": " ", "brand": "-", "size": "none"})
    assert extract_entities(empty) == ()


@pytest.mark.parametrize(
    ("title", "size"),
    [
        ("Jeans 32 cm", "32 cm"),
        ("Olive oil 500ml", "500ml"),
        ("Boots UK 8", "UK 8"),
        ("Rug 120 x 80 cm", "120 x 80 cm"),
        ("Hoodie, size M", "size M"),
        ("Shirt (L)", "L"),
        ("Monitor 27-inch", "27-inch"),
        ("Duvet king size", "king size"),
        ("Dress 2XL", "2XL"),
    ],
)
def test_sizes_are_read_as_written(title: str, size: str) -> None:
    assert values(Product(id="1", title=title), "size") == [size]


@pytest.mark.parametrize(
    "title",
    ["L'Oreal cream", "M&S trousers", "Men's shirt", "Camera DSC-S2000L", "Casio LTP-2083L-4AVDF", "5 in 1 tool"],
)
def test_other_letters_and_numbers_are_no_size(title: str) -> None:
    assert values(Product(id="1", title=title), "size") == []


def test_words_are_matched_whole_and_the_longest_phrase_wins() -> None:
    assert values(Product(id="1", title="Tangerine redwood fireplace greenhouse"), "colour") == []
    assert values(Product(id="1", title="Stainless steel rose gold polka dot flask"), "material") == ["Stainless steel"]
    assert values(Product(id="1", title="Stainless steel rose gold polka dot flask"), "colour") == ["rose gold"]
    assert values(Product(id="1", title="Stainless steel rose gold polka dot flask"), "pattern") == ["polka dot"]


@pytest.mark.parametrize(
    ("title", "leaf", "value"),
    [
        ("Sony headphones black", "Headphone", "headphones"),
        ("Oak bookcase tall", "Bookcases", "bookcase"),
        ("Nivea body lotion", "Creams & Lotions", "lotion"),
        ("Leather sandal", "Flat Sandals", "sandal"),
        ("Steel watch", "Watches", "watch"),
    ],
)
def test_the_type_is_the_leaf_as_written_in_the_title(title: str, leaf: str, value: str) -> None:
    product = Product(id="1", title=title, category=("Shop", leaf))
    assert values(product, "type") == [value, leaf]


def test_a_leaf_that_is_not_in_the_title_stands_for_itself() -> None:
    assert extract_entities(Product(id="1", title="Zen 3000", category=("Home", "Lamps"))) == (
        Entity("type", "Lamps", "category"),
    )


def test_the_words_of_a_brand_are_no_colour_or_material() -> None:
    product = Product(id="1", title="Pacific Gold Leather belt", attributes={"brand": "Pacific Gold"})
    assert values(product, "colour") == [] and values(product, "material") == ["Leather"]


def test_titles_without_spaces_and_in_other_alphabets() -> None:
    chinese = Product(
        id="1",
        title="复古真皮女士手提包黑色",
        category=("箱包", "手提包"),
        attributes={"品牌": "朗悦", "颜色": "黑色", "材质": "真皮"},
    )
    assert values(chinese, "brand") == ["朗悦"]
    assert values(chinese, "colour", "attribute:颜色") == ["黑色"] and values(chinese, "colour", "title") == ["黑色"]
    assert values(chinese, "material", "title") == ["真皮"]
    assert values(chinese, "type", "title") == ["手提包"]
    for title in ("Синие джинсы", "حقيبة جلدية", "नीली कमीज", "👟✨", "\u200b", "ﬁne ｃｏｔｔｏｎ"):
        extract_entities(Product(id="1", title=title, images=("a.jpg",), attributes={"colour": "blue"}))
