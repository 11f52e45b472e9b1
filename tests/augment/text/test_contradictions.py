"""A title never says against the shop for whom a product is, or what it is: for rules and models alike."""

from __future__ import annotations

import pytest

from moon2.augment.text.contradictions import contradicted_kind, head_kind, may_say_gender, stated_genders
from moon2.augment.text.entities import extract_entities
from moon2.augment.text.grounding import ground
from moon2.augment.text.sanitize import clean_product
from moon2.records import Product

SHOE = clean_product(Product("1", "Men's running shoe, blue", category=("Shoes",), attributes={"gender": "Men"}))
DRESS = clean_product(Product("2", "Shirt dress, blue cotton", category=("Fashion", "Shirts")))


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("Shirt dress with pockets", "dress"),
        ("Brava orange rucksack", "bag backpack"),
        ("gold case watch, violet", "watch"),
        ("Coffee table with metal legs", "table"),
        ("Dress tie waist", "dress"),
        ("Ring binder A4", ""),
        ("Set of 6 glasses", "glass"),
    ],
)
def test_the_head_of_a_title_is_its_kind(title: str, kind: str) -> None:
    assert head_kind(title) == kind


def test_a_shirt_dress_stays_a_dress() -> None:
    assert contradicted_kind("Blue cotton shirt with pockets", DRESS) == "it names a top, the shop a dress"
    assert contradicted_kind("Blue cotton gown with pockets", DRESS) == ""
    result = ground("Blue cotton shirt with long sleeves", DRESS, extract_entities(DRESS))
    assert result.text is None and result.reason.startswith("contradiction: ")


def test_a_mans_shoe_never_becomes_a_womans() -> None:
    result = ground("Women's blue running shoe with rubber sole", SHOE, extract_entities(SHOE))
    assert result.text == "Blue running shoe with rubber sole" and result.removed == ("Women's",)
    kept = ground("Men's blue running shoe with rubber sole", SHOE, extract_entities(SHOE))
    assert kept.text == "Men's blue running shoe with rubber sole" and not kept.removed


@pytest.mark.parametrize(
    ("gender", "stated", "may"),
    [
        ("women", set(), True),
        ("women", {"men"}, False),
        ("unisex", {"men", "women"}, True),
        ("men", {"unisex"}, False),
        ("kids", {"boys"}, True),
        ("boys", {"kids"}, False),
    ],
)
def test_who_may_be_named(gender: str, stated: set[str], may: bool) -> None:
    assert may_say_gender(gender, stated) == may


def test_the_shop_names_whom_it_means_in_several_places_and_languages() -> None:
    assert stated_genders(SHOE) == {"men"}
    assert stated_genders(clean_product(Product("3", "Jacke", attributes={"Geschlecht": "Damen"}))) == {"women"}
    assert stated_genders(clean_product(Product("4", "Boot", category=("Ladies", "Shoes")))) == {"women"}
