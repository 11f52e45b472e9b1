"""Records: a valid record is usable; a refused one says why in one line."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from moon2 import Interaction, Product, Query, RecordError
from moon2.records import MAX_DESCRIPTION_CHARACTERS, MAX_TITLE_CHARACTERS


def test_a_product_is_text_images_or_both() -> None:
    assert Product(id="1", title="Navy shirt").images == ()
    assert Product(id="1", images=["front.jpg", "back.jpg"]).images == ("front.jpg", "back.jpg")


@pytest.mark.parametrize(
    ("reason", "fields"),
    [
        ("no_id", {"id": " ", "title": "Shirt"}),
        ("no_content", {"id": "1"}),
        ("no_content", {"id": "1", "title": "  ", "description": "only prose"}),
        ("text_too_long", {"id": "1", "title": "x" * (MAX_TITLE_CHARACTERS + 1)}),
        ("text_too_long", {"id": "1", "title": "x", "description": "x" * (MAX_DESCRIPTION_CHARACTERS + 1)}),
        ("broken_encoding", {"id": "1", "title": "caf\ufffd"}),
        ("broken_encoding", {"id": "1", "title": "x", "attributes": {"colour": "\x00"}}),
        ("broken_encoding", {"id": "1", "title": "x", "category": ("\ud800",)}),
        ("broken_encoding", {"id": "1", "title": "x", "images": ("https://shop.example/\ud800.jpg",)}),
        ("broken_encoding", {"id": "1", "title": "x", "images": (b"the main one", Path("caf\udce9.jpg"))}),
        ("broken_encoding", {"id": "1", "title": "x", "expanded_images": ("a\x00.jpg",)}),
        ("not_text", {"id": "1", "title": 7}),
        ("not_a_list", {"id": "1", "images": "shirt.jpg"}),
        ("bad_price", {"id": "1", "title": "x", "price": -1.0}),
        ("not_a_list", {"id": "1", "title": "x", "images": None}),
        ("not_a_mapping", {"id": "1", "title": "x", "attributes": [("colour", "red")]}),
        ("broken_encoding", {"id": "1", "title": "x", "enriched_title": "\ud800"}),
        ("bad_price", {"id": "1", "title": "x", "price": math.nan}),
        ("bad_price", {"id": "1", "title": "x", "price": "5"}),
    ],
)
def test_a_product_that_breaks_a_rule_is_refused_with_its_reason(reason: str, fields: dict[str, object]) -> None:
    with pytest.raises(RecordError) as refused:
        Product(**fields)
    assert refused.value.reason == reason
    assert "\n" not in str(refused.value)


def test_a_query_needs_words_or_an_image() -> None:
    assert Query(id="q", product_id="7").text == ""
    with pytest.raises(RecordError, match="neither text nor an image"):
        Query(id="q")


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "q\ud800", "text": "shirt"},
        {"id": "q", "text": "shirt\ufffd"},
        {"id": "q", "image": "https://shop.example/\ud800.jpg"},
        {"id": "q", "product_id": "\ud800"},
    ],
)
def test_a_query_that_cannot_be_written_to_a_file_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(RecordError, match="broken characters") as refused:
        Query(**fields)
    assert refused.value.reason == "broken_encoding"
    str(refused.value).encode()  # the line itself can be written


def test_a_file_name_may_hold_what_text_may_not() -> None:
    assert Product(id="1", images=["caf\ufffd.jpg"]).images == ("caf\ufffd.jpg",)


def test_an_interaction_needs_a_purchase_that_is_not_a_negative() -> None:
    query = Query(id="q", text="shirt")
    assert Interaction(query, ["1"], ["2"]).positive_ids == ("1",)
    with pytest.raises(RecordError, match="no positive"):
        Interaction(query, ())
    with pytest.raises(RecordError, match="'1' is both positive and negative"):
        Interaction(query, ("1", "3"), ("1",))


def test_records_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Product(id="1", title="Shirt").title = "Skirt"


def test_a_record_is_shown_in_one_short_line() -> None:
    """Without the bytes of its images."""
    photo = b"\xff" * 5000
    assert repr(Product("17", "Navy shirt", images=[photo, photo])) == "Product('17', 'Navy shirt', 2 images)"
    assert repr(Product("17", "word " * 300, description="long " * 300)) == f"Product('17', '{('word ' * 12)[:59]}…')"
    assert repr(Query("q", image=photo)) == "Query('q', an image)"
    query = Query("q", "in red", product_id="17")
    assert repr(query) == "Query('q', 'in red', the image of '17')"
    assert repr(Interaction(query, ("1",), ("2", "3"))) == f"Interaction({query!r}, 1 positive, 2 negatives)"


@pytest.mark.parametrize("grade", ["E", None, math.nan])
def test_a_grade_is_a_number(grade: object) -> None:
    with pytest.raises(RecordError, match=r"the grade of '1' is .*, which is no number") as refused:
        Interaction(Query(id="q", text="shirt"), ["1"], grades={"1": grade})
    assert refused.value.reason == "bad_grade"
